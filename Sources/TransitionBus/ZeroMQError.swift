internal import CZeroMQ
internal import Glibc
package import Support

/// A call of libzmq that failed.
package struct ZeroMQError: ReportableError, Equatable {
    /// The function, such as `zmq_bind`.
    package let operation: String
    /// The endpoint or option concerned.
    package let subject: String
    package let code: Int32

    /// The code where a context was shut down.
    static let contextEnded = ETERM

    package var exitCode: ExitCode {
        switch code {
        case ENODEV, EADDRNOTAVAIL, EINVAL, EPROTONOSUPPORT: .configuration
        default: .temporary
        }
    }

    package var description: String {
        let text = String(cString: zmq_strerror(code))
        let advice = exitCode == .configuration ? "check bus.interface and bus.transport" : "restart from the last checkpoint"
        return "\(operation) failed for \(subject): \(text); \(advice)"
    }

    /// Returns `result`, or throws libzmq's error where it is -1.
    @discardableResult
    static func check(_ operation: String, _ subject: String, _ result: Int32) throws(ZeroMQError) -> Int32 {
        guard result == -1 else { return result }
        throw ZeroMQError(operation: operation, subject: subject, code: zmq_errno())
    }
}
