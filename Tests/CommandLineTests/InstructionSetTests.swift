import TestSupport
import Testing

extension CommandLineTests {
    /// The environment variable CK_ISA, which chooses the kernels' instruction set.
    @Suite struct InstructionSets {
        @Test func `kernels that every processor runs can be asked for`() throws {
            let folder = try TemporaryFolder()
            let outcome = try Program.run(
                ["verify", "embedded", "embedded"], in: folder.path, environment: ["CK_ISA": "baseline"])
            #expect(outcome.code == 0, "\(outcome.errors)")
        }

        @Test(arguments: ["avx9", "AVX2", " "], [0, 2]) func `an instruction set that there is not is refused`(
            wanted: String, ranks: Int
        ) throws {
            let folder = try TemporaryFolder()
            let outcome = try Program.run(["plan"], in: folder.path, ranks: ranks, environment: ["CK_ISA": wanted])
            #expect(outcome.code == 78)
            #expect(outcome.errorLines.count == 1 && outcome.errorLines[0].contains("CK_ISA"), "\(outcome.errors)")
        }
    }
}
