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
}
