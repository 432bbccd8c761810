import Foundation
import HuggingFace
import Support
import TestSupport

/// A folder with a small valid model, tokenizer and data, for tests that damage one of them.
///
/// The model is the golden suite's; nothing here knows its shape.
struct ModelFolder {
    let folder: TemporaryFolder

    /// - Parameter name: of a model folder of the golden suite.
    init(_ name: String = "llama_base_hf") throws {
        folder = try TemporaryFolder()
        let golden = GoldenSuite.ownFolder
        let model = golden + "/llama/\(name)/"
        try FileManager.default.createDirectory(atPath: file("model"), withIntermediateDirectories: true)
        for name in ["config.json", "model.safetensors"] {
            try FileManager.default.copyItem(atPath: model + name, toPath: file("model/" + name))
        }
        try FileManager.default.copyItem(
            atPath: golden + "/tokenizer/bytebpe_tokenizer.json", toPath: file("model/tokenizer.json"))
        try writeTokens(to: "data.safetensors")
    }

    var path: String { folder.path }

    func file(_ name: String) -> String { folder.file(name) }

    /// Settings of a run on this folder that is over in a moment.
    func arguments(train: String = "data.safetensors", eval: String = "data.safetensors") -> [String] {
        let settings = [
            "model.path=model", "data.train.path=\(train)", "data.eval.path=\(eval)", "data.sequence_length=16",
            "data.eval.windows=2", "training.steps=1", "training.batch_size=2",
        ]
        return settings.flatMap { ["--set", $0] } + ["--out", "out"]
    }

    // MARK: - Writing

    func write(_ text: String, to name: String) throws { try AtomicFile.write(text, to: file(name)) }
    func write(_ bytes: [UInt8], to name: String) throws { try AtomicFile.write(bytes, to: file(name)) }

    func read(_ name: String) throws -> [UInt8] { try InputFile.contents(of: file(name), limit: 1 << 30) }

    /// A file of `input_ids`, [4, 16], all 1 but for those given by position.
    func writeTokens(
        to name: String, named tensor: String = "input_ids", type: String = "I32", except: [Int: Int32] = [:]
    ) throws {
        let tokens = (0..<64).map { except[$0] ?? 1 }
        var header = JSONObject()
        header[tensor] = ["dtype": .string(type), "shape": [4, 16], "data_offsets": [0, 256]]
        let bytes = tokens.flatMap { token in withUnsafeBytes(of: token.littleEndian) { Array($0) } }
        try write(Self.safetensors(header: JSONValue.object(header).text(.compact), data: bytes), to: name)
    }

    static func safetensors(header: String, data: [UInt8]) -> [UInt8] {
        let header = Array(header.utf8)
        return withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header + data
    }

    // MARK: - Damaging

    /// Replaces a JSON file by a changed one.
    func changeJSON(_ name: String, _ change: (inout JSONObject) -> Void) throws {
        var object = try InputFile.json(file(name)).object ?? JSONObject()
        change(&object)
        try write(JSONValue.object(object).text(.compact, sortedKeys: false), to: name)
    }

    /// Replaces text in a file.
    func replace(_ old: String, by new: String, in name: String) throws {
        let text = String(decoding: try read(name), as: UTF8.self)
        try write(text.replacingOccurrences(of: old, with: new), to: name)
    }

    /// Replaces the header of the model's safetensors file, as text.
    func changeHeader(_ change: (String) -> String) throws {
        let bytes = try read("model/model.safetensors")
        let length = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        let header = String(decoding: bytes[8..<8 + length], as: UTF8.self)
        try write(Self.safetensors(header: change(header), data: Array(bytes[(8 + length)...])), to: "model/model.safetensors")
    }

    /// Gives all elements of a float32 tensor one value.
    func fill(_ name: String, with value: Float) throws {
        let tensor = try SafetensorsFile(file("model/model.safetensors")).info(name)
        precondition(tensor.type == .f32, "\(name) is \(tensor.type)")
        var bytes = try read("model/model.safetensors")
        let word = withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
        let range = tensor.byteRange
        for index in 0..<range.count { bytes[range.lowerBound + index] = word[index % 4] }
        try write(bytes, to: "model/model.safetensors")
    }

    /// Multiplies a row or a column of every float32 linear layer.
    func scaleLinears(row: Int? = nil, column: Int? = nil, by factor: Float) throws {
        let file = try SafetensorsFile(file("model/model.safetensors"))
        var bytes = try read("model/model.safetensors")
        for (name, tensor) in file.tensors where name.hasSuffix("proj.weight") {
            precondition(tensor.type == .f32, "\(name) is \(tensor.type)")
            let columns = tensor.shape[1]
            for index in 0..<tensor.shape[0] * columns where index / columns == row || index % columns == column {
                let place = tensor.byteRange.lowerBound + 4 * index
                let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[place + $1]) << (8 * $1) }
                let scaled = (Float(bitPattern: bits) * factor).bitPattern
                for byte in 0..<4 { bytes[place + byte] = UInt8(truncatingIfNeeded: scaled >> (8 * byte)) }
            }
        }
        try write(bytes, to: "model/model.safetensors")
    }

    /// Replaces the entry of the tensor that lies at the given place in the file, counted from 0.
    func changeEntry(_ position: Int, _ change: (inout JSONObject) -> Void) throws {
        try changeHeader { header in
            guard var object = try? JSONValue(parsing: Array(header.utf8)).object else { return header }
            let tensors = object.members.filter { $0.key != "__metadata__" }
                .sorted { ($0.value["data_offsets"]?.integers?[0] ?? 0) < ($1.value["data_offsets"]?.integers?[0] ?? 0) }
            guard var entry = tensors[position].value.object else { return header }
            change(&entry)
            object[tensors[position].key] = .object(entry)
            return JSONValue.object(object).text(.compact, sortedKeys: false)
        }
    }

    /// Turns the model into one shard, `a.safetensors`, and an index that says so.
    func makeSharded(_ change: (inout JSONObject) -> Void = { _ in }) throws {
        let tensors = try SafetensorsFile(file("model/model.safetensors")).names
        try FileManager.default.moveItem(atPath: file("model/model.safetensors"), toPath: file("model/a.safetensors"))
        var map = JSONObject()
        for name in tensors { map[name] = "a.safetensors" }
        change(&map)
        let index: JSONValue = ["metadata": ["total_size": 0], "weight_map": .object(map)]
        try write(index.text(), to: "model/model.safetensors.index.json")
    }
}
