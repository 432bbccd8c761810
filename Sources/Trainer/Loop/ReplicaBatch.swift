/// The share of this rank's replica in a step's global batch, and in the next step's.
package struct ReplicaBatch: Sendable {
    package let sequences: [[Int32]]
    /// The next step's sequences, for work that does not depend on this step's update. Empty in the last step, or where they
    /// are not known.
    package let next: [[Int32]]

    package init(_ sequences: [[Int32]], next: [[Int32]] = []) { (self.sequences, self.next) = (sequences, next) }
}
