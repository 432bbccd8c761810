/// What falls to this rank's replica of a step's global batch, and of the next step's.
package struct ReplicaBatch: Sendable {
    package let sequences: [[Int32]]
    /// What can be made of these does not depend on this step's update; empty before the last step, or where none is known.
    package let next: [[Int32]]

    package init(_ sequences: [[Int32]], next: [[Int32]] = []) { (self.sequences, self.next) = (sequences, next) }
}
