import Testing

@testable import Quantization

@Suite struct GroupSizesTests {
    @Test func `the nearest sizes of groups divide all widths`() {
        #expect(GroupSizes.nearest(to: 100, dividing: [256, 768]) == [64, 128])
        #expect(GroupSizes.nearest(to: 300, dividing: [256, 768]) == [256])
        // 576 = 64·9 and 1536 = 512·3: 192 = 64·3 divides both.
        #expect(GroupSizes.nearest(to: 128, dividing: [576, 1536]) == [96, 192])
        #expect(GroupSizes.nearest(to: 2, dividing: [7, 5]) == [])
        #expect(GroupSizes.nearest(to: 2, dividing: [9, 15]) == [3])
        let advice = "no size divides all; use quantization.weights.granularity=channel"
        #expect(GroupSizes.advice(for: 2, dividing: [7, 5]) == advice)
        #expect(QuantizationError.groups(columns: 96, size: 64).description.contains("nearest that divide all: 48 and 96"))
    }
}
