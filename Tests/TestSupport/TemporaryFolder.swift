import Glibc
import Support

/// A folder of its own for one test, removed with everything in it when the value is gone.
package final class TemporaryFolder {
    package let path: String

    package init() throws {
        var template = Array("/tmp/sq-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TemporaryFolderError(code: errno) }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit { try? removeTree(path) }

    /// The path of `name` in the folder.
    package func file(_ name: String) -> String { path + "/" + name }
}

package struct TemporaryFolderError: Error {
    package let code: Int32
}
