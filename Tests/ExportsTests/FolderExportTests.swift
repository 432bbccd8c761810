import Foundation
import HuggingFace
import Models
import Rotation
import Support
import TensorCore
import TestSupport
import Testing

@testable import Exports

@Suite struct FolderExportTests {
    @Test(arguments: [ElementType.f32, .bf16, .f16, nil])
    func `a dense folder has the source's numbers in the type asked for`(type: ElementType?) throws {
        let model = try ExportedModel("llama_tied_hf")
        try model.export("huggingface", to: "out", type: type)
        let (source, written) = (try ModelFolder(model.file("model")), try ModelFolder(model.file("out")))
        #expect(written.architecture == source.architecture)
        for name in source.checkpoint.names {
            let expected = try source.checkpoint.read(name).rounded(to: type ?? .f32)
            #expect(try written.checkpoint.info(name).type == type ?? .f32)
            #expect(try written.checkpoint.read(name).elements == expected.elements)
        }
        #expect(written.config.value("torch_dtype")?.string == (type ?? .f32).frameworkName)
        #expect(PathKind(model.file("out/tokenizer.json")) == .file)
    }

    @Test func `weights that half precision makes 0 are counted`() throws {
        let model = try ExportedModel("llama_tied_hf")
        let checkpoint = try Checkpoint(model.file("model"))
        let sources = try checkpoint.names.map { name in
            var tensor = try checkpoint.read(name)
            if name.hasSuffix("q_proj.weight") { tensor[flat: 7] = 1e-9 }
            if name.hasSuffix("1.mlp.up_proj.weight") { (tensor[flat: 0], tensor[flat: 1]) = (0, 1e-6) }
            return TensorSource(name, .f32, tensor.shape) { [tensor] in .floats(tensor) }
        }
        let count = sources.count { $0.name.hasSuffix("q_proj.weight") }
        try Checkpoint.write(sources, to: model.file("model"))
        let note = "\(count) weights are too small for"
        #expect(try model.export("huggingface", to: "a", type: .f16).notes.contains { $0.hasPrefix("\(note) float16") })
        #expect(try model.export("gguf-f16", to: "b").notes.contains { $0.hasPrefix("\(note) F16") })
        for (format, type) in [
            ("huggingface", ElementType.bf16), ("huggingface", .f32), ("gguf-bf16", nil), ("gguf-q8_0", nil),
        ] {
            let notes = try model.export(format, to: "\(format)-\(type?.rawValue ?? "")", type: type).notes
            #expect(!notes.contains { $0.contains("too small") }, "\(format)")
        }
    }

    @Test func `weights above the limit go to shards, each with where it comes from`() throws {
        let model = try ExportedModel()
        try model.export("huggingface", to: "out", shardBytes: 100_000)
        let shards = try entries(ofFolder: model.file("out")).filter { $0.hasSuffix(".safetensors") }
        #expect(shards.count > 3 && PathKind(model.file("out/model.safetensors.index.json")) == .file)
        for shard in shards {
            let metadata = try SafetensorsFile(model.file("out/" + shard)).metadata
            #expect(metadata["format"] == "pt" && metadata["program"]?.hasPrefix("sq-train ") == true)
            #expect(try metadata["source_sha256"] == Checkpoint(model.file("model")).digest())
            #expect(metadata["source_provenance"] == nil)
        }
        let keys = try InputFile.json(model.file("out/provenance.json")).object?.keys
        #expect(keys?.contains("source_sha256") == true && keys?.contains("source_provenance") == false)
        #expect(try model.logits("out").elements == model.logits("model").elements)
    }

