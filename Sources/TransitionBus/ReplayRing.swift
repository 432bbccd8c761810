/// This rank's own messages of the last two steps, for ranks that missed them: a rank may be one step behind, never two,
/// because a step ends only when all ranks have everything of it.
struct ReplayRing {
    struct Frame {
        let header: [UInt8]
        let payload: [UInt8]
    }

    private var steps: [Int: [Int: Frame]] = [:]
    private var endings: [Int: Frame] = [:]

    mutating func begin(step: Int) {
        steps = steps.filter { $0.key >= step - 1 }
        endings = endings.filter { $0.key >= step - 1 }
        steps[step] = [:]
    }

    mutating func store(_ frame: Frame, step: Int, layer: Int) { steps[step]?[layer] = frame }
    mutating func storeEnding(_ frame: Frame, step: Int) { endings[step] = frame }

    /// nil where the layer is not published (yet), or too long ago.
    func frame(step: Int, layer: Int) -> Frame? { steps[step]?[layer] }
    func ending(step: Int) -> Frame? { endings[step] }
}
