/// The rotations that are computed at run time: R3 on each head of q and k after the rotary embedding, R4 on the input of down
/// (SpinQuant, section 3.1). Fixed Hadamard transforms.
package struct OnlineRotations: Sendable {
    package var r3: HadamardTransform?
    package var r4: HadamardTransform?

    package init(r3: HadamardTransform? = nil, r4: HadamardTransform? = nil) {
        self.r3 = r3
        self.r4 = r4
    }
}
