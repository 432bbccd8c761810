import Support
import TensorCore
import Testing

@testable import HuggingFace

private let archive = "R.bin"
private let native = "rotations.safetensors"

extension MalformedCase {
    /// Files that `rotation.path` names.
    static let rotations = [
        torch("empty", "R.bin") { try $0.write([], to: archive) },
        torch("no ZIP archive", "R.bin") { try $0.write(Array("not a zip".utf8), to: archive) },
        torch("archive cut off", "R.bin") { model in
            try TorchArchive.write([("R1", try model.identity())], to: model.file(archive))
            try model.write(Array(try model.read(archive).dropLast(200)), to: archive)
        },
        torch("archive with a flipped bit", "checksum") { model in
            try TorchArchive.write([("R1", try model.identity())], to: model.file(archive))
            var bytes = try model.read(archive)
            bytes[bytes.count / 2] ^= 1
            try model.write(bytes, to: archive)
        },
        torch("archive without a pickle", "data.pkl") { try $0.writeArchive(["version": Array("3\n".utf8)]) },
        pickle(
            "a pickle that runs a shell command", "\"os system\", which is refused",
            "\u{2}cos\nsystem\n(X\u{4}\0\0\0true\u{85}R."),
        pickle("a pickle that evaluates Python", "builtins eval", "\u{2}cbuiltins\neval\n"),
        pickle("a pickle that builds objects", "is refused", "\u{2}}X\u{1}\0\0\0ai"),
        pickle("a pickle of numbers", "not a float tensor", "\u{2}}X\u{2}\0\0\0R1K\u{1}s."),
        pickle("a pickle cut off", "ends early", "\u{2}}X\u{7F}\0\0\0R"),
        pickle("a pickle of another protocol", "protocol 2", "\u{4}}."),
        torch("big-endian archive", "byteorder") { model in
            try model.writeArchive(["data.pkl": [0x80, 2] + Array("}.".utf8), "byteorder": Array("big".utf8)])
        },
        torch("archive of no tensor", "holds no rotation") { try TorchArchive.write([], to: $0.file(archive)) },
        torch("rotation that is not square", "has shape") { model in
            let n = try model.hiddenSize
            try TorchArchive.write([("R1", Tensor(zeros: [n, n + 1]))], to: model.file(archive))
        },
        torch("rotation of another model", "the model needs") {
            try TorchArchive.write([("R1", Tensor(identity: 6))], to: $0.file(archive))
        },
        torch("rotation with NaN", "NaN") { model in
            var r = try model.identity()
            r[flat: 3] = .nan
            try TorchArchive.write([("R1", r)], to: model.file(archive))
        },
        torch("matrix that is no rotation", "is not orthogonal") { model in
            var r = try model.identity()
            r.scale(by: 1.01)
            try TorchArchive.write([("R1", r)], to: model.file(archive))
        },
        torch("rotation of a layer that is not there", "is not a rotation of a model") { model in
            try TorchArchive.write([("model.layers.9999.self_attn.R2", Tensor(identity: 4))], to: model.file(archive))
        },
        torch("rotations of some layers", "layers.1.self_attn.R2 is missing") { model in
            try TorchArchive.write(
                [("model.layers.0.self_attn.R2", Tensor(identity: try model.headDimension))], to: model.file(archive))
        },
        torch("rotations of all layers but the first", "layers.0.self_attn.R2 is missing") { model in
            try TorchArchive.write(
                [("R1", try model.identity()), ("model.layers.1.self_attn.R2", Tensor(identity: try model.headDimension))],
                to: model.file(archive))
        },
        MalformedCase("rotations without the R2 that the file says it has", "says r2 is 'learned'", arguments: path(native)) {
            model in
            try SafetensorsFile.write(
                [TensorSource("R1", try model.identity())], to: model.file(native), metadata: ["r2": "learned"])
        },
        MalformedCase("rotations of another model", "allow_mismatch", arguments: path(native)) { model in
            try SafetensorsFile.write(
                [TensorSource("R1", try model.identity())], to: model.file(native), metadata: ["model_sha256": "0"])
        },
        MalformedCase("rotations of another size, safetensors", "the model needs", arguments: path(native)) { model in
            try SafetensorsFile.write([TensorSource("R1", Tensor(identity: 6))], to: model.file(native), metadata: [:])
        },
        MalformedCase("rotations, safetensors cut off", native, arguments: path(native)) { model in
            try SafetensorsFile.write([TensorSource("R1", try model.identity())], to: model.file(native), metadata: [:])
            try model.write(Array(try model.read(native).dropLast(4)), to: native)
        },
        MalformedCase("no rotations", "no such file", code: 66, arguments: path("nowhere.bin")) { _ in },
    ]

    private static func path(_ file: String) -> [String] { ["--set", "rotation.path=\(file)"] }

    private static func torch(
        _ name: String, _ fragment: String, _ damage: @escaping @Sendable (ModelFolder) throws -> Void
    ) -> MalformedCase {
        MalformedCase("R.bin: " + name, fragment, arguments: path(archive), damage)
    }

    /// An archive whose pickle is this program, after the byte that says so.
    private static func pickle(_ name: String, _ fragment: String, _ program: String) -> MalformedCase {
        torch(name, fragment) { try $0.writeArchive(["data.pkl": [0x80] + Array(program.utf8)]) }
    }
}

extension ModelFolder {
    fileprivate var hiddenSize: Int { get throws { try extent("hidden_size") } }
    fileprivate var headDimension: Int { get throws { try extent("head_dim") } }

    private func extent(_ key: String) throws -> Int {
        try #require(try InputFile.json(file("model/config.json")).object?[key]?.integer)
    }

    fileprivate func identity() throws -> Tensor { Tensor(identity: try hiddenSize) }

    fileprivate func writeArchive(_ entries: [String: [UInt8]]) throws {
        var zip = ZipWriter(try AtomicFile(file(archive)), root: "R")
        for (name, content) in entries.sorted(by: { $0.key < $1.key }) { try zip.add(name, content) }
        try zip.finish()
    }
}
