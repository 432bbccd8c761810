/// A number of things, for people: `1 window`, `2 windows`.
///
/// - Parameter thing: whose plural ends in s.
package func counted(_ number: Int, _ thing: String) -> String { "\(number) \(thing)\(number == 1 ? "" : "s")" }
