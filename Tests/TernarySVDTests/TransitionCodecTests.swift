import TensorCore
import TernarySVD
import TestSupport
import Testing

@Suite struct TransitionCodecTests {
    private let codec = TransitionCodec(rows: 13, columns: 21)

    private func trits(_ shape: [Int], seed: UInt64) -> Tensor {
        var random = RandomStream(seed: seed)
        var result = Tensor(zeros: shape)
        for i in 0..<result.count { result[flat: i] = Float(Int(random.next() % 3) - 1) }
        return result
    }

    private func scales(_ count: Int) -> Tensor { Tensor((0..<count).map { Float($0) - 0.5 }, [count]) }

    private var refresh: TransitionUpdate {
        TransitionUpdate(
            branch: .refresh, kept: Array(0..<9), newU: Tensor(zeros: [13, 0]), newV: Tensor(zeros: [0, 21]), s: scales(9))
    }

    private var changes: TransitionUpdate {
        TransitionUpdate(
            branch: .prune, kept: [0, 3, 7, 8], newU: trits([13, 3], seed: 1), newV: trits([3, 21], seed: 2), s: scales(7))
    }

    private var whole: TransitionUpdate {
        TransitionUpdate(
            branch: .full, kept: [], newU: trits([13, 5], seed: 3), newV: trits([5, 21], seed: 4), s: scales(5),
            balance: Balance(a: (0..<13).map { Float($0 + 1) }, b: (0..<21).map { 1 / Float($0 + 1) }))
    }

    /// Where a layer's scales have followed its weight.
    private var balance: Balance { Balance(a: (0..<13).map { Float($0 + 1) }, b: (0..<21).map { 1 / Float($0 + 1) }) }

    @Test func `new scales come with any form, and a refused adaptation with a refresh alone`() throws {
        for update in [refresh, changes, whole] {
            let moved = TransitionUpdate(
                branch: update.branch, kept: update.kept, newU: update.newU, newV: update.newV, s: update.s, balance: balance,
                isRefusal: update.branch == .refresh)
            let (form, payload) = try codec.encode(moved, oldCount: 9, name: "layer")
            let decoded = try codec.decode(form.rawValue, payload).update
            expectSame(decoded, moved)
            #expect(decoded.isRefusal == (update.branch == .refresh))
            var damaged = payload
            damaged[2] = update.branch == .refresh ? 2 : 1
            #expect(throws: TransitionCodec.Malformed.self) { try codec.decode(form.rawValue, damaged) }
            // A scale of 0, which the weight would be divided by.
            damaged = payload
            damaged.replaceSubrange(payload.count - 4..<payload.count, with: [0, 0, 0, 0])
            #expect(throws: TransitionCodec.Malformed.self) { try codec.decode(form.rawValue, damaged) }
        }
    }

    private func expectSame(_ a: TransitionUpdate, _ b: TransitionUpdate) {
        #expect(a.branch == b.branch && a.kept == b.kept && a.s.elements == b.s.elements)
        #expect(a.newU.shape == b.newU.shape && a.newU.elements == b.newU.elements)
        #expect(a.newV.shape == b.newV.shape && a.newV.elements == b.newV.elements)
        #expect(a.balance?.a == b.balance?.a && a.balance?.b == b.balance?.b)
    }

