"""GGUF files as llama.cpp runs them: it cuts the text into the tokens that Hugging Face's library and sq-train make of it, and its
perplexity is within 1 % of sq-train's for the same file.
"""
import numpy as np
from tokenizers import Tokenizer

import llama_api
from interop import MODEL, check, export, imported, perplexity, skip, text, windows

if llama_api.library() is None:
    skip("neither llama-cpp-python nor xllamacpp is installed")
expected = np.array(Tokenizer.from_file(f"{MODEL}/tokenizer.json").encode(text(), add_special_tokens=False).ids)
for precision in ("f16", "q8_0", "q4_0"):
    path = export(f"gguf-{precision}", f"{precision}.gguf")
    model = llama_api.Llama(path)
    tokens = model.tokenize(text())
    check(np.array_equal(tokens, expected), f"{precision}: {len(expected)} tokens of the text, {len(tokens)} by llama.cpp, the same")
    theirs, ours = model.perplexity(windows(tokens)), perplexity(imported(path))
    check(abs(theirs / ours - 1) <= 0.01, f"{precision}: perplexity {theirs:.4f} by llama.cpp ({model.origin}), {ours:.4f} by sq-train")
