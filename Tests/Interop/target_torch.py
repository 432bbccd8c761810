"""R.bin as torch.load reads it with weights_only=True."""
import os

import numpy as np
import torch
from safetensors.numpy import save_file

from interop import check, export, place

run = place("rotations")
os.makedirs(run, exist_ok=True)
random = np.random.default_rng(1)
names = {"R1": 64, **{f"model.layers.{layer}.self_attn.R2": 16 for layer in range(3)}}
rotations = {name: np.linalg.qr(random.standard_normal((size, size)))[0].astype(np.float32) for name, size in names.items()}
save_file(rotations, f"{run}/rotations.safetensors")
loaded = torch.load(export("r-bin", "R.bin", source=run), weights_only=True, map_location="cpu")
check(list(loaded) == list(names), f"R.bin holds {', '.join(loaded)}")
check(all(np.array_equal(loaded[name].numpy(), rotations[name]) for name in names), "every rotation equal bit for bit")
