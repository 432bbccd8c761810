import Support
import TensorCore
import TernarySVD
import Testing
import TransitionBus

@testable import Trainer

@Suite struct TransitionDispatchTests {
    @Test func `layers are dealt by their sizes until they have been measured, the largest first`() {
        let plan = TransitionDispatch(sizes: [1, 5, 1, 4, 3], ranks: 2).plan(.adapting)
        #expect(plan.order == [1, 3, 4, 0, 2])
        #expect(plan.owners == [0, 0, 0, 1, 1])
    }

    @Test func `once measured, layers are dealt by what they took, whatever their sizes`() {
        var dispatch = TransitionDispatch(sizes: [9, 9, 1, 1], ranks: 2)
        dispatch.note([10, 10, 50, 40], .adapting)
        let plan = dispatch.plan(.adapting)
        #expect(plan.order == [2, 3, 0, 1])
        #expect(plan.owners == [1, 0, 0, 1])
        // Nobody is left without work where the clock has seen none.
        dispatch.note([0, 0, 0, 0], .adapting)
        #expect(Set(dispatch.plan(.adapting).owners) == [0, 1])
    }

    @Test func `a step of another kind is dealt by its own times`() {
        var dispatch = TransitionDispatch(sizes: [3, 2, 1], ranks: 3)
        dispatch.note([1, 2, 3], .adapting)
        #expect(dispatch.plan(.adapting).order == [2, 1, 0])
        #expect(dispatch.plan(.refreshing).order == [0, 1, 2])
    }

    @Test func `the slowest owner has at most a third more than the mean where no layer has more`() {
        var random = RandomStream(seed: 4)
        for _ in 0..<50 {
            let times = (0..<40).map { _ in Int64.random(in: 1...100, using: &random) }
            var dispatch = TransitionDispatch(sizes: times.map { _ in 1 }, ranks: 5)
            dispatch.note(times, .refreshing)
            let plan = dispatch.plan(.refreshing)
            let loads = (0..<5).map { rank in times.indices.filter { plan.owners[$0] == rank }.reduce(0) { $0 + times[$1] } }
            #expect(3 * 5 * loads.max()! <= 4 * times.reduce(0, +))
        }
    }
}

@Suite struct TransitionMessageTests {
    private let codec = TransitionCodec(rows: 3, columns: 4)

    private var message: TransitionMessage {
        let update = TransitionUpdate(
            branch: .refresh, kept: [0, 1], newU: Tensor(zeros: [3, 0]), newV: Tensor(zeros: [0, 4]), s: Tensor([1, 2], [2]))
        return TransitionMessage(update, oldCount: 2, Adaptation(budget: 17, price: 2.25))
    }

    @Test func `the adaptation comes along, so that any rank can compute the next transition`() throws {
        let transition = try message.transition(of: 5, codec, name: "layer")
        #expect(transition.layer == 5 && transition.payload.count <= TransitionMessage.limit(codec))
        let received = try TransitionMessage(transition, codec)
        #expect(received.adaptation.budget == 17 && received.adaptation.price == 2.25)
        #expect(received.oldCount == 2 && received.update.s.elements == [1, 2])
    }

    @Test func `a price that is no price, a budget that is no number and a cut message are refused`() throws {
        let transition = try message.transition(of: 0, codec, name: "layer")
        func expectRefusal(_ payload: [UInt8]) {
            #expect(throws: TransitionCodec.Malformed.self) {
                try TransitionMessage(Transition(layer: 0, codec: transition.codec, payload: payload), codec)
            }
        }
        for price in [Float.nan, .infinity, -1] {
            var bytes: [UInt8] = []
            bytes.append(littleEndian: price.bitPattern)
            var payload = transition.payload
            payload.replaceSubrange(8..<12, with: bytes)
            expectRefusal(payload)
        }
        var payload = transition.payload
        payload[7] = 0xFF
        expectRefusal(payload)
        for length in 0..<transition.payload.count { expectRefusal(Array(transition.payload.prefix(length))) }
    }
}
