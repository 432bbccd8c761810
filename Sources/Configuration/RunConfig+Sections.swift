package import Datasets
internal import EmbeddedModel
package import Models
package import Parallelism
package import Rotation
internal import Support
package import TensorCore
package import TransitionBus

/// `model.*`: the model read, how it is kept in memory, and how it is written.
package struct ModelSettings: Sendable, Equatable {
    /// A Hugging Face folder; nil for the embedded model.
    package var path: String?

    /// Of weights that the job leaves as they are.
    package var storage: WeightStorage
    /// Of the weights in the `model/` that a job writes.
    package var dtype: WrittenType
    /// Whether a job that compresses also writes the weights as floats.
    package var dense: Bool

    init(_ key: Settings) {
        path = key.path(
            "path", orElse: EmbeddedModel.name,
            "Hugging Face folder with config.json, tokenizer.json and safetensors; a run folder with model/; or a GGUF file, "
                + "which is imported once to FILE.gguf.folder beside it")
        storage = key(
            "storage", .f32,
            "how rotate, eval, quantize and ptq keep weights: in memory, bf16 in half of it (not ptq), rounding what the files "
                + "hold more precisely, or file: read from model.path whenever one is used, and activations that are kept in a "
                + "file of the run's folder; computing stays in float32"
        )
        dtype = key(
            "dtype", .input,
            "type of the weights in the model/ that a job writes; input: the folder's own, packed linears aside"
        )
        dense = key(
            "dense", false,
            "quantize, ptq, qat, rotate: beside the compressed model/, write dense/ with all weights as floats, for programs "
                + "that read no other"
        )
    }
}

/// Element types of the weights that a job writes.
package enum WrittenType: String, Choice { case input, f32, bf16 }

extension WeightStorage: Choice {}
extension BeginOfSequence: Choice {}
extension JSONLines.BadLines: Choice {}

/// `data.*`: the text that is learned from and evaluated on, and how it is cut into sequences.
package struct DataSettings: Sendable, Equatable {
    /// Where a text comes from.
    package struct Source: Sendable, Equatable {
        /// A `.txt`, `.jsonl` or `.safetensors` file; nil for sequences the model itself samples.
        package var path: String?
    }

    package var train: Source
    package var eval: Source
    /// Tokens per sequence, in training and evaluation.
    package var sequenceLength: Int
    /// Windows of `sequenceLength` tokens that are evaluated; nil for as many as there are.
    package var evalWindows: Int?
    package var bos: BeginOfSequence
    /// How .jsonl files are read, those to learn from and those to evaluate on.
    package var lines: JSONLines
    /// Different training sequences the model samples where no text is given.
    package var sampledSequences: Int

    /// Windows evaluated by default; also how many are drawn, or planned for, where the text's own number is not known.
    package static let defaultEvalWindows = 40

    init(_ key: Settings) {
        let file =
            "text to %: .txt, .jsonl (see data.field), .safetensors with int32 or int64 input_ids; sampled: by the model itself"
        func source(_ section: String, _ use: String) -> Source {
            Source(path: key.section(section).path("path", orElse: "sampled", file.replacing("%", with: use)))
        }
        train = source("train", "learn from")
        eval = source("eval", "evaluate on")
        evalWindows = key.section("eval").optional(
            "windows", orElse: "all", default: Self.defaultEvalWindows,
            "sequences evaluated, from the start of the text", .range(1...1_000_000))
        sequenceLength = key("sequence_length", 256, "tokens per sequence, in training and evaluation", .range(2...1_048_576))
        bos = key(
            "bos", .none, "where the beginning-of-sequence token is put; sequence: in front of every window, never a second one"
        )
        lines = JSONLines(
            field: key("field", "text", "the member of a .jsonl's objects that holds the text"),
            badLines: key(
                "bad_lines", .fail, "how to treat a .jsonl line without that text: end the run, or skip and count it"))
        sampledSequences = key(
            "sampled_sequences", 128, "training sequences to sample where no text is given", .range(1...1_000_000))
    }
}

