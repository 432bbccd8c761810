package import Support

/// A factorization that LAPACK could not finish.
package struct LAPACKError: ReportableError, Equatable {
    /// The LAPACK routine.
    package let routine: String
    /// Rows and columns of the matrix.
    package let shape: [Int]
    /// LAPACK's `info`: negative for an argument (a NaN among them), positive for a matrix that resists, or the number of the
    /// first result that is not finite.
    package let code: Int

    package var exitCode: ExitCode { code < 0 ? .software : .data }

    package var description: String {
        let reason = code < 0 ? "argument \(-code) is not usable" : "it stopped at step \(code)"
        return
            "\(routine) failed on a matrix of \(shape): \(reason); look for extreme or non-finite values in the layer's weight"
    }

    /// Throws unless `code` is 0.
    static func check(_ code: Int32, _ routine: String, _ shape: [Int]) throws(LAPACKError) {
        WorkProgress.note()
        if code != 0 { throw LAPACKError(routine: routine, shape: shape, code: Int(code)) }
    }

    /// The same for a routine that computes with NaN as with a number: also throws where its result is not finite.
    ///
    /// - Parameter result: the values that tell, by their number in 0..<count.
    static func check<Value: BinaryFloatingPoint>(
        _ code: Int32, _ routine: String, _ shape: [Int], count: Int, _ result: (_ index: Int) -> Value
    ) throws(LAPACKError) {
        try check(code, routine, shape)
        for index in 0..<count where !result(index).isFinite {
            throw LAPACKError(routine: routine, shape: shape, code: index + 1)
        }
    }
}
