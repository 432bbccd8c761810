import Autograd
import CKernels
import TensorCore
import TestSupport
import Testing

@testable import Models

/// New tokens attend to those before them through the cache.
@Suite struct KeyValueCacheTests {
    private func network(_ windows: [Int?]) -> (model: Model, parameters: Parameters<Variable>) {
        let c = TinyModel.configuration(windows: windows)
        return (c.description.model(positions: 64), TinyModel.parameters(c).map { _, tensor in Variable(constant: tensor) })
    }

    private let tokens = (0..<37).map { Int32(($0 * 7 + $0 * $0) % 32) }

    /// What the blocks make of the tokens, given in pieces of these sizes.
    private func outputs(
        _ network: (model: Model, parameters: Parameters<Variable>), pieces: [Int], _ precision: CachePrecision
    ) -> Tensor {
        let cache = KeyValueCache(network.model.architecture.blocks[...], capacity: 40, keys: precision, values: precision)
        var (first, rows) = (0, [Float]())
        for piece in pieces {
            let x = network.model.hiddenStates(
                .tokens(Array(tokens[first..<first + piece])), network.parameters, context: cache, on: Tape(recording: false))
            cache.advance(by: piece)
            first += piece
            rows += x.value.elements
        }
        return Tensor(rows, [tokens.count, rows.count / tokens.count])
    }

    /// In full precision but for the cache's half precision.
    @Test(arguments: [[nil, nil], [3, nil], [9, 16]] as [[Int?]])
    func `tokens in pieces of any size give the whole sequence's outputs`(windows: [Int?]) {
        let network = network(windows)
        let whole = network.model.hiddenStates(
            .tokens(tokens), network.parameters, context: CausalBatch(sequences: 1, length: tokens.count),
            on: Tape(recording: false)
        ).value
        for pieces in [[37], [1, 36], [20, 1, 1, 15], [Int](repeating: 1, count: 37)] {
            let difference = maxDifference(outputs(network, pieces: pieces, CachePrecision()), whole)
            #expect(difference < 4e-3, "pieces \(pieces): \(difference)")
        }
    }

    @Test(arguments: [
        (8, false, true), (8, true, false), (4, false, false), (4, true, false), (3, false, true), (6, true, true),
    ])
    func `a cache of integers gives the same in pieces of any size`(bits: Int, symmetric: Bool, widened: Bool) {
        let network = network([nil, 7])
        let precision = CachePrecision(bits: bits, symmetric: symmetric, includesZero: widened)
        let whole = outputs(network, pieces: [37], precision)
        #expect(maxDifference(outputs(network, pieces: [5, 1, 1, 30], precision), whole) < 1e-4)
        #expect(maxDifference(outputs(network, pieces: [Int](repeating: 1, count: 37), precision), whole) < 1e-4)
    }

    /// Even and odd numbers of values, codes of a nibble and of a byte, ranges with and without zero.
    @Test(arguments: [2, 3, 4, 5, 8], [8, 7, 64]) func `what is stored is what the quantizer makes, bit for bit`(
        bits: Int, d: Int
    ) {
        var random = RandomStream(seed: 9)
        for symmetric in [0, 1] as [Int32] {
            for (zero, ratio) in [(0, 1), (1, 1), (0, 0.7), (1, 1.3)] as [(Int32, Float)] {
                let quantizer = ck_quantizer(
                    bits: Int32(bits), symmetric: symmetric, include_zero: zero, clip_ratio: ratio, least_magnitude: 0,
                    full_range: 0)
                var x = Tensor(normal: [5, d], from: &random)
                for column in 0..<d { x[1, column] = 0.25; x[2, column] = 0; x[3, column] += 300 }
                var (expected, loaded) = (x, Tensor(zeros: x.shape))
                ck_fake_quantize(x.pointer, expected.mutablePointer, 5, d, quantizer, nil, nil, nil)
                var (rows, codes) = ([UInt8](repeating: 0xFF, count: 5 * d), [Int16](repeating: 0, count: d))
                var (scales, zeros) = ([Float](repeating: 0, count: 5), [Float](repeating: 0, count: 5))
                rows.withUnsafeMutableBufferPointer { rows in
                    scales.withUnsafeMutableBufferPointer { scales in
                        zeros.withUnsafeMutableBufferPointer { zeros in
                            var cache = ck_cache(
                                bits: bits > 4 ? 8 : 4, d: d, rows: rows.baseAddress, scales: scales.baseAddress,
                                zeros: zeros.baseAddress)
                            for row in 0..<5 { ck_cache_store(&cache, row, x.pointer + row * d, quantizer, &codes) }
                            ck_cache_load(&cache, 0, 5, loaded.mutablePointer)
                        }
                    }
                }
                #expect(loaded.elements == expected.elements, "symmetric \(symmetric), with zero \(zero), ratio \(ratio)")
            }
        }
    }

    /// Half precision ends at 65504 and 6e-8.
    @Test(arguments: [-29, -60, 20, 40]) func `values of any size lose no more in half precision than those around 1`(
        exponent: Int
    ) {
        let network = network([nil, nil])
        var scaled = network
        scaled.parameters = network.parameters.mapSpecs { name, _, value in
            let sign = name.hasSuffix("v_proj.weight") ? 1 : name.hasSuffix("o_proj.weight") ? -1 : 0
            var tensor = value.value
            tensor.scale(by: Float(sign: .plus, exponent: sign * exponent, significand: 1))
            return Variable(constant: tensor)
        }
        for pieces in [[37], [10, 1, 26]] {
            let expected = outputs(network, pieces: pieces, CachePrecision())
            #expect(outputs(scaled, pieces: pieces, CachePrecision()).elements == expected.elements)
        }
    }

    @Test func `what is not finite stays visible`() {
        let network = network([nil, nil])
        var broken = network
        broken.parameters = network.parameters.mapSpecs { name, _, value in
            guard name.hasSuffix("0.self_attn.v_proj.weight") else { return value }
            var tensor = value.value
            tensor[0, 0] = .infinity
            return Variable(constant: tensor)
        }
        for bits in [16, 8, 4] {
            let result = outputs(broken, pieces: [10, 1, 26], CachePrecision(bits: bits))
            #expect(!result.isFinite, "\(bits) bits")
        }
    }
}
