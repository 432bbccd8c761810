internal import Configuration
internal import Foundation
internal import Support

/// Perplexity (on a logarithmic scale) against bits per weight, as an SVG: a color for each job, the fronts as lines.
struct SweepChart {
    private typealias Point = SweepReport.Row.Point

    private static let (width, height) = (720.0, 440.0)
    private static let (left, right, top, bottom) = (70.0, 190.0, 20.0, 50.0)
    private static let colors = ["#1f6feb", "#d1571c", "#2a8c4a", "#8a4fbf", "#b08800", "#59636e"]

    private let rows: [(row: SweepReport.Row, point: Point)]
    private let jobs: [String]
    private let bits: ClosedRange<Double>
    /// The range of the logarithms.
    private let perplexities: ClosedRange<Double>

    init(_ rows: [SweepReport.Row]) {
        self.rows = rows.compactMap { row in row.point.map { (row, $0) } }
        jobs = self.rows.map(\.row.run.job).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
        bits = Self.range(self.rows.map(\.point.bits))
        perplexities = Self.range(self.rows.map { log($0.point.perplexity) })
    }

    /// A range around the values, a little wider.
    private static func range(_ values: [Double]) -> ClosedRange<Double> {
        guard let least = values.min(), let most = values.max() else { return 0...1 }
        let margin = max(0.06 * (most - least), 0.02 * abs(most) + 1e-3)
        return least - margin...most + margin
    }

    private func x(_ bits: Double) -> Double {
        let share = (bits - self.bits.lowerBound) / (self.bits.upperBound - self.bits.lowerBound)
        return Self.left + share * (Self.width - Self.left - Self.right)
    }

    private func y(_ logarithm: Double) -> Double {
        let share = (logarithm - perplexities.lowerBound) / (perplexities.upperBound - perplexities.lowerBound)
        return Self.height - Self.bottom - share * (Self.height - Self.top - Self.bottom)
    }

    private func color(_ job: String) -> String { Self.colors[(jobs.firstIndex(of: job) ?? 0) % Self.colors.count] }

    var svg: String {
        let (w, h) = (Self.width, Self.height)
        var parts = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(w) \(h)\" font-family=\"sans-serif\" font-size=\"12\">",
            "<desc>\(ProgramVersion.name)</desc>",
            "<rect width=\"\(w)\" height=\"\(h)\" fill=\"white\"/>",
        ]
        parts += axes + fronts
        for (row, point) in rows {
            let title =
                "\(row.run.name): \(point.bits.formatted(decimals: 2)) bits, perplexity "
                + "\(point.perplexity.formatted(decimals: 2))"
            parts.append(
                "<circle cx=\"\(place(x(point.bits)))\" cy=\"\(place(y(log(point.perplexity))))\" "
                    + "r=\"\(row.isOnFront ? 5 : 3.5)\" "
                    + "fill=\"\(color(row.run.job))\"><title>\(escaped(title))</title></circle>")
        }
        for (index, job) in jobs.enumerated() {
            let (x, y) = (w - Self.right + 20, Self.top + 12 + 18 * Double(index))
            parts.append("<circle cx=\"\(x)\" cy=\"\(y - 4)\" r=\"4\" fill=\"\(color(job))\"/>")
            parts.append("<text x=\"\(x + 10)\" y=\"\(y)\">\(escaped(job))</text>")
        }
        return (parts + ["</svg>"]).joined(separator: "\n") + "\n"
    }

    private var axes: [String] {
        let (bottom, end) = (Self.height - Self.bottom, Self.width - Self.right)
        var parts = [
            "<path d=\"M\(Self.left) \(Self.top)V\(bottom)H\(end)\" fill=\"none\" stroke=\"#59636e\"/>",
            "<text x=\"\((Self.left + end) / 2)\" y=\"\(Self.height - 12)\" text-anchor=\"middle\">bits per weight</text>",
            "<text x=\"16\" y=\"\((Self.top + bottom) / 2)\" text-anchor=\"middle\" "
                + "transform=\"rotate(-90 16 \((Self.top + bottom) / 2))\">perplexity</text>",
        ]
        for share in stride(from: 0.0, through: 1, by: 0.25) {
            let bits = self.bits.lowerBound + share * (self.bits.upperBound - self.bits.lowerBound)
            let logarithm = perplexities.lowerBound + share * (perplexities.upperBound - perplexities.lowerBound)
            parts.append(
                "<text x=\"\(place(x(bits)))\" y=\"\(bottom + 18)\" "
                    + "text-anchor=\"middle\">\(bits.formatted(decimals: 2))</text>"
            )
            parts.append(
                "<text x=\"\(Self.left - 8)\" y=\"\(place(y(logarithm) + 4))\" "
                    + "text-anchor=\"end\">\(exp(logarithm).formatted(decimals: 1))</text>"
            )
        }
        return parts
    }

    /// A line through the front of each model and text.
    private var fronts: [String] {
        let fronts = Dictionary(grouping: rows.filter(\.row.isOnFront), by: \.row.scale)
        return fronts.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { _, front in
            let points = front.sorted { $0.point.bits < $1.point.bits }
            let path = points.map { "\(place(x($0.point.bits))) \(place(y(log($0.point.perplexity))))" }.joined(separator: "L")
            return "<path d=\"M\(path)\" fill=\"none\" stroke=\"#b1bac4\" stroke-width=\"2\"/>"
        }
    }

    private func place(_ value: Double) -> String { value.formatted(decimals: 1) }

    private func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    }
}
