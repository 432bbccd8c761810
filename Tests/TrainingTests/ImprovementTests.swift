import Testing

@testable import Training

@Suite struct ImprovementTests {
    @Test(arguments: [(30.0, 29.0, false), (30, 30, false), (30, 30 * (1 + 1e-9), false), (30, 30.01, true)])
    func `only a rise beyond rounding makes a model worse`(_ before: Double, _ after: Double, _ isWorse: Bool) {
        #expect((Improvement(before: before, after: after).warning != nil) == isWorse)
    }
}
