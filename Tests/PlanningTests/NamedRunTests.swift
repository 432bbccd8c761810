import Foundation
import Testing

@testable import Configuration
@testable import Planning

/// The files of configs/ and the scripts of launch/ that are made for them.
@Suite struct NamedRunTests {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    static let names: [String] = {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: root.path + "/configs")) ?? []
        return files.filter { $0.hasSuffix(".yaml") }.map { String($0.dropLast(5)) }.sorted()
    }()

    private func config(_ name: String) throws -> RunConfig { try RunConfig(file: Self.root.path + "/configs/\(name).yaml") }

    @Test func `there are some`() { #expect(Self.names.count >= 7) }

    @Test(arguments: names) func `a configuration reads back as printed`(_ name: String) throws {
        let config = try config(name)
        #expect(try RunConfig(ConfigurationDocument(config.yaml, name: "as printed").settings) == config)
    }

    @Test(arguments: names) func `a configuration fits the cluster it is written for`(_ name: String) throws {
        let config = try config(name)
        let model = try #require(PlanShapes.published.keys.filter { name.hasPrefix($0) }.max { $0.count < $1.count })
        let shape = try #require(PlanShapes.published[model])
        var settings = config.plan
        settings.productFlops = 1e11
        if settings.coresPerNode == nil { settings.coresPerNode = 8 }
        if settings.memoryPerNode == nil { settings.memoryPerNode = ByteCount(8 << 30) }
        let planner = Planner(Workload(config.plan.job, config, shape), Cluster(settings))
        let best = try #require(planner.layouts().first)
        #expect(best.fits)
        let chooser = LayoutChooser(
            planner.workload, ranks: planner.cluster.ranks, memoryPerRank: planner.cluster.memoryPerRank)
        #expect(try chooser.choose()?.ranks == planner.cluster.ranks)
    }

    /// `#SBATCH` lines of a script against `plan` and `parallel` of the configuration of the same name.
    @Test(arguments: names.filter { FileManager.default.fileExists(atPath: root.path + "/launch/\($0).sbatch") })
    func `a script asks Slurm for the cluster that its configuration is planned for`(_ name: String) throws {
        let config = try config(name)
        let script = try String(contentsOfFile: Self.root.path + "/launch/\(name).sbatch", encoding: .utf8)
        func option(_ option: String) throws -> Int {
            let line = try #require(script.split(separator: "\n").first { $0.hasPrefix("#SBATCH --\(option)=") })
            return try #require(Int(line.drop { $0 != "=" }.dropFirst()))
        }
        let (nodes, tasks) = (try option("nodes"), try option("ntasks-per-node"))
        #expect(nodes == config.plan.nodes && tasks == config.plan.ranksPerNode)
        #expect(try option("cpus-per-task") * tasks == config.plan.coresPerNode)
        let (data, pipeline) = (try #require(config.parallel.data), try #require(config.parallel.pipeline))
        #expect(data * pipeline == nodes * tasks)
        #expect(script.contains("configs/\(name).yaml"))
        #expect(script.contains("-- \(config.plan.job.rawValue) "))
    }
}