/// How the learning rate changes over the steps, after the warm-up.
package enum Schedule: String, Choice { case constant, linear, cosine }

/// How `train` and `qat` turn gradients into steps of the parameters.
package enum OptimizerKind: String, Choice {
    case adamw
    /// Gradient descent with momentum.
    case sgd
}

/// `training.*`: number and size of steps, the learning rate, the seed.
package struct TrainingSettings: Sendable, Equatable {
    package var steps: Int
    /// Sequences per step, over all ranks.
    package var batchSize: Int
    /// nil for what suits the job.
    package var learningRate: Double?
    package var schedule: Schedule
    package var warmupSteps: Int
    package var seed: Int
    package var recompute: Bool
    /// Of the products of the passes that learn; evaluations and what is written are computed in float32.
    package var precision: ProductPrecision
    /// Of all of a network's parameters; rotations have their own.
    package var optimizer: OptimizerKind

    /// The most sequences that a step may have.
    package static let largestBatch = 1_048_576

    /// The learning rates that `auto` stands for. That of rotations suits the divergence, whose gradient is small; for the
    /// cross-entropy it is the published one; without a backward pass, it is in units of 1/‖S‖₁.
    package static func automaticRate(_ objective: RotationObjective) -> Double {
        switch objective {
        case .divergence: 400
        case .crossEntropy: 1.5
        case .range, .whip, .kurtosis, .weights: 2
        }
    }

    /// The learning rate that `auto` stands for in `train` and `qat`.
    package static func automaticRate(_ optimizer: OptimizerKind) -> Double {
        switch optimizer {
        case .adamw: 5e-4
        case .sgd: 0.05
        }
    }

    init(_ key: Settings) {
        steps = key("steps", 100, "optimizer steps", .range(1...10_000_000))
        batchSize = key("batch_size", 8, "sequences per step, over all ranks", .range(1...Self.largestBatch))
        learningRate = key.optional(
            "learning_rate", orElse: "auto",
            "learning rate after the warm-up; auto: \(Self.automaticRate(.divergence).settingText) for rotations (objective "
                + "ce: \(Self.automaticRate(.crossEntropy).settingText); without a backward pass, relative to the gradient: "
                + "\(Self.automaticRate(.range).settingText)), "
                + "\(Self.automaticRate(.adamw).settingText) for AdamW, \(Self.automaticRate(.sgd).settingText) for SGD",
            .above(0, upTo: 1e6))
        schedule = key("schedule", .cosine, "the learning rate over the steps, to zero unless constant")
        warmupSteps = key("warmup_steps", 0, "steps over which the rate rises from zero", .range(0...10_000_000))
        seed = key("seed", 0, "seed of all random numbers: the same seed and ranks give the same bits", .atLeast(0))
        recompute = key("recompute", false, "compute each layer's activations again in the backward pass, to save memory")
        precision = key(
            "precision", .float32,
            "precision of the products in training passes; bfloat16: faster on processors with AVX512_BF16, slower on "
                + "others; sums, rotating weights, and evaluations stay in float32")
        optimizer = key("optimizer", .adamw, "of train and qat; rotations are learned by Cayley SGD (rotation.*)")
    }
}

extension PipelineSchedule: Choice {}

extension ProductPrecision: Choice {}

