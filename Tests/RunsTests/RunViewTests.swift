import HuggingFace
import Support
import Testing

@testable import Runs

@Suite struct RunViewTests {
    private func view(layers: Int) -> RunView {
        var view = RunView()
        view.take("run", ["job": "qat", "model": "embedded", "world_size": 8, "steps": 100, "folder": "runs/a"])
        view.take("phase", ["name": "training", "done": 50, "of": 100])
        view.take("step", ["step": 49, "loss": 3.14159, "branches": ["refresh": 28]])
        view.take("bus", ["bytes_per_step": 1234, "bytes": 5678, "replays": 1])
        for layer in 0..<layers { view.take("layer/\(layer)", ["components": .integer(100 + layer), "branch": "prune"]) }
        return view
    }

    @Test func `progress, metrics, bus and layers are shown, with their newest values`() {
        var view = view(layers: 2)
        view.take("layer/1", ["components": 77, "branch": "refresh"])
        let text = view.lines(width: 100, height: 40).joined(separator: "\n")
        for part in [
            "qat of embedded on 8 ranks", "50/100", "loss 3.1416", "1234 bytes", "1 transitions sent again", "77", "refresh",
        ] {
            #expect(text.contains(part), "\(part)")
        }
        #expect(!text.contains("101") && !view.hasEnded)
        view.take("end", ["exit_code": 75, "error": "rank 1 waited"])
        #expect(view.hasEnded && view.lines(width: 100, height: 40).last == "ended: rank 1 waited")
    }

    @Test func `metrics have names and short numbers, steps are counted once, and all fits the window`() {
        var view = RunView()
        view.take("run", ["job": "rotate", "model": "/a/path", "world_size": 2, "folder": "t1"])
        view.take("phase", ["name": "learning", "done": 12, "of": 30, "elapsed_seconds": 65.2, "remaining_seconds": 100])
        view.take(
            "step",
            [
                "step": 11, "loss": 0.0562, "lr": 8.51854342773295e-06, "grad_norm": 0.0119, "tokens_per_second": 480.7139,
                "communication_seconds": 0.25, "something_new": 3,
            ])
        for width in [60, 80, 200] {
            let lines = view.lines(width: width, height: 24)
            let text = lines.joined(separator: "\n")
            for part in [
                "12/30, 1:05 so far, 1:40 left", "learning rate 8.52e-6", "gradient norm 0.0119", "480.7139 tokens/s",
                "something new 3",
            ] {
                #expect(text.contains(part), "\(part) at \(width)")
            }
            #expect(!text.contains("step 11") && !text.contains("_") && lines.allSatisfy { $0.count <= width })
        }
        view.take("end", ["exit_code": 0])
        #expect(view.lines(width: 80, height: 24).last == "ended; results in t1")
    }

    @Test(arguments: [(20, 5), (80, 24), (40, 3), (1, 1)]) func `the screen is never overfull`(width: Int, height: Int) {
        let lines = view(layers: 100).lines(width: width, height: height)
        #expect(lines.allSatisfy { $0.count <= width })
        #expect(lines.count <= max(1, height - 1))
    }

    @Test func `what an unknown sender may send neither stops the monitor nor reaches the terminal's controls`() {
        var view = RunView()
        view.take("run", ["job": "\u{1B}[2J\u{9B}31m\nqat", "model": 3, "world_size": "x"])
        view.take("phase", ["name": "a", "done": .integer(.max), "of": 1])
        view.take("step", ["\u{1B}]0;title": .double(1e300), "nan": .double(.nan), "small": 1e-12, "list": [1]])
        view.take("layer/\u{1B}c", ["components": .integer(.min)])
        view.take("end", "text")
        let text = view.lines(width: 200, height: 50).joined(separator: "\n")
        #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) })
        #expect(!view.hasEnded)
        view.take("phase", ["name": "a", "done": .integer(.min), "of": .integer(.max)])
        let absurd = view.lines(width: 200, height: 50)
        #expect(absurd.allSatisfy { $0.count <= 200 } && absurd.count <= 49)
        #expect(absurd.joined().unicodeScalars.allSatisfy { $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) })
    }
}
