import Support
import TestSupport
import Testing

extension CommandLineTests {
    @Suite struct Plan {
        /// Keeps the plan from measuring the machine.
        private let cluster = [
            "--set", "plan.gemm_flops=1e11", "--set", "plan.cores_per_node=4", "--set", "plan.memory_per_node=8GiB",
        ]

        @Test func `a config.json is enough, and the plan says which layout to set`() throws {
            let model = try ModelFolder()
            let outcome = try Program.run(
                ["plan", "model/config.json", "--set", "plan.ranks_per_node=2", "--set", "data.sequence_length=16"] + cluster,
                in: model.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
            let lines = outcome.output.split(separator: "\n")
            #expect(lines.allSatisfy { $0.count <= 80 })
            #expect(lines.contains { $0.hasPrefix("best: ") && $0.contains(" seconds, ") && $0.contains(" core-seconds") })
            #expect(lines.last?.hasPrefix("--set parallel.data=") == true)
        }

        @Test(arguments: ["rotate", "train", "qat", "ptq", "eval"]) func `every job has a plan as JSON`(_ job: String) throws {
            let folder = try TemporaryFolder()
            let outcome = try Program.run(
                ["plan", "--json", "--set", "plan.job=\(job)", "--set", "plan.ranks_per_node=4"] + cluster, in: folder.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
            let plan = try JSONValue(parsing: Array(outcome.output.utf8))
            #expect(plan["job"]?.string == job)
            #expect(plan["world_size"]?.integer == 4)
            let layouts = try #require(plan["layouts"]?.array)
            // One for each number of stages; a job that learns can choose its micro-batches, too.
            #expect(layouts.count >= 3)
            for layout in layouts {
                #expect((layout["data"]?.integer ?? 0) * (layout["pipeline"]?.integer ?? 0) == 4)
                #expect((layout["seconds_per_step"]?.number ?? 0) > 0)
                #expect((layout["hours"]?.number ?? 0) > 0 && (layout["core_hours"]?.number ?? 0) > 0)
                #expect(layout["memory_bytes_per_stage"]?.array?.count == layout["pipeline"]?.integer)
            }
        }

        @Test(arguments: [0, 2]) func `where nothing fits the plan is printed, and the exit code says so`(_ ranks: Int) throws {
            let folder = try TemporaryFolder()
            for form in [[], ["--json"]] {
                let arguments = ["plan"] + form + cluster + ["--set", "plan.memory_per_node=64MiB"]
                let outcome = try Program.run(arguments, in: folder.path, ranks: ranks)
                #expect(outcome.code == 78, "\(outcome)")
                #expect(outcome.errorLines.count == 1 && outcome.errorLines.first?.contains("no layout fits") == true)
                let answer = form.isEmpty ? "nothing fits: the smallest layout needs" : "\"fits\""
                #expect(outcome.output.contains(answer), "\(outcome.output)")
            }
        }

        @Test(arguments: [0, 2]) func `what cannot be planned is refused in one line`(_ ranks: Int) throws {
            let model = try ModelFolder()
            func refuse(_ arguments: [String], _ code: Int32, _ fragment: String) throws {
                try Program.expectRefusal(
                    ["plan"] + cluster + arguments, in: model.path, ranks: ranks, code: code, fragment: fragment)
            }
            try refuse(["nowhere"], 66, "nowhere/config.json")
            try refuse(["--set", "parallel.data=3"], 78, "no layout of 4 ranks")
            try refuse(["--set", "plan.memory_per_node=24GB"], 78, "a size such as 24GiB")
            try refuse(["--set", "data.sequence_length=4096"], 78, "more than the model's maximum")
            try model.changeJSON("model/config.json") { $0["hidden_size"] = "wide" }
            try refuse(["model"], 65, "hidden_size")
        }
    }
}
