import CKernels
import Foundation
import TensorCore
import Testing

/// Which machine code the kernels are, see `dispatch.c`. `launch/test` runs the modules that compute once with each.
@Suite struct KernelChoiceTests {
    @Test func `the kernels that run are those the environment names, or else the best`() {
        let wanted = ProcessInfo.processInfo.environment["CK_ISA"] ?? ""
        let best = String(cString: ck_isa_name(ck_best_isa()))
        #expect(String(cString: ck_isa_name(ck_chosen_isa())) == (wanted.isEmpty ? best : wanted))
        #expect(ck_refused_isa() == nil)
    }

    /// What dispatch.c points to: a kernel on the processor's best instructions and one on none would differ by rounding, so
    /// each is held against plain arithmetic in double precision. Odd lengths have remainders in vectors of every width.
    @Test(arguments: [1, 7, 31, 257, 1003]) func `sums of products are those of double precision`(count: Int) {
        var random = RandomStream(seed: 5)
        let (a, b) = (Tensor(normal: [1, count], from: &random), Tensor(normal: [1, count], from: &random))
        var y = b
        y.add(a, scale: 0.75)
        for i in 0..<count { #expect(abs(Double(y[flat: i]) - (Double(b[flat: i]) + 0.75 * Double(a[flat: i]))) < 1e-6) }
        var dot: Float = 0
        ck_row_dots(a.pointer, b.pointer, &dot, 1, count, count)
        let exact = zip(a.elements, b.elements).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        let size = zip(a.elements, b.elements).reduce(0.0) { $0 + abs(Double($1.0) * Double($1.1)) }
        #expect(abs(Double(dot) - exact) <= 1e-6 * size)
        #expect(abs(a.squaredNorm - a.elements.reduce(0.0) { $0 + Double($1) * Double($1) }) <= 1e-12 * a.squaredNorm)
    }
}
