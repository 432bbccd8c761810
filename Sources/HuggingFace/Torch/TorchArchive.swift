package import Support
package import TensorCore

/// A file of `torch.save` that holds one plain dictionary of float tensors, such as SpinQuant's `R.bin`.
package final class TorchArchive: Sendable {
    /// In the dictionary's order.
    package let names: [String]
    private let tensors: [String: PickledTensor]
    private let entries: [String: ZipReader.Entry]
    private let file: InputFile
    /// What every archive begins with: the header of a ZIP file's first entry.
    package static let magic = Array("PK\u{3}\u{4}".utf8)
    private static let largestPickle = 16 << 20

    package var path: String { file.path }

    /// Opens an archive: its directory, its pickle and the checksums of its storages are checked, and nothing of it is run.
    ///
    /// - Throws: ``FileError``.
    package init(_ path: String) throws(FileError) {
        file = try InputFile(path)
        if let impostor = Impostor(try file.bytes(0..<min(file.size, Impostor.prefix))) {
            throw FileError(.malformed, path, impostor.problem)
        }
        let zip = try ZipReader(file)
        let pickles = zip.entries.keys.filter { $0.hasSuffix("/data.pkl") }
        guard pickles.count == 1, let pickle = pickles.first else {
            throw FileError(.malformed, path, "holds \(pickles.count) entries named data.pkl instead of one")
        }
        let root = pickle.dropLast("data.pkl".count)
        if zip.entries[root + "byteorder"] != nil, try zip.contents(root + "byteorder") != Array("little".utf8) {
            throw FileError(.malformed, path, "byteorder is not little")
        }
        guard (zip.entries[pickle]?.range.count ?? 0) <= Self.largestPickle else {
            throw FileError(.malformed, path, "\(pickle) is larger than \(Self.largestPickle) bytes")
        }
        let program = try zip.contents(pickle)
        let items: [(name: String, tensor: PickledTensor)]
        do throws(PickleError) {
            items = try TensorPickle.items(program)
        } catch {
            throw FileError(.malformed, "\(path): \(pickle): byte \(error.offset)", error.problem)
        }
        names = items.map(\.name)
        tensors = try Self.dictionary(items, path, size: file.size)
        entries = try Self.storages(tensors, root: String(root), zip)
    }

    /// The shape of a tensor.
    ///
    /// - Throws: `FileError` where no tensor has this name.
    package func shape(_ name: String) throws(FileError) -> [Int] { try tensor(name).shape }

    /// The tensor as float32.
    package func read(_ name: String) throws(FileError) -> Tensor {
        let tensor = try tensor(name)
        guard let entry = entries[tensor.storage] else { throw failure(name, "its storage is missing") }
        let size = tensor.type.size
        if tensor.isContiguous {
            let start = tensor.shape.contains(0) ? entry.range.lowerBound : entry.range.lowerBound + tensor.offset * size
            return try file.readFloat(tensor.shape, start..<start + tensor.shape.reduce(size, *), tensor.type)
        }
        let storage = try file.readFloat([tensor.storageCount], entry.range, tensor.type)
        return Self.gather(tensor, storage)
    }

    private func tensor(_ name: String) throws(FileError) -> PickledTensor {
        guard let tensor = tensors[name] else { throw FileError(.malformed, path, "tensor \(name) is missing") }
        return tensor
    }

    private func failure(_ name: String, _ problem: String) -> FileError {
        FileError(.malformed, "\(path): tensor \(name)", problem)
    }
}

extension TorchArchive {
    /// Checks that the names differ, and that all tensors together have no more elements than the file has bytes: views of one
    /// storage could otherwise ask for any amount of memory.
    private static func dictionary(
        _ items: [(name: String, tensor: PickledTensor)], _ path: String, size: Int
    ) throws(FileError) -> [String: PickledTensor] {
        var tensors: [String: PickledTensor] = [:]
        var elements = 0
        for (name, tensor) in items {
            guard tensors.updateValue(tensor, forKey: name) == nil else {
                throw FileError(.malformed, "\(path): tensor \(name)", "occurs twice")
            }
            elements += tensor.shape.reduce(1, *)
            guard elements <= size else {
                throw FileError(.malformed, "\(path): tensor \(name)", "the tensors need more memory than the file has")
            }
        }
        return tensors
    }

    /// The entries that hold the storages, each of the size in the pickle and with a right checksum.
    private static func storages(
        _ tensors: [String: PickledTensor], root: String, _ zip: ZipReader
    ) throws(FileError) -> [String: ZipReader.Entry] {
        var entries: [String: ZipReader.Entry] = [:]
        for (name, tensor) in tensors.sorted(by: { $0.key < $1.key }) {
            let path = root + "data/" + tensor.storage
            guard let entry = zip.entries[path] else {
                throw FileError(.malformed, "\(zip.file.path): tensor \(name)", "its storage \(path) is missing")
            }
            guard entry.range.count / tensor.type.size == tensor.storageCount, entry.range.count % tensor.type.size == 0 else {
                throw FileError(
                    .malformed, "\(zip.file.path): tensor \(name)",
                    "its storage has \(entry.range.count) bytes; \(tensor.storageCount) elements of \(tensor.type.rawValue) "
                        + "are expected"
                )
            }
            if entries.updateValue(entry, forKey: tensor.storage) == nil { try zip.verify(path) }
        }
        return entries
    }

    /// The elements of a strided view, in row-major order.
    private static func gather(_ view: PickledTensor, _ storage: Tensor) -> Tensor {
        var elements: [Float] = []
        elements.reserveCapacity(view.shape.reduce(1, *))
        var index = Array(repeating: 0, count: view.shape.count)
        for _ in 0..<view.shape.reduce(1, *) {
            elements.append(storage[flat: zip(index, view.strides).reduce(view.offset) { $0 + $1.0 * $1.1 }])
            for axis in view.shape.indices.reversed() {
                index[axis] += 1
                if index[axis] < view.shape[axis] { break }
                index[axis] = 0
            }
        }
        return Tensor(elements, view.shape)
    }
}
