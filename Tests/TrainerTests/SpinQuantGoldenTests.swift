import Autograd
import Collectives
import Evaluation
import HuggingFace
import LinearAlgebra
import Models
import Parallelism
import Quantization
import Rotation
import Support
import TensorCore
import TestSupport
import Testing

@testable import Configuration
@testable import Trainer

/// Loss and rotation gradients of the published optimization model (golden/spinquant). Its embedding rows have their mean
/// subtracted, which is wrong for RMSNorm but a matter of the input: the test does the same to the weights it reads.
@Suite struct SpinQuantGoldenTests {
    static let cases = GoldenSuite.cases(group: "spinquant")
    static let quantizedCases = cases.filter { $0.params["bits_w_a_k_v"] != nil }

    /// How R1 is applied in a case. Quantized weights are of the rotated weights: there is no other way to run them.
    struct Placement: CustomStringConvertible, Sendable {
        let golden: GoldenCase
        let rotatesActivations: Bool
        var description: String { "\(golden.id)\(rotatesActivations ? ", activations rotated" : "")" }
    }
    static let placements = quantizedCases.flatMap { golden in
        let quantizesWeights = (golden.params["bits_w_a_k_v"]?.integers?.first ?? 16) < 16
        return (quantizesWeights ? [false] : [false, true]).map { Placement(golden: golden, rotatesActivations: $0) }
    }

