package import Glibc

/// A thread of the system's, for what waits in it: Swift's own threads must not.
package enum SystemThread {
    /// There is no thread to be had: the system's error number.
    package struct Refused: Error {
        package let code: Int32
    }

    /// Runs `body` on a thread of its own, which is to be joined or detached.
    package static func start(_ body: @escaping @Sendable () -> Void) throws(Refused) -> pthread_t {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(Work(body))
        let code = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                Unmanaged<Work>.fromOpaque(context).takeRetainedValue().body()
                return nil
            }, context.toOpaque())
        if code == 0 { return thread }
        context.release()
        throw Refused(code: code)
    }

    private final class Work: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}
