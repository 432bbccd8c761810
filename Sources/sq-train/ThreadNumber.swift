internal import CProcess
internal import Support

/// The threads of a rank that the user has asked for in the environment.
enum ThreadNumber {
    /// nil where none are asked for. A list of OpenMP's is one number for each level of nesting: the first one counts.
    static func given(_ environment: [String: String]) throws(ThreadNumberError) -> Int? {
        // A number set for lack of addresses is no choice of the user's.
        let openBLAS = environment[CPROCESS_THREAD_LIMIT] ?? environment["OPENBLAS_NUM_THREADS"]
        for (name, text) in [("OPENBLAS_NUM_THREADS", openBLAS), ("OMP_NUM_THREADS", environment["OMP_NUM_THREADS"])] {
            let text = (text ?? "").filter { !$0.isWhitespace }
            guard let first = text.split(separator: ",", omittingEmptySubsequences: false).first, !text.isEmpty else {
                continue
            }
            guard let number = Int(first), number > 0 else { throw ThreadNumberError(name: name, value: text) }
            return number
        }
        return nil
    }
}

/// The environment asks for a number of threads that is none.
struct ThreadNumberError: ReportableError {
    let name: String
    let value: String

    var exitCode: Support.ExitCode { .configuration }
    var description: String { "\(name): \"\(value)\" is not a number of threads: unset it, or give 1 or more".singleLine }
}