    @Test func `a folder is replaced only where asked, only a model's, and never the one that is read`() throws {
        let model = try ExportedModel()
        try model.export("huggingface", to: "out")
        #expect(try model.refusal("huggingface")?.description.contains("--overwrite") == true)
        #expect(try model.refusal("huggingface", overwrites: true) == nil)
        for other in ["notes.txt", "my_lora.safetensors", ".env", "checkpoint-500"] {
            if other == "checkpoint-500" {
                try makeFolder(model.file("out/\(other)"))
            } else {
                try AtomicFile.write("mine", to: model.file("out/\(other)"))
            }
            let refusal = try model.refusal("huggingface", overwrites: true)
            #expect(refusal?.description.contains("holds \(other), which") == true, "\(refusal?.description ?? "")")
            try removeTree(model.file("out/\(other)"))
        }
        #expect(
            try model.refusal("huggingface", to: "model", overwrites: true)?.description.contains(
                "is the folder that is exported")
                == true)
        try FileManager.default.createDirectory(atPath: model.file("mine"), withIntermediateDirectories: false)
        try AtomicFile.write("mine", to: model.file("mine/a"))
        #expect(
            try model.refusal("huggingface", to: "mine", overwrites: true)?.description.contains("is not a model's folder")
                == true
        )
        #expect(try entries(ofFolder: model.file("mine")) == ["a"])
        // Nothing is put beside what is read, by whatever way.
        try FileManager.default.createSymbolicLink(
            atPath: model.file("link"), withDestinationPath: model.file("model"))
        for place in ["model/sub", "link/sub", "model/../model/sub"] {
            #expect(try model.refusal("huggingface", to: place)?.description.contains("is within") == true, "\(place)")
        }
        try FileManager.default.copyItem(atPath: model.file("out"), toPath: model.file("model/sub"))
        #expect(try model.refusal("huggingface", to: "model/sub", overwrites: true)?.description.contains("is within") == true)
        // A folder of a cache holds links.
        try FileManager.default.moveItem(atPath: model.file("model/config.json"), toPath: model.file("blob"))
        try FileManager.default.createSymbolicLink(
            atPath: model.file("model/config.json"), withDestinationPath: model.file("blob"))
        #expect(try model.refusal("huggingface", to: "model/new")?.description.contains("is within") == true)
        try FileManager.default.removeItem(atPath: model.file("model/config.json"))
        try FileManager.default.moveItem(atPath: model.file("blob"), toPath: model.file("model/config.json"))
        // What is read is not replaced together with the folder that it lies in either.
        try FileManager.default.moveItem(atPath: model.file("model"), toPath: model.file("out/model"))
        try FileManager.default.createSymbolicLink(
            atPath: model.file("model"), withDestinationPath: model.file("out/model"))
        #expect(try model.refusal("huggingface", overwrites: true)?.description.contains("would be removed with it") == true)
        #expect(PathKind(model.file("out/model/config.json")) == .file)
    }

    @Test func `a number beyond half precision is refused, and nothing is left`() throws {
        let model = try ExportedModel()
        let folder = try ModelFolder(model.file("model"))
        var parameters = try folder.parameters()
        parameters.blocks[0][0] = Tensor(repeating: 1e6, parameters.blocks[0][0].shape)
        try folder.write(parameters, as: .f32, to: model.file("model"))
        // Norms are in float32 in GGUF.
        try model.export("gguf-f16", to: "norm.gguf")
        parameters.blocks[0][1] = Tensor(repeating: 1e6, parameters.blocks[0][1].shape)
        try folder.write(parameters, as: .f32, to: model.file("model"))
        let error = #expect(throws: FileError.self) { try model.export("huggingface", to: "out", type: .f16) }
        #expect(error?.place.hasPrefix(model.file("out/model.safetensors: tensor ")) == true, "\(error?.place ?? "")")
        #expect(error?.problem.contains("beyond F16's range") == true)
        let refusal = try #require(try model.refusal("gguf-f16"))
        #expect(refusal.place.hasPrefix(model.file("model: tensor model.layers.0.")), "\(refusal)")
        #expect(refusal.problem.hasSuffix("beyond F16's range; use --format gguf-bf16"), "\(refusal)")
        #expect(try !entries(ofFolder: model.folder.path).contains { $0.hasPrefix("out") })
    }

    @Test func `rotations of a run become an R.bin with the same numbers`() throws {
        let folder = try TemporaryFolder()
        try FileManager.default.createDirectory(atPath: folder.file("run"), withIntermediateDirectories: false)
        let sign = Tensor((0..<16).map { $0 % 5 == 0 ? ($0 % 2 == 0 ? 1 : -1) as Float : 0 }, [4, 4])
        let tensors = [("R1", sign)] + (0..<2).map { ("model.layers.\($0).self_attn.R2", Tensor(identity: 2)) }
        try SafetensorsFile.write(tensors.map { TensorSource($0.0, $0.1) }, to: folder.file("run/rotations.safetensors"))
        let request = ExportRequest(source: folder.file("run"), out: folder.file("R.bin"))
        _ = try ModelWriters.named("r-bin").write(request)
        let archive = try TorchArchive(folder.file("R.bin"))
        #expect(archive.names == tensors.map(\.0))
        for (name, tensor) in tensors { #expect(try archive.read(name).elements == tensor.elements) }
        #expect(throws: ExportError.self) { _ = try ModelWriters.named("r-bin").write(request) }
        // Beside what is read another one may be replaced, and the run's own not.
        for name in ["run/X.bin", "run/X.bin", "run/R.bin"] {
            _ = try ModelWriters.named("r-bin").write(
                ExportRequest(source: folder.file("run"), out: folder.file(name), overwrites: true))
        }
        for name in ["run/R.bin", "run/rotations.safetensors"] {
            let error = #expect(throws: ExportError.self) {
                try ModelWriters.named("r-bin").write(
                    ExportRequest(source: folder.file("run"), out: folder.file(name), overwrites: true))
            }
            #expect(error?.problem.hasPrefix("is part of what is read") == true, "\(name)")
        }
        // Any ZIP archive begins so.
        let other = Array("PK\u{3}\u{4} and no rotations".utf8)
        try AtomicFile.write(other, to: folder.file("other.bin"))
        for name in ["R.bin", "other.bin"] {
            let over = ExportRequest(source: folder.file("run"), out: folder.file(name), overwrites: true)
            if name == "R.bin" {
                _ = try ModelWriters.named("r-bin").write(over)
            } else {
                #expect(throws: ExportError.self) { _ = try ModelWriters.named("r-bin").write(over) }
            }
        }
        #expect(try InputFile.contents(of: folder.file("other.bin"), limit: 1 << 20) == other)
        #expect(throws: ExportError.self) {
            _ = try ModelWriters.named("r-bin").write(ExportRequest(source: folder.path, out: folder.file("S.bin")))
        }
    }

    @Test func `what holds no rotations is said to`() throws {
        let model = try ExportedModel()
        try model.export("gguf-f16", to: "a.gguf")
        func refusal(_ source: String) throws -> ExportError? {
            #expect(throws: ExportError.self) {
                try RotationArchiveWriter().write(ExportRequest(source: model.file(source), out: model.file("R.bin")))
            }
        }
        #expect(try refusal("a.gguf")?.problem.contains("is a GGUF file, which holds no rotations") == true)
        #expect(try refusal("model")?.problem.contains("holds no rotations.safetensors") == true)
    }

    @Test func `an unknown format is refused with the known ones`() {
        let error = #expect(throws: ExportError.self) { try ModelWriters.named("gguf-q5_k") }
        #expect(error?.description.hasPrefix("gguf-q5_k: is not a format; use one of huggingface, ") == true)
    }

    @Test func `each form that has a name has one writer`() {
        #expect(ModelWriters.all.map(\.format) == ExportFormat.allCases)
    }
}
