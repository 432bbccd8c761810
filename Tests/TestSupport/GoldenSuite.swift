import Glibc
package import HuggingFace
package import Support
internal import TensorCore

/// One case of the golden suite: a file of tensors and what is to be computed from them.
package struct GoldenCase: Sendable, CustomStringConvertible {
    /// `group/name`.
    package let id: String
    /// Relative to the suite's folder.
    package let file: String
    package let group: String
    package let params: JSONValue
    package let tolerance: JSONValue
    /// Null where the file's tensors say everything.
    package let expected: JSONValue
    /// Names of the file's tensors, in the order in which they were made.
    package let tensors: [String]

    package var description: String { id }
}

/// Numbers from the reference implementations: the folder `SQ_GOLDEN_DIR` names, else Tests/Golden.
package struct GoldenSuite: Sendable {
    package let folder: String
    package let cases: [GoldenCase]

    /// The suite the environment names.
    package static let current = Result { try GoldenSuite(folder: defaultFolder) }

    /// Whether that is the one of this project, whose cases are known.
    package static var isOwn: Bool { getenv("SQ_GOLDEN_DIR") == nil }

    package static var defaultFolder: String {
        if let folder = getenv("SQ_GOLDEN_DIR") { return String(cString: folder) }
        return ownFolder
    }

    /// The suite of this project, whatever the environment names: for tests that know its models.
    package static var ownFolder: String { testsFolder + "/Golden" }

    /// The folder `Tests` of the sources.
    package static var testsFolder: String {
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
    }

    package init(folder: String) throws {
        self.folder = folder
        let index = folder + "/cases.json"
        guard let entries = try InputFile.json(index)["cases"]?.array else {
            throw FileError(.malformed, index, "has no list \"cases\"")
        }
        cases = try entries.map { entry in
            guard let id = entry["id"]?.string, let file = entry["file"]?.string, let group = entry["group"]?.string else {
                throw FileError(.malformed, index, "a case lacks id, file or group")
            }
            return GoldenCase(
                id: id, file: file, group: group, params: entry["params"] ?? .null, tolerance: entry["tolerance"] ?? .null,
                expected: entry["expected"] ?? .null, tensors: entry["tensors"]?.object?.keys ?? [])
        }
    }

    /// The cases of a group, for `@Test(arguments:)`; empty if the suite cannot be read (a test of its own reports that).
    package static func cases(group: String) -> [GoldenCase] {
        (try? current.get().cases.filter { $0.group == group }) ?? []
    }

    /// The path of a file of the suite.
    package static func path(_ file: String) throws -> String { try current.get().folder + "/" + file }

    /// A case's tensors.
    package static func tensors(of golden: GoldenCase) throws -> SafetensorsFile {
        try SafetensorsFile(path(golden.file))
    }
}
