import Support
import TestSupport
import Testing

@testable import Configuration

/// What a command line gives to no effect is told; what other jobs of one file need is not.
@Suite struct IdleSettingTests {
    private func warnings(_ job: String, _ settings: [String], file: String? = nil) throws -> [String] {
        var lines: [String] = []
        _ = try SettingsRequest(file: file, assignments: settings).configuration(job: job) { lines.append($0) }
        return lines
    }

    @Test(arguments: [
        ("quantize", ["quantization.weights.gptq.compensation=0.5"], ["quantization.weights.method=gptq"]),
        (
            "quantize", ["quantization.weights.gptq.activation_order=true", "quantization.weights.bits=4"],
            ["quantize.recipe=auto"]
        ),
        ("quantize", ["quantization.clip_ratios=rotated"], ["fewer than 16 bits"]),
        ("quantize", ["quantization.weights.group_size=64"], ["granularity=group"]),
        ("quantize", ["quantization.weights.group_size=128"], ["granularity=group"]),
        ("quantize", ["quantize.learning_steps=5", "quantize.held_out=4"], ["recipe=auto", "transform=learned"]),
        ("quantize", ["ternary.bits=2", "ternary.weighting=both", "training.precision=bfloat16"], ["rotate", "ptq", "ptq"]),
        ("rotate", ["quantize.balance=true", "qat.distill=true", "optimizer.beta1=0.5"], ["train", "qat", "quantize"]),
        ("quantize", ["quantization.kv.symmetric=true"], ["quantization.kv.bits"]),
        (
            "quantize", ["quantize.transform=learned", "rotation.objective=range"], ["rotate, which"]
        ),
        ("eval", ["rotation.gradient=straight-through"], ["rotate and qat"]),
        ("ptq", ["quantization.weights.group_size=128"], ["rotate, quantize, eval"]),
        ("ptq", ["training.precision=bfloat16"], ["rotate, train and qat"]),
        ("qat", ["qat.method=integer", "ternary.tolerance=0.2"], ["qat.method=ternary"]),
        ("quantize", ["quantization.weights.bits=4", "calibration.sequences=8"], ["GPTQ"]),
        (
            "ptq", ["ternary.bits=2", "ternary.weighting=both", "ternary.tolerance=0.3", "ternary.balance=false"],
            ["without ternary.bits", "without ternary.bits"]
        ),
        ("ptq", ["calibration.sequences=8"], ["ternary.weighting=inputs or both"]),
        ("rotate", ["calibration.sequences=8", "model.dense=true"], ["rotation.balance", "quantization.weights.bits"]),
        ("rotate", ["quantization.activations.symmetric_range=restricted"], ["activations.symmetric=true"]),
        (
            "quantize", ["eval.tasks=text=a.jsonl", "eval.hadamard=true", "eval.compare=false"],
            ["is for eval", "is for eval", "ternary layers"]
        ),
        ("ptq", ["eval.limit=5", "eval.product=integer"], ["eval", "eval"]),
        ("eval", ["eval.limit=5", "eval.max_length=64"], ["eval.tasks", "eval.tasks"]),
        (
            "ptq", ["quantization.weights.bits=4", "quantization.activations.bits=8", "rotation.r1=none"],
            ["rotate, quantize, eval", "rotate, quantize, eval", "rotate, quantize, eval"]
        ),
        ("qat", ["quantization.kv.bits=8"], ["qat.method=integer"]),
        ("train", ["quantization.weights.bits=4", "model.dense=true"], ["qat.method=integer", "write packed"]),
        (
            "qat",
            [
                "qat.method=integer", "rotation.r1=none", "rotation.r2=none", "rotation.r3=none", "rotation.r4=none",
                "rotation.momentum=0.5",
            ],
            ["begin without a file", "begin without a file", "quantize.online", "quantize.online", "transform=learned"]
        ),
        ("quantize", ["rotation.r1=none", "rotation.r4=none", "rotation.tokens=8"], ["r1", "online", "transform=learned"]),
        ("eval", ["rotation.r2=none", "rotation.r3=none"], ["eval.hadamard", "eval.hadamard"]),
        (
            "eval", ["quantization.weights.method=stored", "quantization.overrides=*=4", "quantization.head_bits=4"],
            ["stored rounded", "stored rounded"]
        ),
        ("train", ["verify.tolerance=0.1", "plan.nodes=2"], ["verify and rotate", "is for plan"]),
        ("plan", ["plan.job=ptq", "plan.nodes=2", "ternary.tolerance=0.2", "qat.distill=true"], ["is for qat"]),
        (
            "profile", ["quantization.weights.bits=4", "ternary.tolerance=0.2", "out=a"],
            ["model.path, ternary.threshold", "profile reads", "--set out"]
        ),
        (
            "verify", ["model.path=a", "data.bos=sequence", "parallel.threads=2", "data.train.path=a.txt"],
            ["model.path", "data.bos", "parallel.threads", "verify reads data.eval.path, "]
        ),
        ("generate", ["calibration.sequences=8", "qat.distill=true"], ["calibration", "generate reads"]),
        (
            "ptq",
            [
                "training.steps=5", "training.batch_size=2", "training.optimizer=sgd", "checkpoint.every=2",
                "data.train.path=a.txt",
            ],
            ["rotate, train and qat", "quantize.recipe=auto", "train and qat", "rotate, train and qat", "calibrate"]
        ),
        ("quantize", ["quantize.transform=learned", "training.learning_rate=1"], ["rotate, train and qat"]),
        (
            "quantize", ["quantization.weights.bits=4", "data.train.path=a.txt", "training.recompute=true"],
            ["GPTQ", "kl or ce"]
        ),
        (
            "rotate",
            [
                "rotation.objective=weights", "training.recompute=true", "parallel.microbatches=2",
                "parallel.schedule=gpipe",
            ],
            ["kl or ce", "kl or ce", "kl or ce"]
        ),
        ("eval", ["training.warmup_steps=2", "checkpoint.keep=3", "training.schedule=constant"], ["qat", "qat", "auto"]),
        ("rotate", ["rotation.objective=weights", "data.train.path=a.txt"], ["learn rotations by a text"]),
        ("eval", ["parallel.microbatches=3"], ["kl or ce"]), ("ptq", ["parallel.schedule=gpipe"], ["kl or ce"]),
        (
            "eval",
            [
                "quantization.weights.granularity=group", "quantization.weights.symmetric=false",
                "quantization.weights.clip=none",
            ], ["fewer than 16 bits", "fewer than 16 bits", "fewer than 16 bits"]
        ),
        ("ptq", ["ternary.prune_rate=0.5", "ternary.adapt_every=2"], ["qat.method=ternary", "qat.method=ternary"]),
        ("train", ["optimizer.momentum=0.5"], ["training.optimizer=sgd"]),
        (
            "qat", ["training.optimizer=sgd", "optimizer.beta1=0.5", "optimizer.beta2=0.5", "optimizer.epsilon=0.1"],
            ["training.optimizer=adamw", "training.optimizer=adamw", "training.optimizer=adamw"]
        ),
        ("rotate", ["rotation.sequences=5", "rotation.tokens=8"], ["range, whip or kurtosis", "rotation.starts"]),
        ("train", ["bus.transport=mpi"], ["qat.method=ternary"]),
        ("qat", ["qat.method=integer", "bus.topology=relay", "ternary.adapt_every=2"], ["qat.method=ternary", "ternary"]),
        (
            "quantize", ["quantize.balance=true", "quantization.weights.bits=4", "calibration.mode=full-precision"],
            ["GPTQ and ternary.weighting"]
        ),
    ]) func `an assignment to no effect is told, with what it is for`(
        _ job: String, _ settings: [String], _ purposes: [String]
    ) throws {
        let lines = try warnings(job, settings)
        #expect(lines.count == purposes.count, "\(lines)")
        for purpose in purposes { #expect(lines.contains { $0.contains(purpose) && $0.contains("has no effect here") }) }
    }

    @Test(arguments: [
        ("quantize", ["quantization.weights.method=gptq", "quantization.weights.gptq.compensation=0.5"]),
        ("quantize", ["quantize.recipe=auto", "quantization.weights.gptq.damping=0.1", "quantize.held_out=4"]),
        ("quantize", ["quantization.kv.bits=4", "quantization.clip_ratios=rotated"]),
        ("quantize", ["quantization.weights.granularity=group", "quantization.weights.group_size=64"]),
        ("quantize", ["quantize.transform=learned", "quantize.learning_steps=5"]),
        ("quantize", ["quantization.activations.bits=8", "quantization.activations.head_ranges=false"]),
        ("rotate", ["training.precision=bfloat16", "quantization.clip_ratios=rotated"]),
        ("ptq", ["ternary.bits=2", "ternary.weighting=both", "ternary.sparsity=2:4"]),
        ("qat", ["ternary.tolerance=0.2", "qat.distill=true", "optimizer.beta1=0.5"]),
        ("quantize", ["quantize.recipe=auto", "calibration.sequences=8"]),
        ("quantize", ["quantize.transform=smoothquant", "calibration.sequences=8", "quantization.weights.bits=4"]),
        ("quantize", ["quantization.weights.bits=4", "quantization.weights.method=gptq", "calibration.sequences=8"]),
        ("eval", ["eval.tasks=text=a.jsonl", "eval.limit=5", "eval.max_length=64"]),
        ("eval", ["eval.product=integer", "eval.compare=false"]),
        ("ptq", ["eval.compare=false", "data.eval.windows=2"]), ("qat", ["eval.compare=false"]),
        ("rotate", ["rotation.balance=true", "calibration.sequences=8"]), ("ptq", ["model.dense=true"]),
        (
            "qat",
            ["qat.method=integer", "quantization.weights.bits=4", "rotation.gradient=straight-through", "model.dense=true"]
        ),
        ("quantize", ["quantize.transform=hadamard", "rotation.r1=none", "quantize.online=true", "rotation.r4=none"]),
        ("quantize", ["quantize.recipe=auto", "rotation.r2=none", "rotation.momentum=0.5"]),
        ("eval", ["eval.hadamard=true", "rotation.r2=none", "rotation.r3=none"]),
        ("rotate", ["rotation.r1=none", "rotation.r3=none", "rotation.momentum=0.5", "verify.tolerance=0.1"]),
        ("qat", ["qat.method=integer", "rotation.balance=true", "rotation.gradient=straight-through"]),
        ("profile", ["ternary.threshold=0.6", "model.path=a"]),
        ("verify", ["data.eval.path=a.txt", "data.sequence_length=32", "training.seed=3", "verify.tolerance=0.1"]),
        ("generate", ["generate.max_tokens=8", "training.seed=3", "parallel.threads=1"]),
        ("plan", ["plan.nodes=2", "optimizer.shard=true", "plan.job=train"]),
        ("ptq", ["ternary.weighting=inputs", "data.train.path=a.txt", "training.seed=2"]),
        ("quantize", ["quantize.transform=learned", "training.batch_size=2", "training.schedule=constant"]),
        ("quantize", ["quantization.weights.bits=4", "quantization.weights.method=gptq", "data.train.path=a.txt"]),
        ("rotate", ["training.steps=5", "training.batch_size=2", "checkpoint.every=2", "data.train.path=a.txt"]),
        ("plan", ["plan.job=train", "training.steps=5", "training.optimizer=sgd", "checkpoint.every=2"]),
        ("train", ["parallel.microbatches=3", "training.optimizer=sgd", "optimizer.momentum=0.5"]),
        ("eval", ["quantization.weights.bits=4", "quantization.weights.granularity=tensor"]),
        ("eval", ["quantization.overrides=*=4", "quantization.weights.symmetric=false"]),
        ("eval", ["quantization.head_bits=4", "quantization.weights.clip=none"]),
        ("rotate", ["quantization.weights.granularity=tensor", "quantization.weights.clip=none"]),
        ("qat", ["ternary.prune_rate=0.5", "ternary.adapt_every=2", "bus.transport=mpi", "optimizer.epsilon=0.1"]),
        ("rotate", ["rotation.objective=range", "rotation.sequences=5", "rotation.tokens=8"]),
        ("rotate", ["rotation.starts=2", "rotation.sequences=5"]),
        ("rotate", ["rotation.pretrain_steps=2", "rotation.tokens=8"]),
        ("quantize", ["quantize.transform=learned", "rotation.tokens=8"]),
        ("ptq", ["ternary.weighting=both", "calibration.mode=full-precision"]),
        ("quantize", ["quantization.weights.method=gptq", "calibration.mode=full-precision"]),
        ("quantize", ["quantize.recipe=auto", "calibration.mode=full-precision"]),
        // A default says nothing.
        ("train", ["ternary.tolerance=0.1"]), ("rotate", ["quantization.clip_ratios=none"]),
    ]) func `what a job uses is not`(_ job: String, _ settings: [String]) throws {
        #expect(try warnings(job, settings) == [])
    }

    @Test(arguments: ["profile", "verify", "generate", "train"])
    func `a file that is not read is refused`(command: String) {
        #expect(throws: ConfigurationError.self) { try warnings(command, ["rotation.path=r"]) }
    }

    @Test func `a model that an argument names is not given again`() {
        let request = SettingsRequest(assignments: ["model.path=a"])
        #expect(throws: ConfigurationError.self) { try request.checkModel(isNot: "b") }
    }

    @Test func `a file may hold settings of other jobs`() throws {
        let folder = try TemporaryFolder()
        try AtomicFile.write("qat:\n  distill: true\nternary:\n  bits: 2\n  weighting: both\n", to: folder.file("a.yaml"))
        #expect(try warnings("rotate", [], file: folder.file("a.yaml")) == [])
        #expect(try warnings("rotate", ["ternary.bits=3"], file: folder.file("a.yaml")).count == 1)
    }
}
