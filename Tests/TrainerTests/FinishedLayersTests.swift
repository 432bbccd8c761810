import Collectives
import Configuration
import Models
import Parallelism
import Support
import Synchronization
import TensorCore
import TernarySVD
import TestSupport
import Testing

@testable import Trainer

@Suite struct FinishedLayersTests {
    private let weights: ModelWeights<Tensor>
    private let folder: TemporaryFolder

    init() throws {
        weights = ModelWeights(try ModelFolder(GoldenSuite.ownFolder + "/llama/llama_base_hf").parameters())
        folder = try TemporaryFolder()
    }

    private var options: TernaryOptions {
        var options = TernaryOptions(tolerance: 0.3)
        options.balance = true
        return options
    }

    private struct Killed: Error {}

    /// - Parameter isKilled: whether the run is killed once a layer is kept.
    private func decomposed(_ options: TernaryOptions, isKilled: Bool = false) throws -> (
        layers: [TernaryReport.Layer], rounds: Int
    ) {
        let indices = try weights.linears(matching: .all)
        let count = Atomic<Int>(0)
        let layers = try decompose(
            weights, indices, options, over: .dataParallel(LoopbackCommunicator()),
            keeping: FinishedLayers(run: folder.path, options),
            eachRound: {
                count.add(1, ordering: .relaxed)
                if isKilled, try kept() > 0 { throw Killed() }
            })
        return (layers, count.load(ordering: .relaxed))
    }

    /// Layers in the run's folder.
    private func kept() throws -> Int {
        let path = folder.path + "/decomposition"
        return PathKind(path) == .absent ? 0 : try entries(ofFolder: path).count
    }

    private func expectSame(_ a: [TernaryReport.Layer], _ b: [TernaryReport.Layer]) {
        #expect(a.count == b.count)
        for (a, b) in zip(a, b) {
            #expect(a.name == b.name && a.factors.u == b.factors.u && a.factors.s == b.factors.s && a.factors.v == b.factors.v)
            #expect(a.factors.balance?.a == b.factors.balance?.a && a.factors.balance?.b == b.factors.balance?.b)
            #expect(a.relativeError == b.relativeError && a.factors.tolerance == b.factors.tolerance)
        }
    }

    @Test(arguments: [1, 5])
    func `a decomposition that was ended in the middle continues with the layers that are left, to the same bits`(
        _ threads: Int
    ) throws {
        try withThreads(threads) { try endInTheMiddle() }
    }

    private func endInTheMiddle() throws {
        let whole = try decomposed(options)
        try removeTree(folder.path + "/decomposition")
        #expect(throws: (any Error).self) { _ = try decomposed(options, isKilled: true) }
        let left = try whole.layers.count - kept()
        #expect(left > 0 && left < whole.layers.count)
        let rest = try decomposed(options)
        #expect(rest.rounds < whole.rounds)
        expectSame(rest.layers, whole.layers)
        let again = try decomposed(options)
        #expect(again.rounds == 0)
        expectSame(again.layers, whole.layers)
    }

