"""A Hugging Face folder's tensors, in float32."""
import glob

from safetensors import safe_open


def tensors(folder):
    result = {}
    for path in sorted(glob.glob(f"{folder}/*.safetensors")):
        with safe_open(path, "numpy") as file:
            for name in file.keys():
                result[name] = file.get_tensor(name)
    return result
