"""Ternary linears as ONNX Runtime computes them: each chain gives the product with the matrix that its factors stand for."""
import os

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

from interop import MODEL, TEXT, check, export, place, program

run = place("ptq")
program(
    "ptq", MODEL, "--out", run, "--set", f"data.eval.path={TEXT}", "--set", "data.eval.windows=2", "--set", "eval.compare=false",
    "--set", "ternary.tolerance=0.2", "--set", f"ternary.layers={os.environ.get('INTEROP_LAYERS', 'model.layers.0.*')}")
path = export("onnx", "factors.onnx", source=run)
onnx.checker.check_model(onnx.load(path))
weights = load_file(f"{export('huggingface', 'dense', '--dtype', 'float32', source=run)}/model.safetensors")
session = onnxruntime.InferenceSession(path)
random = np.random.default_rng(1)
inputs = {value.name: random.standard_normal((5, value.shape[1]), dtype=np.float32) for value in session.get_inputs()}
worst = 0.0
for value in session.get_outputs():
    name = value.name.removesuffix(".output")
    found, expected = session.run([value.name], inputs)[0], inputs[f"{name}.input"] @ weights[f"{name}.weight"].T
    expected += weights.get(f"{name}.bias", 0)
    worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
check(worst <= 1e-4, f"{len(inputs)} linears by ONNX Runtime within {worst:.1e} of the matrices")
