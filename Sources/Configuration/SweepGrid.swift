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
/// `settings` alone: the names of those after the first end with a number.
package struct SweepGrid: Sendable {
    /// One combination of a grid's values, and the job that runs with it.
    package struct Run: Sendable {
        package let job: String
        /// `key.path=value`, all of them.
        package let assignments: [String]
        /// Those of the grid, by key, in its order.
        package let varied: [(key: String, value: String)]
        /// 1, and 2 and on of runs whose job and grid have a name that runs before them have: entries that differ in
        /// `settings` alone.
        fileprivate(set) var number = 1

        /// A name for files: the job and what the grid says, such as `quantize,bits=4,method=rtn`, and a number from 2 on where
        /// that would be another run's.
        package var name: String { number == 1 ? stem : "\(stem),\(number)" }

        fileprivate var stem: String {
            let parts = varied.map { "\($0.key.split(separator: ".").last ?? "")=\($0.value)" }
            let text = ([job] + parts).joined(separator: ",")
            return String(text.unicodeScalars.map { Self.isPlain($0) ? Character($0) : "-" }.prefix(180))
        }

        /// A name for people: the job, the grid's values, and the number where it is not 1.
        package var title: String {
            ([job] + varied.map(\.value) + (number == 1 ? [] : ["(\(number))"])).joined(separator: " ")
        }

        private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
            scalar.isASCII && (scalar.properties.isAlphabetic || "0123456789._=,-".unicodeScalars.contains(scalar))
        }
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
        runs = try ConfigurationDocument.withRoot(of: text, name: name) { root throws(ConfigurationError) in
            var common: [String] = []
            var entries: [Node] = []
            for (key, value) in try grid.members(root, "a sweep") {
                switch key {
                case "settings": common = try grid.settings(value)
                case "runs":
                    guard case .sequence(let list) = value else {
                        throw grid.failure(value, "runs must be a list of jobs with a grid")
                    }
                    entries = Array(list)
                default: throw grid.failure(value, "unknown key '\(key.prefix(100))'; a sweep has settings and runs")
                }
            }
            var runs: [Run] = []
            for entry in entries { runs += try grid.runs(entry, common) }
            return runs
        }
        guard !runs.isEmpty else { throw ConfigurationError(name, "asks for no runs; list jobs and their grids under runs") }
        guard runs.count <= Self.mostRuns else {
            throw ConfigurationError(name, "asks for \(runs.count) runs; at most \(Self.mostRuns) are accepted")
        }
        numberNames()
    }

    /// Gives every run a unique name.
    private mutating func numberNames() {
        var (names, numbers): (Set<String>, [String: Int]) = ([], [:])
        for index in runs.indices {
            let stem = runs[index].stem
            repeat {
                runs[index].number = numbers[stem, default: 0] + 1
                numbers[stem] = runs[index].number
            } while !names.insert(runs[index].name).inserted
        }
    }

    private func runs(_ entry: Node, _ common: [String]) throws(ConfigurationError) -> [Run] {
        var (job, own, axes): (String?, [String], [(key: String, values: [String])]) = (nil, [], [])
        for (key, value) in try members(entry, "an entry of runs") {
            switch key {
            case "job": job = try text(value)
            case "settings": own = try settings(value)
            case "grid":
                for (key, values) in try members(value, "a grid") { axes.append((key, try texts(values))) }
            default: throw failure(value, "unknown key '\(key.prefix(100))'; an entry has job, settings and grid")
            }
        }
        guard let job else { throw failure(entry, "has no job; give one under the key job") }
        var combinations: [[(key: String, value: String)]] = [[]]
        for axis in axes {
            guard combinations.count * axis.values.count <= Self.mostRuns else {
                throw failure(entry, "makes more than \(Self.mostRuns) runs; give fewer values")
            }
            combinations = combinations.flatMap { begun in axis.values.map { begun + [(axis.key, $0)] } }
        }
        return combinations.map { varied in
            Run(job: job, assignments: common + own + varied.map { "\($0.key)=\($0.value)" }, varied: varied)
        }
    }

    // MARK: - Nodes

    private func failure(_ node: Node, _ problem: String) -> ConfigurationError {
        ConfigurationError(name + (node.mark.map { ":\($0.line)" } ?? ""), problem)
    }

    private func members(_ node: Node?, _ what: String) throws(ConfigurationError) -> [(key: String, value: Node)] {
        guard let node else { return [] }
        guard case .mapping(let mapping) = node else { throw failure(node, "\(what) must be a mapping of keys to values") }
        var members: [(key: String, value: Node)] = []
        for (key, value) in mapping { members.append((try text(key), value)) }
        return members
    }

    /// As `key.path=value`.
    private func settings(_ node: Node) throws(ConfigurationError) -> [String] {
        var (assignments, keys): ([String], Set<String>) = ([], [])
        try collect(node, below: "", &assignments, &keys)
        return assignments
    }

    /// `a: {b: 1}` and `a.b: 1` alike.
    private func collect(
        _ node: Node, below prefix: String, _ assignments: inout [String], _ keys: inout Set<String>
    ) throws(ConfigurationError) {
        for (name, value) in try members(node, "settings") {
            let key = prefix + name
            if case .mapping = value {
                try collect(value, below: key + ".", &assignments, &keys)
            } else {
                guard keys.insert(key).inserted else { throw failure(value, "the key '\(key)' is given twice") }
                assignments.append("\(key)=\(try text(value))")
            }
        }
    }

    private func texts(_ node: Node) throws(ConfigurationError) -> [String] {
        guard case .sequence(let list) = node else { return [try text(node)] }
        guard !list.isEmpty else { throw failure(node, "is an empty list; give at least one value") }
        var texts: [String] = []
        for value in list { texts.append(try text(value)) }
        return texts
    }

    private func text(_ node: Node) throws(ConfigurationError) -> String {
        guard case .scalar(let scalar) = node, node.anchor == nil else {
            throw failure(node, "expected a plain value, without anchor or alias")
        }
        return scalar.string
    }
}
