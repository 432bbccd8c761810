import Foundation
import Support

private let weights = "model/model.safetensors"

extension MalformedCase {
    static let safetensors = [
        MalformedCase("empty weights", "has 0 bytes") { try $0.write([], to: weights) },
        MalformedCase("7 bytes of weights", "has 7 bytes") { try $0.write([1, 0, 0, 0, 0, 0, 0], to: weights) },
        MalformedCase("header past the end", "reaches past the end") {
            try $0.write([9, 0, 0, 0, 0, 0, 0, 0, 0x7B, 0x7D], to: weights)
        },
        MalformedCase("header of 2⁶⁴ − 1 bytes", "header length") {
            try $0.write([UInt8](repeating: 0xFF, count: 64), to: weights)
        },
        MalformedCase("header above the limit", "above 100000000") {
            try $0.write([0, 0, 0, 0, 1, 0, 0, 0, 0x7B], to: weights)
        },
        MalformedCase("header that is a list", "does not begin with '{'") { try $0.changeHeader { _ in "[]" } },
        MalformedCase("header not UTF-8", "UTF-8") { model in
            try model.write([6, 0, 0, 0, 0, 0, 0, 0, 0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x7D], to: weights)
        },
        MalformedCase("header cut off", "byte") {
            try $0.changeHeader { String($0.trimmingCharacters(in: .whitespaces).dropLast()) }
        },
        MalformedCase("text after the header's object", "byte") { try $0.changeHeader { $0 + "x" } },
        MalformedCase("a tensor twice", "twice") { try $0.changeHeader { header in duplicated(header, key: { $0 }) } },
        MalformedCase("a tensor twice, once escaped", "twice") { model in
            try model.changeHeader { header in duplicated(header, key: { "\\u006d" + $0.dropFirst() }) }
        },
        MalformedCase("deep header", "nested") { model in
            try model.changeHeader { _ in "{\"a\":" + String(repeating: "[", count: 100_000) }
        },
        MalformedCase("negative offset", "data_offsets") { try $0.changeEntry(0) { $0["data_offsets"] = [-4, 0] } },
        MalformedCase("fractional offset", "data_offsets") { try $0.changeEntry(0) { $0["data_offsets"] = [0, 1.5] } },
        MalformedCase("offset above 2⁶³", "data_offsets") { try $0.changeEntry(0) { $0["data_offsets"] = [0, 1e19] } },
        MalformedCase("reversed offsets", "data_offsets") { model in
            try model.changeEntry(1) { entry in entry["data_offsets"] = reversed(entry["data_offsets"]) }
        },
        MalformedCase("offset past the end", "data_offsets") {
            try $0.changeEntry(0) { $0["data_offsets"] = [0, 1_000_000_000] }
        },
        MalformedCase("overlap", "overlaps") { model in
            try model.changeEntry(1) { entry in
                guard let span = entry["data_offsets"]?.integers else { return }
                entry["data_offsets"] = [0, .integer(span[1] - span[0])]
            }
        },
        MalformedCase("unused bytes at the end", "bytes follow the last tensor") { model in
            try model.write(try model.read(weights) + [0, 0, 0, 0], to: weights)
        },
        MalformedCase("cut off", "data_offsets") { try $0.write(Array(try $0.read(weights).dropLast(100)), to: weights) },
        MalformedCase("shape that overflows", "shape") { model in
            try model.changeEntry(0) { $0["shape"] = [4_294_967_296, 4_294_967_296, 4_294_967_296] }
        },
        MalformedCase("negative shape", "shape") { try $0.changeEntry(0) { $0["shape"] = [-1, -64] } },
        MalformedCase("shape against length", "bytes; data_offsets span") { try $0.changeEntry(0) { $0["shape"] = [1] } },
        MalformedCase("shape against config.json", "has shape") { model in
            try model.changeEntry(0) { entry in entry["shape"] = .array((entry["shape"]?.array ?? []).reversed()) }
        },
        MalformedCase("unknown dtype", "dtype \"F99\"") { try $0.changeEntry(0) { $0["dtype"] = "F99" } },
        MalformedCase("missing dtype", "dtype is missing") { try $0.changeEntry(0) { $0["dtype"] = nil } },
        MalformedCase("unknown key", "unknown key") { try $0.changeEntry(0) { $0["strides"] = [1] } },
        MalformedCase("metadata that is no text", "is not a string") { model in
            try model.changeHeader { $0.replacingOccurrences(of: "\"format\":\"pt\"", with: "\"format\":3") }
        },
        MalformedCase("missing tensor", "model.embed_tokens.weight is missing") { model in
            try model.changeHeader { $0.replacingOccurrences(of: "model.embed_tokens.weight", with: "model.embed.weight") }
        },
        MalformedCase("NaN", "is nan") { try $0.write(try tail($0, [0, 0, 0xC0, 0x7F]), to: weights) },
        MalformedCase("infinity", "is inf") { try $0.write(try tail($0, [0, 0, 0x80, 0x7F]), to: weights) },
        MalformedCase("a folder instead of weights", "is not a regular file") { model in
            try FileManager.default.removeItem(atPath: model.file(weights))
            try FileManager.default.createDirectory(atPath: model.file(weights), withIntermediateDirectories: false)
        },
        MalformedCase("a pipe instead of weights", "is not a regular file") { model in
            try FileManager.default.removeItem(atPath: model.file(weights))
            mkfifo(model.file(weights), 0o644)
        },
        MalformedCase("no weights", "is it a Hugging Face model folder?", code: 66) { model in
            try FileManager.default.removeItem(atPath: model.file(weights))
        },
        MalformedCase("no model folder", "no such file", code: 66) { model in
            try FileManager.default.removeItem(atPath: model.file("model"))
        },
    ]

