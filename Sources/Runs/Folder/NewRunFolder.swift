internal import Glibc
internal import Support

/// The folder of a run without `--out`, such as `runs/rotate-20261121-031500`.
///
/// Its name is reserved by making the folder, so that runs that begin in the same second have different folders.
package final class NewRunFolder {
    private let job: String
    private let parent: String
    /// Folders that were not there before, the innermost first.
    private var made: [String] = []

    package init(job: String, below parent: String = "runs") { (self.job, self.parent) = (job, parent) }

    /// Makes the folder. If that fails, the run reports it when it writes.
    ///
    /// - Returns: the path.
    package func make() -> String {
        let first = "\(parent)/\(job)-\(Self.time)"
        if (try? makesNewFolder(parent)) == true { made = [parent] }
        for candidate in [first] + (2...999).map({ "\(first)-\($0)" }) {
            guard let isNew = try? makesNewFolder(candidate) else { break }
            if !isNew { continue }
            made = [candidate] + made
            return candidate
        }
        return first
    }

    /// Removes the folders made here, unless something has been written there since, so that a refused run leaves nothing
    /// behind.
    package func release() { for folder in made { rmdir(folder) } }

    private static var time: String {
        var now = Glibc.time(nil)
        var parts = tm()
        localtime_r(&now, &parts)
        var text = [CChar](repeating: 0, count: 32)
        strftime(&text, text.count, "%Y%m%d-%H%M%S", &parts)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
