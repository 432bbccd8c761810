import Testing

@testable import TransitionBus

@Suite struct FaultTests {
    @Test func `a message that is held back comes behind the next one of its own sender`() {
        var faults = FaultInjection(drop: 0, double: 0, reorder: 1, corrupt: 0, seed: 1, rank: 0)
        func inject(_ message: UInt8, from sender: Int) -> [UInt8] { faults.inject([[message]], from: sender).map { $0[0][0] } }
        #expect(inject(1, from: 0) == [] && inject(11, from: 1) == [])
        #expect(inject(12, from: 1) == [12, 11] && inject(2, from: 0) == [2, 1])
        #expect(faults.count == 2)
    }
}
