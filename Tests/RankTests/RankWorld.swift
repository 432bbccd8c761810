import Collectives
import Glibc
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
