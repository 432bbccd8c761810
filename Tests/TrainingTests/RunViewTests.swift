import HuggingFace
import Testing

@testable import Training

@Suite struct RunViewTests {
    private func view(layers: Int) -> RunView {
        var view = RunView()
        view.take("run", ["job": "qat", "model": "embedded", "world_size": 8, "steps": 100, "folder": "runs/a"])
        view.take("phase", ["name": "training", "done": 50, "of": 100])
        view.take("step", ["step": 49, "loss": 3.14159, "branches": ["refresh": 28]])
        view.take("bus", ["bytes_per_step": 1234, "bytes": 5678, "replays": 1])
        for layer in 0..<layers { view.take("layer/\(layer)", ["rank": .integer(100 + layer), "branch": "prune"]) }
        return view
    }

    @Test func `progress, metrics, bus and layers are shown, with their newest values`() {
        var view = view(layers: 2)
        view.take("layer/1", ["rank": 77, "branch": "refresh"])
        let text = view.lines(width: 100, height: 40).joined(separator: "\n")
        for part in ["qat of embedded on 8 ranks", "50/100", "loss 3.1416", "1234 bytes", "1 transitions sent again", "77", "refresh"] {
            #expect(text.contains(part), "\(part)")
        }
        #expect(!text.contains("101") && !view.hasEnded)
        view.take("end", ["exit_code": 75, "error": "rank 1 waited"])
        #expect(view.hasEnded && view.lines(width: 100, height: 40).last == "ended: rank 1 waited")
    }

    @Test(arguments: [(20, 5), (80, 24), (40, 3), (1, 1)]) func `the screen is never overfull`(width: Int, height: Int) {
        let lines = view(layers: 100).lines(width: width, height: height)
        #expect(lines.allSatisfy { $0.count <= width })
        // Four lines are always shown.
        #expect(lines.count <= max(4, height - 1))
    }

    @Test func `what a stranger may send neither stops the monitor nor reaches the terminal's controls`() {
        var view = RunView()
        view.take("run", ["job": "\u{1B}[2J\u{9B}31m\nqat", "model": 3, "world_size": "x"])
        view.take("phase", ["name": "a", "done": .integer(.max), "of": 1])
        view.take("step", ["\u{1B}]0;title": .double(1e300), "nan": .double(.nan), "small": 1e-12, "list": [1]])
        view.take("layer/\u{1B}c", ["rank": .integer(.min)])
        view.take("end", "text")
        let text = view.lines(width: 200, height: 50).joined(separator: "\n")
        #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) })
        #expect(!view.hasEnded)
        view.take("phase", ["name": "a", "done": .integer(.min), "of": .integer(.max)])
        #expect(!view.lines(width: 200, height: 50).isEmpty)
    }
}
