import TestSupport
import Testing

extension CommandLineTests {
    /// What settings and the model's folder tell is told before anything is made of it, and once.
    @Suite struct Refusals {
        @Test(
            arguments: [
                ("eval", ["quantization.overrides=nosuch=4"], "matches none of the model's linear layers"),
                (
                    "eval",
                    [
                        "quantization.overrides=*.q_proj=3", "quantization.weights.granularity=group",
                        "quantization.weights.group_size=10",
                    ], "10 does not divide"
                ),
                (
                    "quantize", ["quantization.weights.bits=4", "quantize.recipe=auto", "data.train.path=one.safetensors"],
                    "at least two sequences (data.train.path)"
                ),
                (
                    "quantize",
                    [
                        "quantization.weights.bits=4", "quantize.recipe=auto", "data.train.path=sampled",
                        "data.sampled_sequences=1",
                    ], "at least two sequences (data.sampled_sequences)"
                ),
            ], [0, 2])
        func `a run that cannot be made leaves no folder`(_ wrong: (String, [String], String), _ ranks: Int) throws {
            let (model, (job, settings, fragment)) = (try ModelFolder(), wrong)
            let tokens = [UInt8](repeating: 0, count: 64)
            let header = #"{"input_ids":{"dtype":"I32","shape":[1,16],"data_offsets":[0,64]}}"#
            try model.write(ModelFolder.safetensors(header: header, data: tokens), to: "one.safetensors")
            try Program.expectRefusal(
                [job] + model.arguments() + settings.flatMap { ["--set", $0] }, in: model.path, ranks: ranks, code: 78,
                fragment: fragment)
        }

        @Test(arguments: [0, 2]) func `products in integers need inputs of few bits, which the folder tells`(_ ranks: Int)
            throws
        {
            let model = try ModelFolder()
            let made = try Program.run(
                ["quantize"] + model.arguments() + ["--set", "quantization.weights.bits=4"], in: model.path)
            #expect(made.code == 0, "\(made.errors)")
            let settings = ["data.eval.path=data.safetensors", "data.sequence_length=16", "eval.product=integer"]
            try Program.expectRefusal(
                ["eval", "out/model"] + settings.flatMap { ["--set", $0] } + ["--out", "scored"], in: model.path, ranks: ranks,
                code: 78, fragment: "needs activations of 2 to 8 bits")
        }

        /// Bits that layers cannot have are known after a part of the work, by all ranks at a time. mpirun takes its usual time
        /// to end them.
        @Test func `what all ranks find is told once`() throws {
            let model = try ModelFolder()
            let settings = ["ternary.bits=8", "ternary.weighting=both"]
            let outcome = try Program.run(
                ["ptq"] + model.arguments() + settings.flatMap { ["--set", $0] }, in: model.path, ranks: 2,
                environment: ["OMPI_MCA_odls_base_sigkill_timeout": nil])
            #expect(outcome.code == 78 && outcome.errorLines.count == 1, "\(outcome.errors)")
        }
    }
}