    static let index = [
        MalformedCase("shard at an absolute path", "without slashes") { try $0.makeSharded { assign(&$0, "/etc/passwd") } },
        MalformedCase("shard outside", "without slashes") { try $0.makeSharded { assign(&$0, "../data.safetensors") } },
        MalformedCase("shard in a folder", "without slashes") { try $0.makeSharded { assign(&$0, "b/a.safetensors") } },
        MalformedCase("shard that is no name", "is not a file name") { try $0.makeSharded { $0[$0.keys[0]] = 3 } },
        MalformedCase("shard that is a link out of the folder", "link that leaves the folder") { model in
            try model.makeSharded()
            try FileManager.default.moveItem(atPath: model.file("model/a.safetensors"), toPath: model.file("a.safetensors"))
            try FileManager.default.createSymbolicLink(
                atPath: model.file("model/a.safetensors"), withDestinationPath: "../a.safetensors")
        },
        MalformedCase("missing shard", "no such file", code: 66) { try $0.makeSharded { assign(&$0, "b.safetensors") } },
        MalformedCase("tensor that is not in its shard", "holds no such tensor") {
            try $0.makeSharded { $0["extra.weight"] = "a.safetensors" }
        },
        MalformedCase("tensor the index does not name", "is not assigned to this shard") {
            try $0.makeSharded { $0[$0.keys[0]] = nil }
        },
        MalformedCase("index without a map", "weight_map") { model in
            try model.makeSharded()
            try model.write("{}", to: "model/model.safetensors.index.json")
        },
        MalformedCase("index that is no JSON", "byte") { model in
            try model.makeSharded()
            try model.write("{\"weight_map\":", to: "model/model.safetensors.index.json")
        },
    ]

    static let configuration = [
        MalformedCase(
            "a file for a model", "data.safetensors: is neither a model's folder nor a GGUF file",
            arguments: ["--set", "model.path=data.safetensors"]
        ) { _ in },
        MalformedCase("no config.json", "no such file", code: 66) {
            try FileManager.default.removeItem(atPath: $0.file("model/config.json"))
        },
        MalformedCase("config.json that is no JSON", "config.json: byte") { try $0.write("{,}", to: "model/config.json") },
        MalformedCase("config.json that is a list", "config.json") { try $0.write("[]", to: "model/config.json") },
        MalformedCase("a key twice", "twice") {
            try $0.replace("{\n  \"arch", by: "{\"hidden_size\": 1,\n  \"arch", in: "model/config.json")
        },
        MalformedCase("another family", "opt") { model in
            try model.changeJSON("model/config.json") {
                $0["model_type"] = "opt"
                $0["architectures"] = ["OPTForCausalLM"]
            }
        },
        MalformedCase("no hidden size", "hidden_size") { try $0.changeJSON("model/config.json") { $0["hidden_size"] = nil } },
        MalformedCase("hidden size 0", "hidden_size") { try $0.changeJSON("model/config.json") { $0["hidden_size"] = 0 } },
        MalformedCase("hidden size as text", "hidden_size") {
            try $0.changeJSON("model/config.json") { $0["hidden_size"] = "64" }
        },
        MalformedCase("negative layers", "num_hidden_layers") {
            try $0.changeJSON("model/config.json") { $0["num_hidden_layers"] = -1 }
        },
        MalformedCase("a thousand million layers", "model") {
            try $0.changeJSON("model/config.json") { $0["num_hidden_layers"] = 1_000_000_000 }
        },
        MalformedCase("heads that do not divide", "num_key_value_heads") {
            try $0.changeJSON("model/config.json") { $0["num_key_value_heads"] = 3 }
        },
        MalformedCase("another vocabulary", "shape") { try $0.changeJSON("model/config.json") { $0["vocab_size"] = 7777 } },
        MalformedCase("another width", "shape") { try $0.changeJSON("model/config.json") { $0["intermediate_size"] = 160 } },
    ]
}

/// The first tensor's entry again at the front of the header, under a changed key.
private func duplicated(_ header: String, key: (String) -> String) -> String {
    guard let start = header.range(of: "\"model."), let end = header[start.upperBound...].firstIndex(of: "\"") else {
        return header
    }
    let name = header[header.index(after: start.lowerBound)..<end]
    return "{\"" + key(String(name)) + "\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}," + header.dropFirst()
}

private func reversed(_ span: JSONValue?) -> JSONValue { .array((span?.array ?? []).reversed()) }

private func assign(_ map: inout JSONObject, _ shard: String) { for name in map.keys { map[name] = .string(shard) } }

/// The weights with another last number.
private func tail(_ model: ModelFolder, _ bytes: [UInt8]) throws -> [UInt8] {
    Array(try model.read(weights).dropLast(4)) + bytes
}
