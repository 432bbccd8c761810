internal import Glibc

/// The nodes of the Slurm job this process runs in, which may have become fewer since it began (`--no-kill`): mpirun takes them
/// from the environment, where those of the beginning stand.
struct SlurmNodes: Equatable {
    let count: Int
    /// As Slurm writes it, such as `node[1,3-4]`.
    let list: String

    /// The nodes that Slurm reports now; nil outside of Slurm, and where it reports none.
    static func current(_ environment: [String: String]) -> SlurmNodes? {
        guard let job = environment["SLURM_JOB_ID"], job.allSatisfy(\.isNumber) else { return nil }
        return SlurmNodes(answer: output(of: "squeue -h -j \(job) -o '%D %N' 2>/dev/null"))
    }

    init?(answer: String) {
        let parts = answer.split(whereSeparator: \.isWhitespace)
        guard parts.count == 2, let count = Int(parts[0]), count > 0 else { return nil }
        (self.count, list) = (count, String(parts[1]))
    }

    /// Variables in which mpirun finds the nodes that are left, and the part of all ranks that falls to them; nil where none
    /// has gone, or where nodes differ, so that nobody knows which ranks went with them.
    func shrunk(_ environment: [String: String], ranks: Int) -> (ranks: Int, variables: [(String, String)])? {
        guard let before = environment["SLURM_JOB_NUM_NODES"].flatMap({ Int($0) }), count < before else { return nil }
        var variables = [
            ("SLURM_JOB_NUM_NODES", String(count)), ("SLURM_NNODES", String(count)), ("SLURM_JOB_NODELIST", list),
            ("SLURM_NODELIST", list),
        ]
        for name in ["SLURM_TASKS_PER_NODE", "SLURM_JOB_CPUS_PER_NODE"] {
            guard let value = environment[name] else { continue }
            // As in 16(x4): the same on all.
            let parts = value.split { "(x)".contains($0) }.compactMap { Int($0) }
            guard parts == [parts.first ?? 0, before] || (before == 1 && parts.count == 1) else { return nil }
            variables.append((name, count == 1 ? "\(parts[0])" : "\(parts[0])(x\(count))"))
        }
        return (max(1, ranks * count / before), variables)
    }

    private static func output(of command: String) -> String {
        guard let stream = popen(command, "r") else { return "" }
        defer { pclose(stream) }
        var (bytes, buffer) = ([UInt8](), [UInt8](repeating: 0, count: 4096))
        while case let count = fread(&buffer, 1, buffer.count, stream), count > 0 { bytes += buffer[..<count] }
        return String(decoding: bytes, as: UTF8.self)
    }
}
