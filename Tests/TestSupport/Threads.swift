import Foundation
import TensorCore

/// Runs `body` with so many threads in ``Team``.
///
/// The number is the whole process's, and tests run side by side: those that choose it run one after the other. All others must
/// hold with any number.
@discardableResult
package func withThreads<Result>(_ threads: Int, _ body: () throws -> Result) rethrows -> Result {
    choosing.lock()
    defer { choosing.unlock() }
    let before = Team.threads
    defer { Team.threads = before }
    Team.threads = threads
    return try body()
}

/// Recursive, so that a test can compare numbers of threads within one.
private let choosing = NSRecursiveLock()
