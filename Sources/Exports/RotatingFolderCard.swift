internal import Support

/// The README.md of a folder with `transform_config`: above all how transformers has to load it.
struct RotatingFolderCard {
    private let name: String
    /// Of what vLLM does with it.
    private let vLLM: String

    /// - Parameter roundsPacked: whether inputs of packed integers are rounded.
    init(_ path: String, roundsPacked: Bool) {
        name = path.split(separator: "/").last.map(String.init) ?? path
        vLLM =
            roundsPacked
            ? "refuses the folder: it does not support packed integers with rounded inputs"
            : "follows `transform_config`, but not with tensor parallelism"
    }

    var text: String {
        """
        # \(name)

        Packed integers for compressed-tensors, by \(ProgramVersion.name). The input of the down projections is rotated at run
        time (R4), as `transform_config` in config.json says. **A program that does not read `transform_config` gives wrong
        answers.**

        - sq-train runs the folder as it is.
        - vLLM \(vLLM).
        - transformers 5.24 with compressed-tensors 0.20 loads the folder and silently ignores the rotation. It has to be
          loaded so:

        ```python
        import glob, json
        from compressed_tensors.transform import TransformConfig, apply_transform_config
        from safetensors.torch import load_file
        from transformers import AutoModelForCausalLM

        def load(folder, **options):
            model = AutoModelForCausalLM.from_pretrained(folder, **options)
            with open(f"{folder}/config.json") as file:
                rotations = TransformConfig.model_validate(json.load(file)["quantization_config"]["transform_config"])
            apply_transform_config(model, rotations)
            prefixes = [f".{name}_" for name in rotations.config_groups]
            for path in glob.glob(f"{folder}/*.safetensors"):
                matrices = {key: value for key, value in load_file(path).items() if any(prefix in key for prefix in prefixes)}
                model.load_state_dict(matrices, strict=False)
            return model
        ```

        """
    }
}
