import Autograd
import Collectives
import TensorCore
import TestSupport
import Testing

@testable import Parallelism

@Suite struct GradientBucketTests {
    @Test func `parameters fill buckets in order, and none is cut`() {
        let layout = BucketLayout(counts: [10, 20, 5, 100, 1], bytes: 4 * 32)
        #expect(layout.places.map(\.bucket) == [0, 0, 1, 2, 3])
        #expect(layout.places.map(\.offset) == [0, 10, 0, 0, 0])
        #expect(layout.bucketCounts == [30, 5, 100, 1])
        #expect(layout.count == 136 && layout.parametersPerBucket == [2, 1, 1, 1])
    }

    /// loss = Σ x·Wᵀ + Σ (x·Wᵀ)·Vᵀ over rows, with W used twice.
    private func pass(_ tape: Tape, _ x: Tensor, w: Variable, v: Variable) {
        let y = tape.linear(Variable(constant: x), LinearLayer(weight: w))
        let z = tape.linear(tape.linear(y, LinearLayer(weight: w)), LinearLayer(weight: v))
        tape.backward(from: z, gradient: Tensor(repeating: 1, z.value.shape))
    }

    @Test func `buckets hold what variables would, over micro-batches and for a parameter used twice`() throws {
        var random = RandomStream(seed: 3)
        let (w, v) = (Tensor(normal: [6, 6], from: &random), Tensor(normal: [2, 6], from: &random))
        let batches = (0..<3).map { _ in Tensor(normal: [4, 6], from: &random) }
        let (plainW, plainV) = (Variable(parameter: w), Variable(parameter: v))
        for x in batches { pass(Tape(), x, w: plainW, v: plainV) }

        let buckets = GradientBuckets(BucketLayout(counts: [12, 36], bytes: 4), over: LoopbackCommunicator())
        for _ in 0..<2 {
            buckets.begin(passes: batches.count)
            let (bucketV, bucketW) = (buckets.parameter(v, at: 0), buckets.parameter(w, at: 1))
            for x in batches { pass(Tape(), x, w: bucketW, v: bucketV) }
            let sums = try buckets.finish()
            let (gradientV, gradientW) = (try #require(plainV.gradient), try #require(plainW.gradient))
            // The same products; sums of three in another order.
            #expect(relativeError(sums[0], gradientV) < 1e-6)
            #expect(relativeError(sums[1], gradientW) < 1e-6)
        }
    }

    @Test func `sums are made in the buckets' own memory`() throws {
        let buckets = GradientBuckets(BucketLayout(counts: [512, 512], bytes: 4), over: LoopbackCommunicator())
        func step() throws -> [UnsafePointer<Float>] {
            buckets.begin(passes: 0)
            let sums = try buckets.finish()
            defer { buckets.reuse(sums) }
            return sums.map(\.pointer)
        }
        let first = try step()
        #expect(try step() == first)
    }

    @Test func `sums are their caller's alone`() throws {
        let buckets = GradientBuckets(BucketLayout(counts: [512, 512], bytes: 4), over: LoopbackCommunicator())
        buckets.begin(passes: 0)
        var sums = try buckets.finish()
        let before = sums.map(\.pointer)
        // A tensor that another refers to is copied first.
        for index in sums.indices { sums[index].mutablePointer[0] = 1 }
        #expect(sums.map(\.pointer) == before)
    }

    @Test func `a rank without sequences contributes zeros`() throws {
        let buckets = GradientBuckets(BucketLayout(counts: [3, 4], bytes: 4), over: LoopbackCommunicator())
        buckets.begin(passes: 0)
        let gradients = try buckets.finish()
        #expect(gradients.map(\.elements) == [[0, 0, 0], [0, 0, 0, 0]])
    }
}
