import Foundation
import Glibc
import HuggingFace
import Models
import Support
import TensorCore
import TestSupport
import Testing

/// Weights that stay in their file.
@Suite struct FileMatrixTests {
    @Test(arguments: [ElementType.f32, .bf16, .f16])
    func `they are the tensors that are read once, in whole and by rows, and take changes`(_ type: ElementType) throws {
        let folder = try TemporaryFolder()
        try TinyModel.write(to: folder.path)
        let source = try ModelFolder(folder.path)
        try source.write(source.parameters(), as: type, to: folder.file("model"))
        let model = try ModelFolder(folder.file("model"))
        let (read, filed) = (try model.parameters(), try model.parameters(nil, storage: .file))
        for ((name, tensor), (_, stored)) in zip(read.named, filed.named) {
            #expect(stored.tensor.elements == tensor.elements, "\(name)")
            #expect(stored.isResident == (tensor.shape.count != 2))
            #expect(stored.held.isResident == stored.isResident)
            guard tensor.shape.count == 2 else { continue }
            #expect(stored.rows(at: [3, 0, 3]).elements == StoredTensor(tensor).rows(at: [3, 0, 3]).elements)
            let changed = stored.mappedRows { $0.scale(by: 2) }.mapped { $0.scale(by: 3) }
            var expected = tensor
            expected.scale(by: 6)
            #expect(!changed.isResident && changed.tensor.elements == expected.elements)
        }
        let tokens: [Int32] = [1, 5, 2, 9, 9, 0]
        let network = model.description.model(positions: 8)
        #expect(network.logits(tokens, filed).elements == network.logits(tokens, read).elements)
    }

    @Test func `a value that is not finite is found when the model is opened`() throws {
        let folder = try TemporaryFolder()
        try TinyModel.write(to: folder.path) { sources in
            sources = sources.map { source in
                guard source.name.hasSuffix("o_proj.weight") else { return source }
                var broken = Tensor(zeros: source.shape)
                broken[flat: broken.count - 1] = .nan
                return TensorSource(source.name, broken)
            }
        }
        let model = try ModelFolder(folder.path)
        let error = #expect(throws: FileError.self) { try model.parameters(nil, storage: .file) }
        #expect(error?.place.contains("o_proj.weight") == true)
    }

    /// 65: the file is no longer what it was.
    @Test func `a file that has been cut since ends the process with its code`() async throws {
        // Of this process: the one that ends removes nothing.
        let folder = try TemporaryFolder()
        try TinyModel.write(to: folder.path)
        await #expect(processExitsWith: .exitCode(65)) { [path = folder.path as String] in
            let filed = try ModelFolder(path).parameters(nil, storage: .file)
            truncate(path + "/model.safetensors", 4000)
            for (_, value) in filed.named { _ = value.tensor }
        }
    }
}
