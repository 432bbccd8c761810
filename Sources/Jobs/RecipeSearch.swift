internal import Collectives
internal import Compression
internal import Configuration
internal import Datasets
internal import Evaluation
internal import Models
internal import Parallelism
internal import Quantization
internal import Rotation
internal import Runs
internal import Support
internal import TensorCore
internal import Trainer

/// `quantize.recipe=auto`: compares the network as stored, smoothed, and rotated by R1 and R2, each rounded to nearest and by
/// GPTQ, by the divergence from full precision on held-out text.
struct RecipeSearch<World: Communicator> {
    let run: LanguageModelRun<World>
    let recipe: QuantizeRecipe
    /// This rank's stage of the network, after the transforms that every recipe begins with.
    let original: Parameters<StoredTensor>
    private let calibration: [[Int32]]
    private let heldOut: [[Int32]]
    private var context: JobContext<World> { run.context }
    private var config: RunConfig { context.config }

    /// A way to quantize the network, and its result.
    struct Candidate {
        let transform: any ModelTransform
        let method: any WeightQuantization
        var score: LanguageModelScore?
        var seconds = 0.0
        /// Why it was not tried, or why it lost; or that it is the one that is written.
        var verdict = ""

        var label: String { "\(transform.label), \(method.label)" }
        var key: String { "\(transform.key)_\(method.name)" }
    }

    struct Result {
        let packed: Parameters<CompressedValue>
        let execution: Execution
        let winner: Candidate
        let candidates: [Candidate]
    }

    /// The relative gain over a simpler transform that a transform needs to be preferred, since a smaller gain can become a
    /// loss on another text.
    private static var margin: Double { 0.1 }

    /// Divides the text: the first sequences are for calibration, the following ones for comparison. Collective.
    init(
        _ run: LanguageModelRun<World>, _ recipe: QuantizeRecipe, _ original: Parameters<StoredTensor>
    ) throws {
        let config = run.context.config
        let text = try run.inputs.trainingWindows(run.model, original, run.context)
        let (calibrated, compared) = config.dividedForRecipes(text.count)
        calibration = (0..<calibrated).map { text[$0] }
        heldOut = (calibrated..<calibrated + compared).map { text[$0] }
        (self.run, self.recipe) = (run, recipe)
        self.original = try recipe.leading.apply(
            TransformInput(run: run, recipe: recipe, network: original, calibration: calibration))
    }

    /// Tries all candidates and returns the best. Collective.
    func best() throws -> Result {
        context.reporter.note(
            "comparing recipes on \(heldOut.count) sequences after the \(calibration.count) calibrated on")
        var candidates: [Candidate] = []
        var best: (place: Int, packed: Parameters<CompressedValue>, execution: Execution)?
        for transform in ModelTransforms.all where transform.isTried {
            let (began, execution) = (ContinuousClock.now, recipe.execution(of: recipe.leading + [transform]))
            let made = try base(transform)
            let shared = (.now - began) / .seconds(1)
            for method in run.context.config.weightCandidates {
                var candidate = Candidate(transform: transform, method: method)
                switch made {
                case .failure(let obstacle): candidate.verdict = obstacle.reason
                case .success(let base):
                    let start = ContinuousClock.now
                    let packed = try packed(base, transform, execution, method)
                    candidate.seconds = shared + (.now - start) / .seconds(1)
                    let network = CompressedModel(packed, execution).network(run.model)
                    let score = try evaluate(
                        network, against: run.model.constantNetwork(original), windows: heldOut, context.groups)
                    candidate.score = score
                    context.reporter.note("\(candidate.label): KL \((score.klDivergence ?? 0).formatted(decimals: 4))")
                    let isBetter = best.map { score.isBetter(than: candidates[$0.place], by: Self.margin, candidate) } ?? true
                    if isBetter { best = (candidates.count, packed, execution) }
                }
                candidates.append(candidate)
            }
        }
        guard let best else { preconditionFailure("the network as stored can always be rounded") }
        let least = candidates[best.place].score?.klDivergence ?? 0
        for place in candidates.indices where candidates[place].score != nil {
            let kl = candidates[place].score?.klDivergence ?? 0
            candidates[place].verdict =
                place == best.place
                ? "written"
                : kl >= least
                    ? "KL \((100 * (kl / max(least, 1e-12) - 1)).formatted(decimals: 0)) % higher"
                    : "KL lower by less than \((100 * Self.margin).formatted(decimals: 0)) %"
        }
        return Result(
            packed: best.packed, execution: best.execution, winner: candidates[best.place], candidates: candidates)
    }

    /// The network to round, or the reason why it cannot be made. Collective.
    private func base(_ transform: any ModelTransform) throws -> Swift.Result<Parameters<StoredTensor>, TransformObstacle> {
        let input = TransformInput(run: run, recipe: recipe, network: original, calibration: calibration)
        do { return .success(try transform.apply(input)) } catch let obstacle as TransformObstacle { return .failure(obstacle) }
    }

    private func packed(
        _ base: Parameters<StoredTensor>, _ transform: any ModelTransform, _ execution: Execution,
        _ method: any WeightQuantization
    ) throws -> Parameters<CompressedValue> {
        let key = (recipe.leading + [transform]).key
        return try base.packed(run, windows: calibration, execution, by: method, keepingAs: key, recipe.plan)
    }
}

extension LanguageModelScore {
    /// Whether a candidate's divergence is lower than that of the best so far, with a margin for another transform.
    fileprivate func isBetter<World>(
        than best: RecipeSearch<World>.Candidate, by margin: Double, _ own: RecipeSearch<World>.Candidate
    ) -> Bool {
        guard let kl = klDivergence, let least = best.score?.klDivergence else { return false }
        return kl < least * (best.transform.name == own.transform.name ? 1 : 1 - margin)
    }
}

extension RecipeSearch.Result {
    /// A text for the user: what was tried, and why the others lost.
    var text: String {
        var table = Table(columns: ["recipe, on text held out", "perplexity", "KL", "top-1", "seconds", ""])
        for candidate in candidates {
            table.add([
                candidate.label, candidate.score.map { $0.perplexity.formatted(decimals: 2) } ?? "–",
                candidate.score?.klDivergence.map { $0.formatted(decimals: 4) } ?? "–",
                candidate.score?.agreement.map { (100 * $0).formatted(decimals: 1) } ?? "–",
                candidate.score == nil ? "–" : candidate.seconds.formatted(decimals: 1), candidate.verdict,
            ])
        }
        return table.text
    }

    /// `recipes` of `summary.json`.
    var json: JSONValue {
        .array(
            candidates.map { candidate in
                var object = JSONObject()
                object["key"] = .string(candidate.key)
                object["label"] = .string(candidate.label)
                object["perplexity"] = candidate.score.map { .double($0.perplexity) }
                object["kl_divergence"] = candidate.score?.klDivergence.map { .double($0) }
                object["top1_agreement"] = candidate.score?.agreement.map { .double($0) }
                object["seconds"] = .double(candidate.seconds)
                object["verdict"] = .string(candidate.verdict)
                return .object(object)
            })
    }
}