/// `parallel.*`: how ranks are divided into replicas and stages, and threads of a rank.
package struct ParallelSettings: Sendable, Equatable {
    /// Replicas; nil for world / pipeline.
    package var data: Int?
    /// Stages; nil to choose.
    package var pipeline: Int?
    /// Micro-batches of a replica in a step; nil to choose.
    package var microbatches: Int?
    package var schedule: PipelineSchedule
    /// Threads of a rank; nil for the number from the environment or, without one, the rank's share of the node's cores.
    package var threads: Int?

    init(_ key: Settings) {
        data = key.optional("data", orElse: "auto", "replicas; data × pipeline is the number of ranks", .range(1...1_048_576))
        pipeline = key.optional("pipeline", orElse: "auto", "stages the layers are divided into", .range(1...1_048_576))
        microbatches = key.optional(
            "microbatches", orElse: "auto",
            "micro-batches of a replica in a step; auto: of about 512 tokens each, and at least one per stage",
            .range(1...1_048_576))
        schedule = key(
            "schedule", .oneForwardOneBackward,
            "1f1b: alternate forward and backward passes; 1f1b-slack: one micro-batch further ahead, which waits less where "
                + "passes take unequal times; gpipe: all forward first; the same results, with more memory each")
        threads = key.optional(
            "threads", orElse: "auto",
            "threads of a rank; auto: OPENBLAS_NUM_THREADS or OMP_NUM_THREADS, else the rank's share of the node's cores. No "
                + "result depends on them",
            .range(1...256))
    }
}

/// `checkpoint.*`: how often a run saves its state, and how many of these stay.
package struct CheckpointSettings: Sendable, Equatable {
    /// Steps from one to the next; 0 for none but when the run is asked to stop.
    package var every: Int
    package var keep: Int

    init(_ key: Settings) {
        every = key(
            "every", 50, "steps between checkpoints, and one at the end; 0: only when asked to stop", .range(0...10_000_000))
        keep = key("keep", 2, "newest checkpoints kept", .range(1...1_000_000))
    }
}

/// `watchdog.*`: how long a rank may wait or hang before the run ends with 75.
package struct WatchdogSettings: Sendable, Equatable {
    /// Seconds.
    package var step: Double
    package var checkpoint: Double

    init(_ key: Settings) {
        let help = "timeout in seconds: a % without progress for so long ends the run with exit code 75"
        step = key("step", 1800, help.replacing("%", with: "step, or a rank that others wait for,"), .above(0, upTo: 1e7))
        checkpoint = key("checkpoint", 600, help.replacing("%", with: "checkpoint"), .above(0, upTo: 1e7))
    }
}

extension BusTransport: Choice {}
extension BusTopology.Choice: Choice {}

/// `bus.*`: how ternary layers travel between ranks in `qat`.
package struct BusSettings: Sendable, Equatable {
    package var route = BusRoute.Settings()

    init(_ key: Settings) {
        route.transport = key("transport", .auto, "carrier of layer transitions; auto: ipc on one node, tcp on several")
        route.interface = key.optional(
            "interface", orElse: "auto", "tcp: name or IPv4 address of the interface that reaches the other nodes; auto: found")
        route.topology = key(
            "topology", .auto,
            "direct: every rank connects to every other; relay: to a relay of its node, and these to each other; auto: direct "
                + "for up to \(BusTopology.directRanks) ranks")
        route.ranksPerRelay = key.optional(
            "ranks_per_relay", orElse: "auto", "ranks that share a relay at most; auto: all of a node", .range(1...1_048_576))
    }
}

/// `verify.*`: how far the logits of two models may differ.
package struct VerifySettings: Sendable, Equatable {
    /// Largest accepted change of a logit, relative to the largest logit; nil for what suits the folders' types.
    package var tolerance: Double?

    /// The rounding of float32 sums.
    package static let exactTolerance = 2e-4
    /// Of weights that were rotated and rounded to 16 bits: 1.6 % was seen for the embedded model in bfloat16.
    package static let roundedTolerance = 0.05

    init(_ key: Settings) {
        tolerance = key.optional(
            "tolerance", orElse: "auto",
            "largest change of a logit accepted by verify, relative to the largest logit; auto: \(Self.exactTolerance), but "
                + "\(Self.roundedTolerance) where a folder of 16-bit weights holds others than the other one",
            .above(0, upTo: 1))
    }
}