    /// The model of a case, norms fused, embedding centered where the reference does it.
    private func model(_ golden: GoldenCase, centered: Bool) throws -> (ModelFolder, Parameters<Tensor>) {
        let folder = try ModelFolder(GoldenSuite.path(try #require(golden.params["hf_folder"]?.string)))
        var parameters = try folder.parameters()
        parameters.untie(folder.architecture.head, head: parameters.logitWeight)
        if centered, let table = parameters.entry.index(.embedding) {
            var embedding = parameters.entry[table]
            for row in 0..<embedding.rows {
                let columns = 0..<embedding.columns
                let mean = columns.reduce(0.0) { $0 + Double(embedding[row, $1]) } / Double(columns.count)
                for column in columns { embedding[row, column] -= Float(mean) }
            }
            parameters.entry[table] = embedding
        }
        return (folder, parameters.fusingNorms(folder.architecture))
    }

    func rotations(_ file: SafetensorsFile, layers: Int, prefix: String = "") throws -> Rotations {
        Rotations(r1: try file.readFloat(prefix + "R1"), r2: try (0..<layers).map { try file.readFloat("\(prefix)R2.\($0)") })
    }

    func sequences(_ file: SafetensorsFile) throws -> [[Int32]] {
        let shape = try file.info("input_ids").shape
        let tokens = try file.readInts("input_ids").map(Int32.init)
        return (0..<shape[0]).map { Array(tokens[$0 * shape[1]..<($0 + 1) * shape[1]]) }
    }

    @Test(arguments: cases.filter { $0.params["bits"] != nil })
    func `merged rotations leave the function, and give the published weights`(_ golden: GoldenCase) throws {
        let file = try GoldenSuite.tensors(of: golden)
        let (folder, fused) = try model(golden, centered: false)
        let (_, centered) = try model(golden, centered: true)
        let rotations = try rotations(file, layers: folder.architecture.layerCount)
        let tokens = try sequences(file)
        let tolerance = try #require(golden.tolerance["logits_abs"]?.number)
        let llama = folder.description.model(positions: tokens[0].count)
        let original = try file.readFloat("logits_original")
        let merged = fused.rotated(by: rotations, folder.architecture)
        let vocabulary = folder.architecture.vocabularySize
        for (index, sequence) in tokens.enumerated() {
            let expected = original.reshaped([original.count / vocabulary, vocabulary])
                .rows(index * sequence.count..<(index + 1) * sequence.count)
            #expect(Double(maxDifference(llama.logits(sequence, fused), expected)) <= tolerance)
            #expect(Double(maxDifference(llama.logits(sequence, merged), expected)) <= tolerance)
        }
        // The published weights: centered embedding, R4 folded into down.
        let r4 = HadamardTransform(columns: folder.architecture.downWidth)
        let published = centered.rotatedDown(by: r4).rotated(by: rotations, folder.architecture)
        let weightTolerance = try #require(golden.tolerance["rotated_weight_abs"]?.number)
        let recorded = published.named.filter { file.tensors["rotated." + $0.name] != nil }
        #expect(recorded.count >= 8)
        for (name, weight) in recorded {
            #expect(Double(maxDifference(weight, try file.readFloat("rotated." + name))) <= weightTolerance, "\(name)")
        }
    }

    /// Only the skew part of Rᵀ·∂loss/∂R moves an orthogonal R; ours is compared with that of the published gradient. Where the
    /// plan rotates activations instead of weights the gradient must be the same.
    @Test(arguments: placements)
    func `loss and skew gradients are the published ones`(_ placement: Placement) throws {
        let (golden, rotatesActivations) = (placement.golden, placement.rotatesActivations)
        let file = try GoldenSuite.tensors(of: golden)
        let bits = try #require(golden.params["bits_w_a_k_v"]?.integers)
        let tokens = try sequences(file)
        let learner = try learner(golden, file, bits, rotatesActivations: rotatesActivations)
        let loss = try learner.accumulate(
            ReplicaBatch(tokens), globalSequences: tokens.count, ParallelGroups.dataParallel(LoopbackCommunicator()))
        let expected = Double(try file.readFloat("loss")[flat: 0])
        #expect(abs(loss - expected) <= (try #require(golden.tolerance["loss_abs"]?.number)))
        for (distance, tolerance) in try gradientDistances(learner, file, prefix: "", golden) {
            #expect(distance <= tolerance)
        }
    }

    /// How far the gradients that the learner has gathered at its rotations are from those of the file, `prefix` before their
    /// names, and how far they may be: of R1, then of each layer's R2.
    func gradientDistances(
        _ learner: RotationLearner, _ file: SafetensorsFile, prefix: String, _ golden: GoldenCase
    ) throws -> [(distance: Double, tolerance: Double)] {
        let (toleranceR1, toleranceR2) = try (
            #require(golden.tolerance["grad_R1_rel_fro"]?.number), #require(golden.tolerance["grad_R2_rel_fro"]?.number)
        )
        let start = learner.rotations
        // One block's after the other, added up.
        let blocks = learner.base.blockRange
        let parts = blocks.compactMap { learner.r1Gradients[$0]?.skew.elements }.map(Array.init)
        let r1 = try #require(parts.first).indices.map { entry in parts.reduce(0) { $0 + $1[entry] } }
        var result = [(try distance(r1, start.r1, file.readFloat(prefix + "grad.R1")), toleranceR1)]
        let r2 = try #require(start.r2)
        #expect(!r2.isEmpty && learner.r2Gradients.count == r2.count)
        for (layer, block) in zip(r2.indices, blocks.filter { learner.r2Gradients[$0] != nil }) {
            let gradient = (learner.r2Gradients[block]?.skew.elements).map(Array.init)
            result.append((try distance(gradient, r2[layer], file.readFloat("\(prefix)grad.R2.\(layer)")), toleranceR2))
        }
        return result
    }

    private func distance(_ gradient: [Double]?, _ r: Tensor?, _ published: Tensor) throws -> Double {
        let (gradient, r) = (try #require(gradient), try #require(r))
        let m = matmul(r, .transposed, published)
        let expected = m - m.transposed()
        let ours = SkewMatrix.unpack(Tensor(gradient.map { Float(2 * $0) }, [gradient.count]), order: r.columns)
        // The tolerance is relative to the whole gradient, of which the skew part is a fraction.
        guard m.squaredNorm > 0 else { return ours.squaredNorm == 0 ? 0 : .infinity }
        return ((ours - expected).squaredNorm / (4 * m.squaredNorm)).squareRoot()
    }

    func learner(
        _ golden: GoldenCase, _ file: SafetensorsFile, _ bits: [Int], rotatesActivations: Bool, from start: Rotations? = nil
    ) throws -> RotationLearner {
        let (folder, fused) = try model(golden, centered: true)
        let c = folder.architecture
        let online = OnlineRotations(
            r3: golden.params["R3"]?.bool == true ? HadamardTransform(columns: (c.headDimension ?? 0)) : nil,
            r4: golden.params["R4"]?.bool == true ? HadamardTransform(columns: c.downWidth) : nil)
        let flags = try #require(golden.params["flags"])
        let settings = RotationLearner.Settings(
            objective: .crossEntropy,
            quantization: ActivationQuantization(
                activationBits: bits[1], activationSymmetric: flags["a_asym"]?.bool == false, keyBits: bits[2],
                valueBits: bits[3],
                cacheSymmetric: flags["k_asym"]?.bool == false, headDimension: (c.headDimension ?? 0),
                gradient: .straightThrough),
            weightQuantizer: bits[0] < 16
                ? WeightQuantizer(
                    QuantizerSpec(bits: bits[0], symmetric: flags["w_asym"]?.bool == false, granularity: .channel),
                    searchesClip: flags["w_clip"]?.bool == true) : nil,
            learnsR1: true, learnsR2: true, momentum: 0, retraction: .exact, seed: 0, microBatches: .sequences(atMost: 1),
            recompute: false,
            plan: RotationPlan(c, tokens: rotatesActivations ? 1 : 1 << 20, weightsQuantized: bits[0] < 16))
        return RotationLearner(
            settings, folder.description.model(positions: try sequences(file)[0].count),
            base: online.r4.map { fused.rotatedDown(by: $0) } ?? fused, online: online,
            from: try start ?? rotations(file, layers: folder.architecture.layerCount))
    }
}
