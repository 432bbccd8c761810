internal import LinearAlgebra
internal import Models
package import Support
internal import TensorCore

/// How fast a model reads a prompt and makes tokens, beside the memory bandwidth that the same threads reach.
package struct GenerationBenchmark: Sendable {
    package let promptTokens: Int
    package let tokens: Int
    package let threads: Int
    /// Of the fastest and of the median repetition.
    package let prefillSeconds: (best: Double, median: Double)
    /// Of the fastest and of the median token.
    package let tokenSeconds: (best: Double, median: Double)
    /// Of weights and of the cache, of all stages: the mean over the tokens made.
    package let bytesPerToken: Int
    /// Bytes a second that are read of a matrix larger than the caches, before every few tokens: the best and the median.
    package let bandwidth: (best: Double, median: Double)
    /// Times that the system was asked for memory after the first token of the first repetition.
    package let allocations: Int

    /// - Parameters:
    ///   - promptTokens: drawn at random.
    ///   - tokens: made after the prompt.
    ///   - link: between the stages of the model, which all measure; times and bandwidth are the first stage's. Stages take
    ///     turns, so that the bytes that all read are divided by the bandwidth of one.
    ///   - pause: called between repetitions, to see whether to continue.
    /// - Throws: what `link` and `pause` throw.
    /// - Precondition: room for both.
    package init(
        _ model: RunnableModel, promptTokens: Int, tokens: Int, repetitions: Int, seed: UInt64,
        over link: some StageLink = WholeNetwork(), pause: (_ done: Int) throws -> Void
    ) throws {
        let sequence = TokenSequence(model, capacity: promptTokens + tokens)
        var random = RandomStream(seed: seed, stream: 0x62_656E_6368)
        func draw() -> Int32 { Int32(random.next() % UInt64(model.architecture.vocabularySize)) }
        var (prefill, each): ([Double], [Double]) = ([], [])
        var (bytes, probes, allocations) = (0, [Double](), 0)
        let probe = link.isFirst ? BandwidthProbe() : nil
        let clock = ContinuousClock()
        for repetition in 0..<repetitions {
            try pause(repetition)
            sequence.reset()
            let prompt = (0..<promptTokens).map { _ in draw() }
            func read(_ tokens: [Int32]) throws -> Double {
                try clock.measure {
                    _ = try sequence.read(tokens, over: link)
                    // As a token that was chosen comes back to the first stage.
                    _ = try link.share(link.isLast ? 0 : nil)
                } / .seconds(1)
            }
            prefill.append(try read(prompt))
            for place in 0..<tokens {
                if place % Self.tokensOfAProbe == 0, let probe { probes.append(probe.seconds()) }
                bytes += sequence.bytesRead
                let (token, before) = (draw(), StoragePool.shared.systemAllocations)
                each.append(try read([token]))
                if each.count > 1 { allocations += StoragePool.shared.systemAllocations - before }
            }
        }
        (self.promptTokens, self.tokens, threads) = (promptTokens, tokens, Team.threads)
        (prefillSeconds, tokenSeconds) = (Self.summary(prefill), Self.summary(each))
        bytesPerToken = try link.sum(bytes) / max(1, each.count)
        let (seconds, probed) = (Self.summary(probes), Double(probe?.bytes ?? 0))
        bandwidth = (probed / seconds.best, probed / seconds.median)
        self.allocations = try link.sum(allocations)
    }

    /// Tokens between two measurements of the memory, so that both see the same load of the machine.
    private static let tokensOfAProbe = 8

    private static func summary(_ seconds: [Double]) -> (best: Double, median: Double) {
        let sorted = seconds.sorted()
        return (sorted.first ?? .nan, sorted.isEmpty ? .nan : sorted[sorted.count / 2])
    }

    package var prefillRate: Double { Double(promptTokens) / prefillSeconds.median }
    package var decodeRate: Double { 1 / tokenSeconds.median }
    /// Of the bandwidth: the median token's of the median, and the best's of the best.
    package var bandwidthShare: (best: Double, median: Double) {
        (
            Double(bytesPerToken) / tokenSeconds.best / bandwidth.best,
            Double(bytesPerToken) / tokenSeconds.median / bandwidth.median
        )
    }

    /// In `summary.json`.
    package var json: JSONValue {
        [
            "prompt_tokens": .integer(promptTokens), "tokens": .integer(tokens), "threads": .integer(threads),
            "prefill_tokens_per_second": .double(prefillRate),
            "prefill_tokens_per_second_best": .double(Double(promptTokens) / prefillSeconds.best),
            "decode_tokens_per_second": .double(decodeRate),
            "decode_tokens_per_second_best": .double(1 / tokenSeconds.best),
            "bytes_per_token": .integer(bytesPerToken),
            "memory_bytes_per_second": .double(bandwidth.median), "memory_bytes_per_second_best": .double(bandwidth.best),
            "bandwidth_share": .double(bandwidthShare.median), "bandwidth_share_best": .double(bandwidthShare.best),
            "allocations": .integer(allocations),
        ]
    }

    /// For the user.
    package var text: String {
        func rate(_ value: Double) -> String { value.formatted(digits: 4) }
        var table = Table(columns: ["", "tokens/s", "best"])
        table.add(["prefill, \(promptTokens) tokens", rate(prefillRate), rate(Double(promptTokens) / prefillSeconds.best)])
        table.add(["decode, \(tokens) tokens", rate(decodeRate), rate(1 / tokenSeconds.best)])
        func percent(_ share: Double) -> String { "\((100 * share).formatted(decimals: 0)) %" }
        func gigabytes(_ rate: Double) -> String { (rate / 1e9).formatted(digits: 3) }
        let line =
            "a token reads \(bytesPerToken) bytes, with \(percent(bandwidthShare.median)) of the memory bandwidth that "
            + "\(threads) thread\(threads == 1 ? " has" : "s have") beside it, \(gigabytes(bandwidth.median)) GB/s; at best "
            + "\(percent(bandwidthShare.best)) of \(gigabytes(bandwidth.best)) GB/s"
        return table.text + "\n\n" + line.wrapped(indent: 0).joined(separator: "\n")
    }
}

/// Reads a matrix that no cache holds.
private struct BandwidthProbe {
    private let matrix = FloatMatrix(Tensor(repeating: 1, [16384, 2048]), as: .float32)
    private let token = Tensor(repeating: 1, [1, 2048])

    var bytes: Int { matrix.byteCount }

    func seconds() -> Double { ContinuousClock().measure { _ = matrix.product(token) } / .seconds(1) }
}
