import Foundation
import Testing

/// Of the repository's own text.
@Suite struct SourceTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized
    /// What others have written, or programs.
    private static let foreign = ["/Golden/", "/Resources/", "/.build/"]

    /// Swift, C and shell below these folders.
    private static func sources() throws -> [URL] {
        try ["Sources", "Tests", "Benchmarks", "launch", ".ci"].flatMap { folder in
            let below = root.appending(path: folder)
            let paths = try FileManager.default.subpathsOfDirectory(atPath: below.path)
            return paths.map { below.appending(path: $0) }
        }.filter { file in
            guard !foreign.contains(where: file.path.contains) else { return false }
            if ["swift", "c", "h", "sh"].contains(file.pathExtension) { return true }
            return file.pathExtension.isEmpty && (try? String(contentsOf: file, encoding: .utf8))?.hasPrefix("#!") == true
        }
    }

    /// The formatter breaks code, but neither comments nor texts; and it knows no C and no shell.
    @Test func `no line is longer than 128 characters, and no file than 400 lines`() throws {
        let sources = try Self.sources()
        #expect(sources.count > 500)
        for file in sources {
            let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false)
            let long = lines.indices.filter { lines[$0].count > 128 }.map { $0 + 1 }
            #expect(long.isEmpty, "\(file.path): lines \(long)")
            #expect(lines.count <= 401, "\(file.path): \(lines.count) lines")
        }
    }

    /// A module that is only built by chance before who imports it is sometimes missing.
    @Test func `a target declares the modules of this package that it imports, and no others`() throws {
        let description = try String(contentsOf: Self.root.appending(path: "Package.swift"), encoding: .utf8)
        let all = try Self.targets(description)
        #expect(all.count > 60)
        for (name, target) in all {
            let imported = try Self.imports(below: target.folder)
            // A target of C has no imports; the program that CommandLineTests runs is built for them, not imported.
            guard !imported.isEmpty else { continue }
            let declared = target.dependencies.subtracting(name == "CommandLineTests" ? ["sq-train"] : ["TestSupport"])
            let known = imported.intersection(all.keys).subtracting(["TestSupport", name])
            #expect(known.subtracting(declared).isEmpty, "\(name) imports them undeclared")
            #expect(declared.intersection(all.keys).subtracting(imported).isEmpty, "\(name) declares them and imports them not")
        }
    }

    private struct Declared {
        let folder: String
        let dependencies: Set<String>
    }

    /// The targets that the text of Package.swift declares: each call with its first text, the name, and its others.
    private static func targets(_ description: String) throws -> [String: Declared] {
        var found: [String: Declared] = [:]
        let calls = description.components(separatedBy: "    targets: [\n")[1].matches(
            of: /(?m)^ {8}(module|tests|\.\w*[tT]arget|\.systemLibrary)\(.*\n(?: {10,}.*\n)*/)
        for call in calls {
            let words = call.output.0.matches(of: /"([\w\-\/]+)"/).map { String($0.output.1) }
            let (kind, first) = (call.output.1, try #require(words.first))
            let name = kind == "tests" ? first + "Tests" : first
            let parent = kind == "tests" || kind == ".testTarget" ? "Tests" : "Sources"
            let path = call.output.0.firstMatch(of: /path: "([^"]*)"/).map { String($0.output.1) }
            found[name] = Declared(
                folder: path ?? "\(parent)/\(name)",
                dependencies: Set(words.dropFirst()).union(kind == "tests" ? [first] : []))
        }
        return found
    }

    /// The modules that the Swift files below a folder import.
    private static func imports(below folder: String) throws -> Set<String> {
        let files = try FileManager.default.subpathsOfDirectory(atPath: root.appending(path: folder).path)
        return try files.filter { $0.hasSuffix(".swift") }.reduce(into: []) { all, file in
            let text = try String(contentsOf: root.appending(path: "\(folder)/\(file)"), encoding: .utf8)
            for line in text.matches(of: /(?m)^(?:@\w+ )*(?:\w+ )?import (\w+)/) { all.insert(String(line.output.1)) }
        }
    }
}
