"""The dense folder as transformers loads it, in float32: the perplexity is sq-train's to 1e-5, its own tokenizer included."""
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from interop import check, export, perplexity, text, windows

folder = export("huggingface", "huggingface", "--shard-bytes", "100MiB")
tokens = AutoTokenizer.from_pretrained(folder).encode(text(), add_special_tokens=False)
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
total = count = 0
with torch.no_grad():
    for window in torch.from_numpy(windows(tokens)):
        losses = torch.nn.functional.cross_entropy(model(window[None]).logits[0, :-1].double(), window[1:], reduction="sum")
        total, count = total + float(losses), count + len(window) - 1
theirs, ours = float(np.exp(total / count)), perplexity(folder)
check(abs(theirs / ours - 1) <= 1e-5, f"perplexity {theirs:.6f} by transformers, {ours:.6f} by sq-train")