    @Test func `each form comes back as it was, in the smallest of three`() throws {
        for (update, form) in [(refresh, TransitionCodec.Form.scales), (changes, .changes), (whole, .whole)] {
            let encoded = try codec.encode(update, oldCount: 9, name: "layer")
            #expect(encoded.form == form)
            let decoded = try codec.decode(encoded.form.rawValue, encoded.payload)
            #expect(decoded.oldCount == 9)
            expectSame(decoded.update, update)
        }
        // Twelve bytes of header, a bit for each of nine components, masks of 39 and 63 entries and their signs, seven scales.
        let signs = [changes.newU, changes.newV].map { t in (t.elements.filter { $0 != 0 }.count + 7) / 8 }
        #expect(
            try codec.encode(changes, oldCount: 9, name: "layer").payload.count == 12 + 2 + 5 + signs[0] + 8 + signs[1] + 28)
        #expect(try codec.encode(refresh, oldCount: 9, name: "layer").payload.count == 12 + 36)
    }

    @Test func `a layer may lose all its components, however many they were`() throws {
        let update = TransitionUpdate(
            branch: .prune, kept: [], newU: Tensor(zeros: [13, 0]), newV: Tensor(zeros: [0, 21]), s: Tensor(zeros: [0]))
        let (form, payload) = try codec.encode(update, oldCount: 300, name: "layer")
        let decoded = try codec.decode(form.rawValue, payload)
        #expect(decoded.oldCount == 300)
        expectSame(decoded.update, update)
    }

    @Test func `no prefix of a payload and no longer one is accepted`() throws {
        for update in [refresh, changes, whole] {
            let (form, payload) = try codec.encode(update, oldCount: 9, name: "layer")
            for count in 0..<payload.count {
                #expect(throws: TransitionCodec.Malformed.self) { try codec.decode(form.rawValue, Array(payload[..<count])) }
            }
            #expect(throws: TransitionCodec.Malformed.self) { try codec.decode(form.rawValue, payload + [0]) }
        }
    }

    @Test func `signs that do not fit their mask, a scale that is no number, and oversized counts are refused`() throws {
        var (form, payload) = try codec.encode(changes, oldCount: 9, name: "layer")
        let good = payload
        // After the header and the nine components' bits: U's mask of 39 bits, its signs, V's mask of 63.
        let nonzeros = good[14..<19].reduce(0) { $0 + $1.nonzeroBitCount }
        try #require(nonzeros % 8 != 0 && nonzeros > 8)
        let endOfSigns = 19 + (nonzeros + 7) / 8
        for place in [18, endOfSigns - 1, endOfSigns + 7] {
            payload = good
            payload[place] |= 0x80
            #expect(throws: TransitionCodec.Malformed.self) { try codec.decode(form.rawValue, payload) }
        }
        // No non-zero: all signs are too many.
        payload = good
        payload.replaceSubrange(14..<19, with: [0, 0, 0, 0, 0])
        #expect(throws: TransitionCodec.Malformed.self) { try codec.decode(form.rawValue, payload) }
        payload = good
        payload.replaceSubrange(payload.count - 4..<payload.count, with: [0, 0, 0xC0, 0x7F])
        #expect(throws: TransitionCodec.Malformed.self) { try codec.decode(form.rawValue, payload) }
        for place in [4, 8] {
            payload = good
            payload.replaceSubrange(place..<place + 4, with: [0xFF, 0xFF, 0xFF, 0xFF])
            #expect(throws: TransitionCodec.Malformed.self) { try codec.decode(form.rawValue, payload) }
        }
        form = .scales
        #expect(throws: TransitionCodec.Malformed.self) { try codec.decode(form.rawValue, good) }
        #expect(throws: TransitionCodec.Malformed.self) { try codec.decode(3, good) }
    }

    @Test func `random bytes never decode into something of another shape`() throws {
        var random = RandomStream(seed: 9)
        var (read, refused) = (0, 0)
        for _ in 0..<20_000 {
            var (form, payload) = try codec.encode(
                [refresh, changes, whole][Int(random.next() % 3)], oldCount: 9, name: "layer")
            for _ in 0...random.next() % 3 {
                payload[Int(random.next() % UInt64(payload.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            if random.next() % 4 == 0 { form = .whole }
            do {
                let (update, _) = try codec.decode(form.rawValue, payload)
                read += 1
                #expect(update.newU.shape == [13, update.newV.shape[0]] && update.newV.shape[1] == 21)
                #expect(update.kept.count + update.newV.shape[0] == update.s.count && update.s.isFinite)
            } catch {
                refused += 1
            }
        }
        #expect(read > 1000 && refused > 1000, "\(read) read, \(refused) refused")
    }
}
