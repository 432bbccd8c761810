import Glibc
import Support
import TensorCore
import Testing

@testable import Collectives

@Suite struct LoopbackTests {
    let world = LoopbackCommunicator()

    @Test func `a world of one leaves reductions, broadcasts and gathers as they are`() throws {
        var tensor = Tensor([1, 2, 3], [3])
        try world.broadcast(&tensor)
        #expect(tensor.elements == [1, 2, 3])
        #expect(try world.allReduce(Int64(7), .min) == 7)
        #expect(try world.allGather([5, 6]) == [[5, 6]])
        #expect(try world.startAllReduceSum(tensor).wait().elements == [1, 2, 3])
        #expect(world.bytesSent == 0)
    }

    @Test func `what ranks have agreed to end with is common to them`() {
        let error = #expect(throws: AgreedError.self) {
            try world.agree { throw MPIError(operation: "none", rank: 0, code: 0, text: "") }
        }
        #expect(error?.isCommon == true)
    }

    @Test func `what is sent to oneself arrives in order, by tag`() throws {
        try world.send(Tensor([1], [1]), to: 0, tag: 3)
        try world.send(Tensor([2], [1]), to: 0, tag: 4)
        try world.send(Tensor([3], [1]), to: 0, tag: 3)
        #expect(try world.receive([1], from: 0, tag: 4).elements == [2])
        #expect(try world.receive([1], from: 0, tag: 3).elements == [1])
        #expect(try world.receive([1], from: 0, tag: 3).elements == [3])
    }

    @Test func `receiving what nobody sent is an error, not a hang`() throws {
        #expect(throws: MPIError.self) { try world.receive([1], from: 0) }
        try world.send(Tensor([1, 2], [2]), to: 0)
        #expect(throws: MPIError.self) { try world.receive([3], from: 0) }
    }

    @Test func `a receive may start before its send`() throws {
        let pending = try world.startReceive([2], from: 0)
        #expect(try !pending.isComplete())
        _ = try world.startSend(Tensor([4, 5], [2]), to: 0)
        #expect(try pending.wait().elements == [4, 5])
    }
}

@Suite struct WatchTests {
    @Test func `a watchdog that another one takes the place of ends nothing`() async {
        await #expect(processExitsWith: .success) {
            let world = LoopbackCommunicator()
            _ = try world.watch(longestWait: .seconds(1))
            world.watchdog?.begin("a phase of the job before", limit: .milliseconds(500))
            _ = try world.watch(longestWait: .seconds(1))
            sleep(2)
        }
    }

    @Test func `a rank that cannot be asked is named to all, with why`() {
        typealias Place = Heartbeat.Place
        let whole = Place(addresses: ["10.0.0.1", "10.1.0.1"], port: 4000)
        #expect(Place(text: whole.text) == whole)
        #expect(Heartbeat.problem(of: [whole, whole]) == nil)
        let closed = Heartbeat.problem(of: [whole, Place(text: Place(addresses: ["10.0.0.2"], code: EACCES).text)])
        #expect(closed?.hasPrefix("rank 1 cannot open a UDP socket (Permission denied)") == true, "\(closed ?? "")")
        #expect(Heartbeat.problem(of: [Place(addresses: [], port: 4000)])?.contains("rank 0 has no address") == true)
    }
}

@Suite struct LaunchTests {
    @Test func `a process started by hand is alone`() {
        #expect(MPIEnvironment.launch(["PATH": "/bin"]) == .alone)
        // The batch shell of a Slurm job has these, without being a task of a step.
        #expect(MPIEnvironment.launch(["SLURM_PROCID": "0", "SLURM_NTASKS": "8"]) == .alone)
    }

    @Test func `mpirun and srun are recognized, with the ranks per node`() {
        let mpirun = ["OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"]
        #expect(MPIEnvironment.launch(mpirun) == .job(localRanks: 4))
        let srun = ["PMIX_RANK": "3", "SLURM_STEP_NUM_TASKS": "11", "SLURM_STEP_TASKS_PER_NODE": "4(x2),3"]
        #expect(MPIEnvironment.launch(srun) == .job(localRanks: 4))
        #expect(MPIEnvironment.launch(["PMI_RANK": "0"]) == .job(localRanks: nil))
    }

    @Test func `srun without a PMI is refused with the option to give`() {
        #expect(MPIEnvironment.launch(["SLURM_STEP_NUM_TASKS": "8"]) == .taskWithoutPMI(tasks: 8))
        #expect { try MPIEnvironment.start(environment: ["SLURM_STEP_NUM_TASKS": "8"]) } throws: {
            "\($0)".contains("--mpi=pmix") && ($0 as? LaunchError)?.exitCode == .configuration
        }
    }
}
