import TernarySVD

extension TernaryOptions {
    /// Of a matrix as it is: what the tolerance promises is then a promise about the matrix itself.
    static func unbalanced(_ tolerance: Float, mode: Mode = .default) -> TernaryOptions {
        var options = TernaryOptions(tolerance: tolerance, mode: mode)
        options.balance = false
        return options
    }
}