    @Test func `layers of another weight or other options, and damaged ones, are made anew`() throws {
        let index = try weights.linears(matching: .all)[0]
        let (weight, name) = (weights[index], weights.layerName(index))
        let store = FinishedLayers(run: folder.path, options)
        let made = try store.decomposition(of: weight, name: name) { try TernaryDecomposition(weight, options) }
        let found = try #require(store.finished(weight, name: name))
        #expect(found.u.elements == made.u.elements && found.relativeError == made.relativeError)
        var other = weight
        other[flat: 0] = other[flat: 0].nextUp
        #expect(store.finished(other, name: name) == nil)
        var changed: [TernaryOptions] = [options, options, options, options]
        changed[0].seed = 1
        changed[1].tolerance = 0.31
        changed[2].balance = false
        changed[3].threshold = 0.8
        for options in changed { #expect(FinishedLayers(run: folder.path, options).finished(weight, name: name) == nil) }
        let file = folder.path + "/decomposition/\(name).safetensors"
        let bytes = try InputFile.contents(of: file, limit: 1 << 24)
        for damaged in [Array(bytes.dropLast()), bytes.dropLast() + [bytes[bytes.count - 1] ^ 1], []] {
            try AtomicFile.write(damaged, to: file)
            #expect(store.finished(weight, name: name) == nil)
        }
    }

    @Test func `a calibrated layer and its numbers are found again for the same source alone`() throws {
        let index = try weights.linears(matching: .all)[0]
        let (weight, name) = (weights[index], weights.layerName(index))
        let store = FinishedLayers(run: folder.path, options)
        func source(_ weight: Tensor? = nil, inputs: Digest = [1], settings: String = "0.1") -> FinishedLayers.Source {
            .init(weight: weight ?? weights[index], name: name, inputs: inputs, settings: settings)
        }
        let factors = TernaryFactors(try TernaryDecomposition(weight, options), tolerance: 0.3)
        let made = TernaryReport.Layer(name: name, factors: factors, relativeError: 0.1 / 3, weightedError: 1 / 7)
        let numbers = [1.0 / 3, 2e-300, 4]
        #expect(store.layer(source(), .digits) == nil && store.numbers(source(), .drafts) == nil)
        try store.keep(made, source(), .digits)
        try store.keep(numbers, source(), .drafts)
        let found = try #require(store.layer(source(), .digits))
        expectSame([found], [made])
        #expect(found.weightedError == made.weightedError)
        #expect(store.numbers(source(), .drafts) == numbers)
        var other = weight
        other[flat: 0] = other[flat: 0].nextUp
        for source in [source(other), source(inputs: [2]), source(settings: "0.2")] {
            #expect(store.layer(source, .digits) == nil && store.numbers(source, .drafts) == nil)
        }
        #expect(store.layer(source(), .descent) == nil && store.finished(weight, name: name) == nil)
        try AtomicFile.write("{", to: folder.path + "/decomposition/drafts/\(name).json")
        #expect(store.numbers(source(), .drafts) == nil)
    }

    @Test func `factors remember their models, and anything but a digest is refused`() throws {
        let index = try weights.linears(matching: .all)[0]
        let layer = TernaryFactors(try TernaryDecomposition(weights[index], options), tolerance: 0.3)
        let path = folder.path + "/ternary.safetensors"
        let digests = ["a", "b", "c"].map { String(repeating: $0, count: 64) }
        let origin = TernaryFile.Origin(source: digests[0], targets: [digests[1], digests[2]])
        try TernaryFile.write([weights.layerName(index): layer], to: path, origin: origin)
        #expect(try TernaryFile.origin(of: path) == origin)
        #expect(try TernaryFile.read(path).count == 1)
        try TernaryFile.write([weights.layerName(index): layer], to: path)
        #expect(try TernaryFile.origin(of: path) == TernaryFile.Origin())
        try TernaryFile.write([weights.layerName(index): layer], to: path, origin: TernaryFile.Origin(source: "../x"))
        #expect(throws: TernaryError.self) { try TernaryFile.read(path) }
    }

    @Test func `a layer of a convolution's form is no linear layer`() throws {
        let index = try weights.linears(matching: .all)[0]
        let made = try TernaryDecomposition(weights[index], options)
        for form in ["linear", "conv", "conv2d:1"] {
            let layers = [weights.layerName(index): TernaryFactors(made, tolerance: 0.3, form: form)]
            var isRefused = false
            do { try layers.check(against: weights.linears, file: "x") } catch { isRefused = "\(error)".contains("form") }
            #expect(isRefused == (form != "linear"))
        }
    }

    @Test func `layers that cost more than dense ones are counted and said`() throws {
        let index = try weights.linears(matching: .all)[0]
        func report(_ tolerance: Float) throws -> TernaryReport {
            var options = options
            options.tolerance = tolerance
            let factors = TernaryFactors(try TernaryDecomposition(weights[index], options), tolerance: tolerance)
            return TernaryReport(
                [.init(name: weights.layerName(index), factors: factors, relativeError: 0)], of: weights.linears)
        }
        #expect(try report(0.9).warning == nil)
        let warning = try #require(try report(0.01).warning)
        #expect(warning.contains("1 of 1 ternary layers") && warning.contains("ternary.tolerance"))
    }
}
