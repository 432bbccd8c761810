internal import Autograd
internal import Compression
internal import Exports
internal import Generation
internal import HuggingFace
internal import LinearAlgebra
internal import Models
internal import TensorCore

/// A language model's folder, of floats or packed, ready to run.
public struct LanguageModel {
    private let folder: CompressedFolder
    private let tokenizer: Tokenizer

    /// Opens a folder; its matrices are read when they are needed.
    ///
    /// - Throws: ``SQTrainError`` where it is missing, malformed or of an unknown kind.
    public init(folder path: String) throws(SQTrainError) {
        (folder, tokenizer) = try SQTrainError.translating { (try CompressedFolder(path), try Tokenizer(folder: path)) }
    }

    public var vocabularySize: Int { folder.folder.architecture.vocabularySize }

    /// - Throws: ``SQTrainError`` for a text that the vocabulary cannot express.
    public func tokens(of text: String) throws(SQTrainError) -> [Int32] {
        let (tokens, lost) = tokenizer.encode(text)
        guard lost.dropped == 0 else {
            throw SQTrainError(description: "\(lost.dropped) bytes of the text have no token", exitCode: 65)
        }
        return tokens
    }

    /// Logits after each of the tokens: `[tokens.count, vocabularySize]`.
    ///
    /// - Throws: ``SQTrainError`` for a token outside the vocabulary, more tokens than the model has positions for, or a folder
    ///   that cannot be read.
    public func logits(of tokens: [Int32]) throws(SQTrainError) -> Matrix {
        try check(tokens)
        return try SQTrainError.translating {
            let network = try CompressedModel(reading: folder).network(folder.folder.description.model(positions: tokens.count))
            let x = network.outputs([tokens], from: nil)
            return Matrix(matmul(x, .asStored, network.parameters.logitWeight.value, .transposed))
        }
    }

    /// The likeliest tokens after some others, one after the other: `most` of them, also beyond the end of a text.
    ///
    /// - Throws: as ``logits(of:)``.
    public func continuation(of tokens: [Int32], most: Int) throws(SQTrainError) -> [Int32] {
        try check(tokens)
        guard (0...positions - tokens.count).contains(most) else {
            throw SQTrainError(
                description: "\(most) tokens after \(tokens.count) for a model of 1 to \(positions) positions", exitCode: 65)
        }
        let capacity = tokens.count + most
        return try SQTrainError.translating {
            let model = try RunnableModel(folder, product: .float, cacheBits: nil, positions: capacity)
            var generator = Generator(model, capacity: capacity, choice: TokenChoice(), endTokens: [])
            var made: [Int32] = []
            _ = try generator.run(tokens, most: most) { made.append($0) }
            return made
        }
    }

    private var positions: Int { folder.folder.architecture.maximumPositions }

    private func check(_ tokens: [Int32]) throws(SQTrainError) {
        guard !tokens.isEmpty, tokens.count <= positions else {
            throw SQTrainError(
                description: "\(tokens.count) tokens for a model of 1 to \(positions) positions", exitCode: 65)
        }
        if let outside = tokens.first(where: { !(0..<Int32(vocabularySize)).contains($0) }) {
            throw SQTrainError(description: "token \(outside) is outside the vocabulary of \(vocabularySize)", exitCode: 65)
        }
    }

    /// Names of the forms that ``export(folder:as:to:)`` writes.
    public static var exportFormats: [String] { ExportFormat.allCases.map(\.rawValue) }

    /// Writes a model in the form that another program loads; complete, read back and compared, or not at all.
    ///
    /// - Throws: ``SQTrainError`` where the form cannot hold the model, or something is at `out` already.
    public static func export(folder: String, as format: String, to out: String) throws(SQTrainError) {
        try SQTrainError.translating {
            _ = try ModelWriters.named(format).write(ExportRequest(source: folder, out: out))
        }
    }
}
