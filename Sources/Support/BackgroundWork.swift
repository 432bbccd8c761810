internal import Glibc
internal import Synchronization

/// Work on a thread of its own, for what may wait for the disk while the caller goes on.
package final class BackgroundWork<Value: Sendable>: Performer {
    private let work: @Sendable () throws -> Value
    private let result = Mutex<Result<Value, any Error>?>(nil)
    private let thread = Mutex<pthread_t?>(nil)

    /// Begins the work; at once and on the calling thread where the system has no thread to give.
    package init(_ work: @escaping @Sendable () throws -> Value) {
        self.work = work
        super.init()
        begin()
    }

    deinit { if let thread = thread.withLock({ $0 }) { pthread_detach(thread) } }

    private func begin() {
        let started = startThread()
        thread.withLock { $0 = started }
        if started == nil { perform() }
    }

    fileprivate override func perform() {
        let outcome = Result { try work() }
        result.withLock { $0 = outcome }
    }

    package var isDone: Bool { result.withLock { $0 != nil } }

    /// What the work came to, once it has ended.
    package func wait() throws -> Value {
        if let thread = thread.withLock({ $0 }) { pthread_join(thread, nil) }
        thread.withLock { $0 = nil }
        guard let outcome = result.withLock({ $0 }) else { preconditionFailure("the work has ended without a result") }
        return try outcome.get()
    }
}

/// What a thread of C can be given: it knows no generic types.
package class Performer: @unchecked Sendable {
    fileprivate init() {}

    fileprivate func perform() { preconditionFailure("there is no work") }

    /// nil where there is none to be had.
    fileprivate final func startThread() -> pthread_t? {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self)
        let code = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                Unmanaged<Performer>.fromOpaque(context).takeRetainedValue().perform()
                return nil
            }, context.toOpaque())
        if code == 0 { return thread }
        context.release()
        return nil
    }
}
