internal import Glibc
internal import Synchronization

/// Work on a thread of its own, for what may wait for the disk while the caller continues.
package final class BackgroundWork<Value: Sendable>: Sendable {
    private let outcome = Outcome<Value>()
    private let thread = Mutex<pthread_t?>(nil)

    /// Begins the work; at once and on the calling thread where the system has no thread to give.
    package init(_ work: @escaping @Sendable () throws -> Value) {
        let outcome = outcome
        let perform: @Sendable () -> Void = {
            let result = Result { try work() }
            outcome.result.withLock { $0 = result }
        }
        do throws(SystemThread.Refused) {
            let started = try SystemThread.start(perform)
            thread.withLock { $0 = started }
        } catch {
            perform()
        }
    }

    deinit { if let thread = thread.withLock({ $0 }) { pthread_detach(thread) } }

    package var isDone: Bool { outcome.result.withLock { $0 != nil } }

    /// The result of the work, once it has ended.
    package func wait() throws -> Value {
        if let thread = thread.withLock({ $0 }) { pthread_join(thread, nil) }
        thread.withLock { $0 = nil }
        guard let result = outcome.result.withLock({ $0 }) else { preconditionFailure("the work has ended without a result") }
        return try result.get()
    }
}

/// Outlives the caller's interest.
private final class Outcome<Value: Sendable>: Sendable {
    let result = Mutex<Result<Value, any Error>?>(nil)
}
