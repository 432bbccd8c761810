import Foundation
import Synchronization
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

/// Has another thread of the team do `work` while this one waits for it, and does `meanwhile`. Begins again where another
/// test's work keeps that thread away. Returns whether it came to it.
package func withHelper(_ work: () -> Void, meanwhile: @escaping () throws -> Void) throws -> Bool {
    let isHelped = Atomic<Bool>(false)
    for _ in 0..<100 where !isHelped.load(ordering: .acquiring) {
        try withThreads(2) {
            _ = try Team.map(2, meanwhile: meanwhile) { _, isCaller in
                if isCaller {
                    for _ in 0..<100 where !isHelped.load(ordering: .acquiring) { usleep(1000) }
                } else {
                    isHelped.store(true, ordering: .releasing)
                    work()
                }
            }
        }
    }
    return isHelped.load(ordering: .acquiring)
}

/// Recursive, so that a test can compare numbers of threads within one.
private let choosing = NSRecursiveLock()
