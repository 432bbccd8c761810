package import GGUF
internal import HuggingFace
package import Support
package import TensorCore

/// The content of a model's GGUF file besides weights and tokenizer: names, values and layout as llama.cpp reads them.
package struct GGUFForm: Sendable {
    /// A parameter as the file has it.
    package struct Entry: Sendable, Equatable {
        /// In the checkpoint.
        package let parameter: String
        /// In the file.
        package let name: String
        package let shape: [Int]
        package let role: ParameterSpec.Role
        /// Heads of rows whose two halves are interleaved in the file: row i of the first half, then row i of the second. nil
        /// where rows stay as they are.
        package let interleavedHeads: Int?

        package init(parameter: String, name: String, shape: [Int], role: ParameterSpec.Role, interleavedHeads: Int? = nil) {
            (self.parameter, self.name, self.shape) = (parameter, name, shape)
            (self.role, self.interleavedHeads) = (role, interleavedHeads)
        }

        /// The rows as the file has them.
        package func stored(_ tensor: Tensor) -> Tensor {
            interleavedHeads.map { tensor.interleavingHalves(ofHeads: $0) } ?? tensor
        }

        /// The rows as the checkpoint has them.
        package func restored(_ tensor: Tensor) -> Tensor {
            interleavedHeads.map { tensor.separatingHalves(ofHeads: $0) } ?? tensor
        }
    }

    /// `general.architecture`.
    package let architecture: String
    /// Whole keys with the architecture in front.
    package let values: [(key: String, value: GGUFValue)]
    /// In the checkpoint's order, the head included: it is written also where the embedding serves as head.
    package let entries: [Entry]
    /// Tensors that follow from the configuration, in float32.
    package let constants: [(name: String, tensor: Tensor)]
    /// What the user should know of the file, a sentence each.
    package let notes: [String]

    /// - Parameter values: keys without the architecture.
    package init(
        architecture: String, values: [(key: String, value: GGUFValue)], entries: [Entry],
        constants: [(name: String, tensor: Tensor)] = [], notes: [String] = []
    ) {
        self.architecture = architecture
        self.values = values.map { ("\(architecture).\($0.key)", $0.value) }
        (self.entries, self.constants, self.notes) = (entries, constants, notes)
    }
}

/// Whether llama.cpp runs a model of a family.
package enum GGUFSupport: Sendable {
    case form(GGUFForm)
    /// Why not.
    case refused(String)
}

extension ModelFamily {
    /// llama.cpp has no network of this form.
    package static func gguf(_ configuration: Configuration) -> GGUFSupport {
        .refused("llama.cpp runs no network of this form")
    }

    package static var ggufArchitectures: Set<String> { [] }

    /// Refuses every file: the family is not read from GGUF.
    package static func configuration(of file: GGUFFile) throws(FileError) -> JSONObject {
        throw file.failure("general.architecture", "names a family of models that is not read from GGUF")
    }
}

extension Tensor {
    /// Rows of each head with the two halves taken in turn: row 2i + s of a head is row s·d/2 + i of it.
    ///
    /// So llama.cpp, which turns neighbors, computes what transformers does, which turns halves.
    package func interleavingHalves(ofHeads heads: Int) -> Tensor {
        permutingRows(heads) { half, i, s in (2 * i + s, s * half + i) }
    }

    /// The inverse of ``interleavingHalves(ofHeads:)``.
    package func separatingHalves(ofHeads heads: Int) -> Tensor {
        permutingRows(heads) { half, i, s in (s * half + i, 2 * i + s) }
    }

    /// - Precondition: rows of `heads` heads of an even number each; a vector counts as rows of one.
    private func permutingRows(_ heads: Int, _ places: (_ half: Int, _ i: Int, _ s: Int) -> (target: Int, source: Int))
        -> Tensor
    {
        let rows = shape[0], width = shape.count == 1 ? 1 : columns
        precondition(heads > 0 && rows % (2 * heads) == 0, "\(rows) rows are no \(heads) heads of two halves")
        let half = rows / heads / 2
        var result = Tensor(uninitialized: shape)
        let target = result.mutablePointer
        for head in 0..<heads {
            for i in 0..<half {
                for s in 0..<2 {
                    let (to, from) = places(half, i, s)
                    (target + (head * 2 * half + to) * width).update(
                        from: pointer + (head * 2 * half + from) * width, count: width)
                }
            }
        }
        return result
    }
}
