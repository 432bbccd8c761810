import Glibc
internal import HuggingFace
import Support
internal import TensorCore

/// Damages a valid file at random: reading must end with a value, or with an error that blames the input and names the file or
/// its folder; a trap would end the process.
///
/// `SQ_FUZZ_COUNT` sets how many damaged files a reader gets.
package struct Mutations {
    package let count: Int
    private let seed: UInt64

    /// - Parameter parts: among how many originals the damaged files are divided.
    package init(seed: UInt64, count: Int = 1000, among parts: Int = 1) {
        self.seed = seed
        self.count = (getenv("SQ_FUZZ_COUNT").flatMap { Int(String(cString: $0)) } ?? count) / parts
    }

    /// How many of the mutants were refused.
    ///
    /// - Throws: what is no word about the file.
    package func refusals(of original: [UInt8], at path: String, read: (String) throws -> Void) throws -> Int {
        var random = RandomStream(seed: seed)
        var refused = 0
        for _ in 0..<count {
            unlink(path)  // truncating it instead makes some file systems write it to the disk
            let mutant = mutate(original, &random)
            guard let file = fopen(path, "wx") else { throw FileError(.inputOutput, path, "cannot be made") }
            fwrite(mutant, 1, mutant.count, file)
            fclose(file)
            do {
                try read(path)
            } catch let error as any ReportableError where blames(path, error) {
                refused += 1
            }
        }
        return refused
    }

    private func blames(_ path: String, _ error: any ReportableError) -> Bool {
        [.data, .noInput, .configuration].contains(error.exitCode) && error.description.contains(parentDirectory(of: path))
    }

    /// One to four changes, half of them in the first 1000 bytes, where the structure is: a bit, a telling byte, a count of
    /// eight bytes, a copied piece, a cut.
    private func mutate(_ bytes: [UInt8], _ random: inout RandomStream) -> [UInt8] {
        var bytes = bytes
        for _ in 0...Int.random(in: 0..<4, using: &random) where !bytes.isEmpty {
            let reach = Bool.random(using: &random) ? min(bytes.count, 1000) : bytes.count
            let at = Int.random(in: 0..<reach, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: bytes[at] = [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &random) ?? 0
            case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: at)
            case 3:
                let end = min(bytes.count, at + 8)
                bytes.replaceSubrange(
                    at..<end, with: repeatElement([0, 0x7F, 0xFF].randomElement(using: &random) ?? 0, count: end - at))
            case 4:
                bytes.insert(
                    contentsOf: bytes[at..<min(bytes.count, at + 9)], at: Int.random(in: 0...bytes.count, using: &random))
            default: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1..<64, using: &random)))
            }
        }
        return bytes
    }
}
