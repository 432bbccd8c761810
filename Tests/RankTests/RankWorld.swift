import Collectives
import Glibc
import Models
import Parallelism
import Testing

/// All tests that communicate. Run under mpirun with 1, 2 and 4 ranks, and without it as a world of one; every rank runs the
/// same tests in the same order.
@Suite(.serialized) struct RankTests {}

/// The job this test process belongs to, joined once and left at exit.
enum RankWorld {
    nonisolated(unsafe) static let shared: any Communicator = {
        do {
            let world = try MPIEnvironment.start()
            atexit { try? MPIEnvironment.finish() }
            return world
        } catch {
            print("cannot join the job: \(error)")
            exit(1)
        }
    }()
}

/// The blocks of so many stages, each block taken for as expensive as any other.
func evenStages(_ architecture: Architecture, _ stages: Int) -> [Range<Int>] {
    StageBalance.divide(blocks: architecture.blocks.map { _ in 1 }, stages: stages)
}
