internal import Support
internal import TernarySVD
internal import TransitionBus

/// A message about a layer: its transition, and the adaptation that belongs to it, so that any rank can compute the next one.
///
/// Layout, little-endian: budget of non-zeros u64, price of a non-zero f32, then the transition as ``TransitionCodec`` has it.
struct TransitionMessage {
    private static let headerBytes = 12

    var update: TransitionUpdate
    /// Number of components that the layer had before.
    var oldCount: Int
    var adaptation: Adaptation

    /// The largest number of bytes.
    static func limit(_ codec: TransitionCodec) -> Int { headerBytes + codec.limit }

    /// - Throws: ``TernaryError`` where the factors have outgrown the codec's limit.
    func transition(of layer: Int, _ codec: TransitionCodec, name: String) throws(TernaryError) -> Transition {
        let (form, payload) = try codec.encode(update, oldCount: oldCount, name: name)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.headerBytes + payload.count)
        bytes.append(littleEndian: UInt64(adaptation.budget))
        bytes.append(littleEndian: adaptation.price.bitPattern)
        return Transition(layer: layer, codec: form.rawValue, payload: bytes + payload)
    }

    init(_ update: TransitionUpdate, oldCount: Int, _ adaptation: Adaptation) {
        (self.update, self.oldCount, self.adaptation) = (update, oldCount, adaptation)
    }

    /// - Throws: ``TransitionCodec/Malformed``.
    init(_ transition: Transition, _ codec: TransitionCodec) throws(TransitionCodec.Malformed) {
        adaptation = try Self.adaptation(transition)
        (update, oldCount) = try codec.decode(transition.codec, Array(transition.payload[Self.headerBytes...]))
    }

    /// Whether a transition can be decoded, without unpacking its factors.
    ///
    /// - Throws: ``TransitionCodec/Malformed``.
    static func check(_ transition: Transition, _ codec: TransitionCodec) throws(TransitionCodec.Malformed) {
        _ = try adaptation(transition)
        try codec.check(transition.codec, Array(transition.payload[headerBytes...]))
    }

    private static func adaptation(_ transition: Transition) throws(TransitionCodec.Malformed) -> Adaptation {
        let payload = transition.payload
        guard payload.count >= headerBytes, let budget = Int(exactly: payload.littleEndian(at: 0, UInt64.self)) else {
            throw TransitionCodec.Malformed()
        }
        let price = Float(bitPattern: payload.littleEndian(at: 8))
        guard price.isFinite, price >= 0 else { throw TransitionCodec.Malformed() }
        return Adaptation(budget: budget, price: price)
    }
}
