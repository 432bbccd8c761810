internal import HuggingFace
internal import Quantization
internal import Support
internal import TensorCore

/// The layers whose integers a calibration has chosen, a file each in a run's folder, so that a run that was ended in the
/// middle resumes with the others: `FOLDER/integers/NETWORK.LAYER.safetensors`.
///
/// A layer is taken back, bit for bit, only where all that decides it is the same: see ``CalibratedLayers/origin``. A file of
/// anything else, and one that cannot be read, is as none.
package struct FinishedIntegers: Sendable {
    private static let (fingerprintKey, digestKey) = ("fingerprint", "sha256")
    private static let (codesName, scalesName, zerosName, groupsName) = ("codes", "scales", "zeros", "groups")

    private let folder: String
    private let hooks: String

    private let network: String

    /// - Parameters:
    ///   - folder: made when the first layer is kept.
    ///   - network: a word for the network that is rounded, so that those of several can be kept beside each other.
    ///   - hooks: what is done at hook points.
    package init(folder: String, network: String, hooks: String) {
        (self.folder, self.network, self.hooks) = (folder, network, hooks)
    }

    private func file(_ name: String) -> String { "\(folder)/integers/\(network).\(name).safetensors" }

    private func fingerprint(_ name: String, _ origin: Digest, _ settings: String) -> String {
        sha256(of: origin + Array("\(name)\n\(hooks)\n\(settings)".utf8))
    }

    /// The integers of a layer `[out, in]`; nil where there are none of this origin.
    func weight(
        _ name: String, _ shape: [Int], _ origin: Digest, _ settings: String, _ spec: QuantizerSpec
    ) -> QuantizedWeight? {
        guard PathKind(file(name)) == .file, let file = try? SafetensorsFile(file(name)),
            file.metadata[Self.fingerprintKey] == fingerprint(name, origin, settings),
            let codes = try? file.readInts(Self.codesName), let scales = try? file.readFloat(Self.scalesName),
            let zeros = try? file.readFloat(Self.zerosName)
        else { return nil }
        let groups = try? file.readInts(Self.groupsName)
        guard codes.count == shape[0] * shape[1], codes.allSatisfy({ Int16(exactly: $0) != nil }), scales.count == zeros.count,
            groups?.count ?? shape[1] == shape[1], groups?.allSatisfy({ (0..<scales.count).contains($0) }) ?? true
        else { return nil }
        let weight = QuantizedWeight(
            codes: codes.map { Int16($0) }, scales: scales, zeros: zeros, shape: shape, spec: spec,
            columnGroups: groups?.map { Int32($0) })
        return file.metadata[Self.digestKey] == Self.digest(weight) ? weight : nil
    }

    func keep(_ weight: QuantizedWeight, _ name: String, _ origin: Digest, _ settings: String) throws {
        try makeFolder(folder)
        try makeFolder("\(folder)/integers")
        var sources = [
            TensorSource(Self.codesName, integers: weight.codes.map { Int($0) }, weight.shape, as: .i16),
            TensorSource(Self.scalesName, weight.scales), TensorSource(Self.zerosName, weight.zeros),
        ]
        if let groups = weight.columnGroups {
            sources.append(TensorSource(Self.groupsName, integers: groups.map { Int($0) }, [groups.count]))
        }
        try SafetensorsFile.write(
            sources, to: file(name),
            metadata: [
                ProgramVersion.key: ProgramVersion.name, Self.fingerprintKey: fingerprint(name, origin, settings),
                Self.digestKey: Self.digest(weight),
            ])
    }

    /// Of all that the file holds, so that a damaged one is known.
    private static func digest(_ weight: QuantizedWeight) -> String {
        let codes = weight.codes.withUnsafeBytes { Array($0) }
        let groups = (weight.columnGroups ?? []).withUnsafeBytes { Array($0) }
        return sha256(of: codes + groups + stateDigest([weight.scales, weight.zeros]))
    }
}
