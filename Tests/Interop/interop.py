"""What the targets share: the program, the model and the text that launch/interop names, and how a target ends."""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

PROGRAM, MODEL, TEXT, WORK = (os.environ[f"INTEROP_{name}"] for name in ("PROGRAM", "MODEL", "TEXT", "WORK"))
LENGTH, WINDOWS = int(os.environ.get("INTEROP_LENGTH", 256)), int(os.environ.get("INTEROP_WINDOWS", 8))
SKIPPED = 77


def skip(reason):
    """Ends a target that cannot run here."""
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def check(holds, claim):
    """Says what was checked, or ends the target."""
    print(f"{'ok' if holds else 'FAILED'}: {claim}", flush=True)
    if not holds:
        sys.exit(1)


def place(name):
    return str(pathlib.Path(WORK) / name)


def program(*arguments):
    """Runs sq-train; its standard output."""
    result = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    if result.returncode != 0:
        sys.exit(f"sq-train {' '.join(arguments)} ended with {result.returncode}: {result.stderr.strip()}")
    return result.stdout


def export(format, name, *options, source=MODEL):
    """The path of MODEL in another format, made once."""
    path = place(name)
    if not os.path.exists(path):
        program("export", source, "--format", format, "--out", path, *options)
    return path


def imported(path):
    """The folder that sq-train makes of a GGUF file, in float32."""
    folder = path.removesuffix(".gguf") + "-imported"
    if not os.path.exists(folder):
        program("import", path, "--out", folder, "--dtype", "float32")
    return folder


def perplexity(folder):
    """sq-train's, of the first windows of the text."""
    run = f"{folder}-eval"
    program(
        "eval", folder, "--out", run, "--overwrite", "--set", f"data.eval.path={TEXT}",
        "--set", f"data.sequence_length={LENGTH}", "--set", f"data.eval.windows={WINDOWS}",
        "--set", "quantization.activations.bits=16", "--set", "quantization.kv.bits=16")
    with open(f"{run}/summary.json") as file:
        return json.load(file)["perplexity"]["full_precision"]


def windows(tokens):
    """The windows that sq-train scores: consecutive, of LENGTH tokens."""
    count = min(WINDOWS, len(tokens) // LENGTH)
    return np.asarray(tokens[: count * LENGTH], np.int64).reshape(count, LENGTH)


def text():
    with open(TEXT, encoding="utf-8", newline="") as file:
        return file.read()
