import HuggingFace
import LinearAlgebra
import Support
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

@Suite struct LayerTransitionTests {
    /// One step at a time from the recorded state, as the suite asks: a chain inherits the projections' discontinuities.
    @Test(arguments: GoldenSuite.cases(group: "tsvd_qat"))
    func `reference transitions repeat the recorded steps`(golden: GoldenCase) throws {
        let file = try GoldenSuite.tensors(of: golden)
        let transition = try LayerTransition(options(of: golden), pruneRate: pruneRate(of: golden))
        let weightTolerance = try Float(#require(golden.tolerance["weight_abs"]?.number))
        let log = try #require(golden.expected["log"]?.array)
        var state: TernaryLayerState?
        for entry in log {
            let tag = try #require(entry["tag"]?.string)
            let before = try file.readFloat("\(tag).weight_before_transition")
            let update: TransitionUpdate
            let after: TernaryLayerState
            if var current = state {
                current.weight = before
                let permutations = entry["perm_used"]?.array ?? []
                let permutation = permutations.first?.integers
                update = try transition.update(
                    current, name: tag, order: { kept in permutation.map { $0.map { kept[$0] } } ?? kept })
                after = transition.applied(update, to: current)
            } else {
                update = try transition.begin(before, name: tag)
                after = try transition.begun(before, with: update)
            }
            let branch = try #require(entry["branch"]?.string)
            #expect(update.branch.rawValue == ["s_only": "refresh", "partial": "prune", "full": "full"][branch], "\(tag)")
            #expect(after.s.count == entry["rank"]?.integer, "\(tag)")
            if branch == "s_only" {
                #expect(after.weight.elements == before.elements)
                let recorded = try file.readFloat("\(tag).s")
                #expect(maxDifference(after.s, recorded) <= 1e-3 * recorded.maxMagnitude)
                state = after
                continue
            }
            let recordedWeight = try file.readFloat("\(tag).weight")
            #expect(maxDifference(after.weight, recordedWeight) <= weightTolerance, "\(tag)")
            #expect(try maxDifference(after.rest, file.readFloat("\(tag).rest_weight")) <= weightTolerance, "\(tag)")
            // The next step starts from what was recorded.
            state = try TernaryLayerState(
                weight: recordedWeight, rest: file.readFloat("\(tag).rest_weight"), u: file.readFloat("\(tag).u"),
                s: file.readFloat("\(tag).s"), v: file.readFloat("\(tag).v"))
        }
    }

    @Test(arguments: [false, true])
    func `owner and receivers end with the same bits, and W + ρ is kept`(balanced: Bool) throws {
        var random = RandomStream(seed: 21)
        let initial = Tensor(normal: [40, 56], deviation: 0.1, from: &random)
        var options = TernaryOptions.unbalanced(0.1)
        options.balance = balanced
        let transition = try LayerTransition(options, pruneRate: 0.2)
        let first = try transition.begin(initial)
        var (owner, receiver) = try (transition.begun(initial, with: first), transition.begun(initial, with: first))
        var branches: Set<TransitionBranch> = []
        for step in 0..<6 {
            let gradient = Tensor(normal: [40, 56], deviation: step < 3 ? 1e-5 : 2e-2, from: &random)
            owner.weight.add(gradient)
            receiver.weight.add(gradient)
            let target = owner.weight + owner.rest
            let update = try transition.update(owner)
            branches.insert(update.branch)
            owner = transition.applied(update, to: owner)
            receiver = transition.applied(update, to: receiver)
            for (a, b) in [
                (owner.weight, receiver.weight), (owner.rest, receiver.rest), (owner.u, receiver.u), (owner.s, receiver.s),
                (owner.v, receiver.v),
            ] { #expect(a.elements == b.elements) }
            #expect(maxDifference(owner.weight + owner.rest, target) <= 1e-6 * max(1, target.maxMagnitude))
        }
        #expect(branches.contains(.refresh))
        #expect(branches.count >= 2)
    }

    @Test func `a weight that overflowed is refused`() throws {
        var random = RandomStream(seed: 2)
        let initial = Tensor(normal: [12, 12], from: &random)
        let transition = try LayerTransition(.unbalanced(0.2), pruneRate: Float(LayerTransition.publishedPruneRate))
        var state = try transition.begun(initial)
        state.weight[3, 3] = .infinity
        #expect { try transition.update(state, name: "q_proj") } throws: {
            ($0 as? any ReportableError)?.exitCode == .data && "\($0)".contains("q_proj")
        }
    }

    /// Every round of the published algorithm adds so many components, and the last one finds that they suffice.
    @Test func `whoever waits is answered once a round, in whichever branch`() throws {
        struct Interruption: Error {}
        var random = RandomStream(seed: 3)
        let initial = Tensor(normal: [24, 40], from: &random)
        let options = TernaryOptions(tolerance: 0.2, mode: .reference)
        let transition = try LayerTransition(options, pruneRate: .infinity)
        var rounds = 0
        let first = try transition.begin(initial) { rounds += 1 }
        #expect(rounds == first.s.count / options.stride(rows: 24, columns: 40) + 1)
        for (mode, pruneRate) in [(.reference, 1), (.default, 1), (.default, .infinity)] as [(TernaryOptions.Mode, Float)] {
            let transition = try LayerTransition(TernaryOptions.unbalanced(0.2, mode: mode), pruneRate: pruneRate)
            var state = try transition.begun(initial, with: first)
            state.weight.add(Tensor(normal: [24, 40], from: &random))
            rounds = 0
            let update = try transition.update(state, eachRound: { rounds += 1 })
            #expect(update.branch == (pruneRate.isFinite ? .prune : .full))
            #expect(rounds > 1)
            #expect(throws: Interruption.self) { try transition.update(state, eachRound: { throw Interruption() }) }
        }
    }

    /// The equations' matrix depends on U and V alone, so that its factor serves for as long as these stay.
    @Test(arguments: [false, true])
    func `scales from a kept factor have the bits of those without, and it goes with its U and V`(balanced: Bool) throws {
        var random = RandomStream(seed: 22)
        let initial = Tensor(normal: [70, 90], deviation: 0.1, from: &random)
        var options = TernaryOptions.unbalanced(0.1)
        options.balance = balanced
        let transition = try LayerTransition(options)
        var state = try transition.begun(initial)
        var adaptation = Adaptation(budget: state.u.nonzeroCount + state.v.nonzeroCount)
        var factor: CholeskyFactor?
        for step in 1...9 {
            state.weight.add(Tensor(normal: [70, 90], deviation: 1e-3, from: &random))
            let adapts = step % 4 == 0
            var (other, none) = (adaptation, CholeskyFactor?.none)
            let again = try transition.step(state, adapts: adapts, follows: false, &other, keeping: &none)
            let update = try transition.step(state, adapts: adapts, follows: false, &adaptation, keeping: &factor)
            #expect(update.s.elements == again.s.elements && update.branch == again.branch)
            #expect(factor?.order == (adapts ? nil : state.s.count))
            state = transition.applied(update, to: state)
        }
    }

    @Test func `whoever waits is answered between the parts of a refresh, with a kept factor, too`() throws {
        struct Interruption: Error {}
        var random = RandomStream(seed: 23)
        let transition = try LayerTransition(.unbalanced(0.2))
        var state = try transition.begun(Tensor(normal: [24, 40], from: &random))
        state.weight.add(Tensor(normal: [24, 40], deviation: 1e-3, from: &random))
        var (adaptation, factor) = (Adaptation(budget: 0), CholeskyFactor?.none)
        for least in [4, 2] {
            var looks = 0
            func step(_ look: () throws -> Void) throws -> TransitionUpdate {
                try transition.step(state, adapts: false, follows: false, &adaptation, keeping: &factor, eachRound: look)
            }
            #expect(try step { looks += 1 }.branch == .refresh)
            #expect(looks >= least)
            #expect(throws: Interruption.self) { _ = try step { throw Interruption() } }
        }
    }

    private func options(of golden: GoldenCase) throws -> TernaryOptions {
        var options = TernaryOptions(tolerance: 0.05, mode: .reference)
        options.tolerance = try Float(#require(golden.params["tolerance"]?.number))
        options.threshold = try Float(#require(golden.params["cos_thresh"]?.number))
        options.rounds = golden.params["steps"]?.integer ?? 20
        return options
    }

    private func pruneRate(of golden: GoldenCase) throws -> Float {
        if golden.params["prune_rate"]?.string == "inf" { return .infinity }
        return try Float(#require(golden.params["prune_rate"]?.number))
    }
}
