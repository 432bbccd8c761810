internal import Compression
internal import HuggingFace
package import Models
internal import Support
internal import TensorCore
internal import TernarySVD

/// The ternary linears of a model as chains of products in ONNX, see `ONNXGraph`.
package struct ONNXFactorWriter: ModelWriter {
    package let format = ExportFormat.onnx
    package let summary = "ternary linears as chains of 2-bit products for ONNX Runtime (opset 21, MatMulNBits)"

    /// A message of Protocol Buffers cannot be larger.
    private static let largestFile = Int(Int32.max)

    package var fileName: String { "factors.onnx" }

    package init() {}

    package func obstacle(_ result: ExpectedResult) -> String? {
        result.linears == .ternary ? nil : "the job makes no ternary linears, which the format is for; ptq and ternary qat do"
    }

    /// As ``ModelWriter/write(_:)``: a graph for each ternary layer, in one file.
    package func write(_ request: ExportRequest) throws -> ExportReport {
        try request.checkFile("ONNX file", beginning: ONNXGraph.beginning)
        try checkReplaced(request.out)
        let folder = try CompressedFolder(request.source).folder
        let linears = folder.architecture.linears.filter { folder.packed?.weights.contains($0.name + ".weight") ?? false }
        var (graph, weights) = (ONNXGraph(), 0)
        for linear in linears {
            guard let factors = try folder.packed?.read(linear.name + ".weight") as? TernaryFactors else { continue }
            let bias = linear.name + ".bias"
            let hasBias = folder.checkpoint.contains(bias)
            graph.add(linear.name, factors, bias: hasBias ? try folder.tensor(bias, shape: [linear.shape[0]]) : nil)
            weights += linear.shape[0] * linear.shape[1]
        }
        guard weights > 0 else {
            throw ExportError(
                .unfit, folder.path, "has no ternary linears, which onnx is for; sq-train ptq makes them of a model of floats")
        }
        let size = graph.initializers.reduce(0) { $0 + $1.bytes.count }
        guard size < Self.largestFile else {
            throw ExportError(
                .unfit, folder.path, "its factors take \(size) bytes, and an ONNX file holds \(Self.largestFile) at most")
        }
        try request.makeFile { path in
            try AtomicFile.write(graph.model(metadata: try Provenance(folder).entries), to: path)
            guard ONNXGraph.initializers(of: try InputFile.contents(of: path, limit: Self.largestFile)) == graph.initializers
            else { throw ExportError(.unequal, request.out, "does not hold the factors that were to be written") }
        }
        return ExportReport(
            path: request.out, bytes: bytes(at: request.out), weights: weights,
            checked: "\(graph.initializers.count) tensors read back, equal to the factors",
            notes: ["the file holds the linears alone, each from NAME.input to NAME.output"])
    }

    /// Many files begin with the byte that an ONNX file does.
    private func checkReplaced(_ out: String) throws {
        guard PathKind(out) == .file, try InputFile(out).size > 0 else { return }
        let bytes = try? InputFile.contents(of: out, limit: Self.largestFile)
        guard bytes.flatMap(ONNXGraph.initializers(of:)) == nil else { return }
        throw ExportError(.place, out, "exists and is not an ONNX file, so that it is not replaced; give another name")
    }
}
