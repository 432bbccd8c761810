internal import Yams

/// The runs that a sweep's file asks for:
///
///     settings: {data.eval.path: test.txt}        # of all runs
///     runs:
///       - job: quantize
///         grid: {quantization.weights.bits: [2, 3, 4], quantization.weights.method: [rtn, gptq]}
///       - job: ptq
///         settings: {ternary.weighting: inputs}
///         grid: {ternary.tolerance: [0.1, 0.2]}
///
/// An entry of `runs` stands for every combination of its grid's values, the last key's changing first. Entries may differ in
/// `settings` alone: the runs' names then say in which.
package struct SweepGrid: Sendable {
    /// One combination of a grid's values, and the job that runs with it.
    package struct Run: Sendable {
        package let job: String
        /// All of them.
        let settings: GivenSettings
        /// What tells it from other runs of its job: the grid's values in its order, and before them the settings in which its
        /// entry differs from another with the same grid.
        package fileprivate(set) var varied: [(key: String, value: String)]
        /// A name for files: the job and what is varied, such as `quantize,bits=4,method=rtn`, and a number from 2 on where
        /// that would be another run's; or that of the folder which holds the run already.
        package fileprivate(set) var name = ""

        fileprivate var stem: String {
            let parts = varied.map { "\($0.key.split(separator: ".").last ?? "")=\($0.value)" }
            let text = ([job] + parts).joined(separator: ",")
            return String(text.unicodeScalars.map { Self.isPlain($0) ? Character($0) : "-" }.prefix(180))
        }

        /// A name for people: the job, the values that are varied, and the number if there is one.
        package var title: String {
            let number = name.hasPrefix("\(stem),") ? Int(name.dropFirst(stem.count + 1)) : nil
            return ([job] + varied.map(\.value) + (number.map { ["(\($0))"] } ?? [])).joined(separator: " ")
        }

        private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
            scalar.isASCII && (scalar.properties.isAlphabetic || "0123456789._=,-".unicodeScalars.contains(scalar))
        }
    }

    private struct Entry {
        let job: String
        /// Those of `settings`, in their order.
        let settings: [(key: String, value: String)]
        var runs: [Run]
    }

    /// No more runs than anybody would wait for.
    private static let mostRuns = 10_000

    package private(set) var runs: [Run] = []
    private let name: String

    /// - Throws: ``ConfigurationError`` where the file asks for no runs, for a job that makes or scores no model, or says
    ///   anything else; `FileError` where it cannot be read.
    package init(file path: String) throws {
        try self.init(ConfigurationDocument.text(of: path), name: path)
    }

    init(_ text: String, name: String) throws(ConfigurationError) {
        self.name = name
        let grid = self
        var entries = try ConfigurationDocument.withRoot(of: text, name: name) { root throws(ConfigurationError) in
            var common: [Given] = []
            var nodes: [Node] = []
            for (key, value) in try grid.members(root, "a sweep") {
                switch key {
                case "settings": common = try grid.settings(value, isForJob: false)
                case "runs":
                    guard case .sequence(let list) = value else {
                        throw grid.failure(value, "runs must be a list of jobs with a grid")
                    }
                    try grid.check(value)
                    nodes = Array(list)
                default: throw grid.failure(value, "unknown key '\(key.prefix(100))'; a sweep has settings and runs")
                }
            }
            var (entries, count): ([Entry], Int) = ([], 0)
            for node in nodes {
                let entry = try grid.entry(node, common)
                count += entry.runs.count
                guard count <= Self.mostRuns else {
                    throw grid.failure(
                        node, "makes, with those before, more than \(Self.mostRuns) runs; give fewer values")
                }
                entries.append(entry)
            }
            return entries
        }
        Self.distinguish(&entries)
        runs = entries.flatMap(\.runs)
        guard !runs.isEmpty else { throw ConfigurationError(name, "asks for no runs; list jobs and their grids under runs") }
        place(in: runs.map { _ in [] })
    }

    /// Where runs of several entries would have one name, adds what differs: the settings that not all entries of the job
    /// share. So a name does not depend on where the entry stands.
    private static func distinguish(_ entries: inout [Entry]) {
        var owners: [String: Set<Int>] = [:]
        for (index, entry) in entries.enumerated() {
            for run in entry.runs { owners[run.stem, default: []].insert(index) }
        }
        let alike = owners.values.filter { $0.count > 1 }.reduce(into: Set<Int>()) { $0.formUnion($1) }
        // How many entries a job has, and how many of them each setting.
        var (ofJob, ofSetting): ([String: Int], [String: Int]) = ([:], [:])
        func name(_ setting: (key: String, value: String), _ job: String) -> String {
            "\(job)\0\(setting.key)=\(setting.value)"
        }
        for entry in entries {
            ofJob[entry.job, default: 0] += 1
            for setting in entry.settings { ofSetting[name(setting, entry.job), default: 0] += 1 }
        }
        for index in alike {
            let entry = entries[index]
            let differing = entry.settings.filter { ofSetting[name($0, entry.job)] != ofJob[entry.job] }
            for number in entry.runs.indices {
                let varied = entry.runs[number].varied
                entries[index].runs[number].varied =
                    differing.filter { own in !varied.contains { $0.key == own.key } } + varied
            }
        }
    }

    /// Gives every run a unique name.
    ///
    /// - Parameter folders: for each run the names of folders that hold it already, of which it gets one.
    package mutating func place(in folders: [[String]]) {
        var names: Set<String> = [], numbers: [String: Int] = [:]
        var open: [Int] = []
        // A folder of the name that the run would have goes before others.
        for index in runs.indices {
            let stem = runs[index].stem
            if folders[index].contains(stem), names.insert(stem).inserted {
                runs[index].name = stem
            } else {
                open.append(index)
            }
        }
        open = open.filter { index in
            guard let name = folders[index].first(where: { !names.contains($0) }) else { return true }
            names.insert(name)
            runs[index].name = name
            return false
        }
        for index in open {
            let stem = runs[index].stem
            repeat {
                let number = numbers[stem, default: 0] + 1
                numbers[stem] = number
                runs[index].name = number == 1 ? stem : "\(stem),\(number)"
            } while !names.insert(runs[index].name).inserted
        }
    }

    private func entry(_ node: Node, _ common: [Given]) throws(ConfigurationError) -> Entry {
        var (job, own, axes): (String?, [Given], [[Given]]) = (nil, [], [])
        for (key, value) in try members(node, "an entry of runs") {
            switch key {
            case "job": job = try text(value)
            case "settings": own = try settings(value, isForJob: true)
            case "grid":
                for (key, values) in try members(value, "a grid") {
                    var axis: [Given] = []
                    for value in try list(values) { axis.append(try given(key, value, isForJob: true)) }
                    axes.append(axis)
                }
            default: throw failure(value, "unknown key '\(key.prefix(100))'; an entry has job, settings and grid")
            }
        }
        guard let job else { throw failure(node, "has no job; give one under the key job") }
        var combinations: [[Given]] = [[]]
        for axis in axes {
            guard combinations.count * axis.count <= Self.mostRuns else {
                throw failure(node, "makes more than \(Self.mostRuns) runs; give fewer values")
            }
            combinations = combinations.flatMap { begun in axis.map { begun + [$0] } }
        }
        let runs = combinations.map { varied in
            let settings = (common + own + varied).reduce(into: GivenSettings()) { $0[$1.key] = $1.setting }
            return Run(job: job, settings: settings, varied: varied.map { ($0.key, $0.setting.text) })
        }
        return Entry(job: job, settings: own.map { ($0.key, $0.setting.text) }, runs: runs)
    }

    // MARK: - Nodes

    private typealias Given = (key: String, setting: GivenSetting)

    private func place(of node: Node) -> String { name + (node.mark.map { ":\($0.line)" } ?? "") }

    private func failure(_ node: Node, _ problem: String) -> ConfigurationError {
        ConfigurationError(place(of: node), problem)
    }

    private func check(_ node: Node) throws(ConfigurationError) {
        if let mark = node.refusedMark { throw failure(node, mark) }
    }

    private func members(_ node: Node?, _ what: String) throws(ConfigurationError) -> [(key: String, value: Node)] {
        guard let node else { return [] }
        try check(node)
        guard case .mapping(let mapping) = node else { throw failure(node, "\(what) must be a mapping of keys to values") }
        var members: [(key: String, value: Node)] = []
        for (key, value) in mapping { members.append((try text(key), value)) }
        return members
    }

    /// In their order.
    private func settings(_ node: Node, isForJob: Bool) throws(ConfigurationError) -> [Given] {
        var (result, keys): ([Given], Set<String>) = ([], [])
        try collect(node, below: "", isForJob, &result, &keys)
        return result
    }

    /// `a: {b: 1}` and `a.b: 1` alike.
    private func collect(
        _ node: Node, below prefix: String, _ isForJob: Bool, _ result: inout [Given], _ keys: inout Set<String>
    ) throws(ConfigurationError) {
        for (name, value) in try members(node, "settings") {
            let key = prefix + name
            if case .mapping = value {
                try collect(value, below: key + ".", isForJob, &result, &keys)
            } else {
                guard keys.insert(key).inserted else { throw failure(value, "the key '\(key)' is given twice") }
                result.append(try given(key, value, isForJob: isForJob))
            }
        }
    }

    private func given(_ key: String, _ value: Node, isForJob: Bool) throws(ConfigurationError) -> Given {
        guard key != "out" else {
            throw failure(value, "out: each run has a folder below the sweep's own; give that with --out")
        }
        return (key, GivenSetting(text: try text(value), place: place(of: value), isForJob: isForJob))
    }

    private func list(_ node: Node) throws(ConfigurationError) -> [Node] {
        try check(node)
        guard case .sequence(let list) = node else { return [node] }
        guard !list.isEmpty else { throw failure(node, "is an empty list; give at least one value") }
        return Array(list)
    }

    private func text(_ node: Node) throws(ConfigurationError) -> String {
        try check(node)
        guard case .scalar(let scalar) = node else { throw failure(node, "expected a plain value") }
        return scalar.string
    }
}
