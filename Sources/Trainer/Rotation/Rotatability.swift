package import Configuration
package import Models
internal import Rotation
package import Support
package import TensorCore

extension Architecture {
    /// Checks that rotations leave the function of a model of this kind unchanged.
    ///
    /// - Parameter path: path of the model.
    /// - Throws: ``ConfigurationError`` that says why they do not.
    package func checkRotatable(_ path: String) throws(ConfigurationError) {
        guard case .fixed(let reason) = rotatability else { return }
        throw ConfigurationError("model.path", "\(path): this \(type) cannot be rotated: \(reason)")
    }
}

extension ModelFolder {
    /// Checks that rotations leave the model's function unchanged.
    ///
    /// - Parameter weights: weights of this rank's stage.
    /// - Throws: ``ConfigurationError`` that says why they do not.
    package func checkRotatable(_ weights: Parameters<some TensorValue>) throws(ConfigurationError) {
        try architecture.checkRotatable(path)
        guard weights.foldsNorms(architecture) else {
            throw ConfigurationError(
                "model.path",
                "\(path): this \(architecture.type) cannot be rotated: its last norm adds something where its gain is 0, which "
                    + "no layer after it can take")
        }
    }
}

extension Rotations {
    /// Largest accepted entry of R1·1 − 1 where R1 must preserve the mean.
    private static var meanTolerance: Float { 1e-4 }

    /// Checks that R1 preserves the mean where the model's norms subtract it.
    ///
    /// - Throws: ``FileError``.
    package func check(keepMeansOf architecture: Architecture, path: String) throws(FileError) {
        guard architecture.takesMeans, meanError > Self.meanTolerance else { return }
        throw FileError(
            .malformed, "\(path): rotation R1",
            "does not keep the mean that the norms of this \(architecture.type) take away: max|R1·1 − 1| = \(meanError), above "
                + "\(Self.meanTolerance)")
    }
}
