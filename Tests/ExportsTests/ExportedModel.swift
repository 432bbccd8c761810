import Foundation
import GGUF
import HuggingFace
import Models
import Support
import TensorCore
import TestSupport

@testable import Exports

/// A model folder of the golden suite with a small tokenizer, in a folder of its own.
struct ExportedModel {
    let folder: TemporaryFolder

    /// Byte-level BPE of ten tokens, the first two special.
    static let tokenizer = #"""
        {"added_tokens": [{"id": 0, "content": "<s>", "special": true}, {"id": 1, "content": "</s>", "special": true}],
         "normalizer": null, "post_processor": null, "decoder": {"type": "ByteLevel"},
         "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
         "model": {"type": "BPE", "vocab": {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "c": 4, "ab": 5, "bc": 6, "Ġ": 7, "Ġa": 9},
         "merges": ["b c", ["a", "b"], "Ġ a"]}}
        """#

    init(_ name: String = "llama_base_hf", tokenizer: String = tokenizer) throws {
        folder = try TemporaryFolder()
        try FileManager.default.copyItem(atPath: GoldenSuite.ownFolder + "/llama/\(name)", toPath: folder.file("model"))
        try AtomicFile.write(tokenizer, to: folder.file("model/tokenizer.json"))
        try AtomicFile.write(
            #"{"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ messages }}"}"#,
            to: folder.file("model/tokenizer_config.json"))
    }

    func file(_ name: String) -> String { folder.file(name) }

    @discardableResult
    func export(
        _ format: String, to name: String, from source: String = "model", overwrites: Bool = false, shardBytes: Int = 1 << 30,
        type: ElementType? = nil
    ) throws -> ExportReport {
        try ModelWriters.named(format).write(
            ExportRequest(
                source: file(source), out: file(name), overwrites: overwrites, shardBytes: shardBytes, elementType: type))
    }

    @discardableResult
    func `import`(_ name: String, to folder: String) throws -> ExportReport {
        try GGUFImport().write(ExportRequest(source: file(name), out: file(folder)))
    }

    /// Of eight tokens.
    func logits(_ name: String) throws -> Tensor {
        let model = try ModelFolder(file(name))
        return model.description.model(positions: 8).logits((0..<8).map { $0 * 5 + 2 }, try model.parameters())
    }

    /// What an export is refused with; nil where it is not.
    /// - Throws: what is no ``ExportError``.
    func refusal(_ format: String, to name: String = "out", overwrites: Bool = false) throws -> ExportError? {
        do {
            try export(format, to: name, overwrites: overwrites)
            return nil
        } catch let error as ExportError { return error }
    }
}
