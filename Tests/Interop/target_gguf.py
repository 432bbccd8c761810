"""GGUF files as the package gguf reads them: every tensor that it dequantizes is, bit for bit, the one that `sq-train import` makes
of the file, and the package encodes the same numbers to the same bytes.
"""
import sys

import numpy as np
from gguf import GGUFReader, GGMLQuantizationType, quants

import checkpoint
from interop import check, export, imported


def halves(array, heads):
    """Rows as transformers has them, of rows that llama.cpp has in turn from the two halves of each head."""
    shape = array.shape
    return array.reshape(heads, shape[0] // heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def value(reader, key):
    return reader.get_field(key).contents()


def own_name(name):
    ends = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    parts = {
        "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }
    words = name.split(".")
    return f"{ends[words[0]]}.{words[1]}" if words[0] in ends else f"model.layers.{words[1]}.{parts[words[2]]}.{words[3]}"


def compare(path, folder, float_path):
    reader, ours = GGUFReader(path), checkpoint.tensors(folder)
    floats = {tensor.name: tensor for tensor in GGUFReader(float_path).tensors}
    architecture = value(reader, "general.architecture")
    heads = {"attn_q": value(reader, f"{architecture}.attention.head_count"),
             "attn_k": value(reader, f"{architecture}.attention.head_count_kv")}
    tensors = elements = encoded = 0
    for tensor in reader.tensors:
        array = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        kind = tensor.name.split(".")[2] if tensor.name.startswith("blk.") else ""
        if architecture == "llama" and kind in heads:
            array = halves(array, heads[kind])
        expected = ours.pop(own_name(tensor.name))
        if not np.array_equal(array.view(np.uint32), expected.view(np.uint32)):
            check(False, f"{tensor.name}: {np.sum(array != expected)} of {array.size} elements differ")
        tensors, elements = tensors + 1, elements + array.size
        if tensor.tensor_type != GGMLQuantizationType.F32:
            blocks = quants.quantize(floats[tensor.name].data, tensor.tensor_type)
            if not np.array_equal(blocks.view(np.uint8).ravel(), tensor.data.view(np.uint8).ravel()):
                check(False, f"{tensor.name}: the package encodes it otherwise")
            encoded += 1
    check(not ours, f"{path}: {tensors} tensors, {elements} elements equal bit for bit; {encoded} encoded to the same bytes")


if __name__ == "__main__":
    floats = export("gguf-f32", "f32.gguf")
    for precision in sys.argv[1:] or ["f16", "bf16", "q8_0", "q4_0"]:
        path = export(f"gguf-{precision}", f"{precision}.gguf")
        compare(path, imported(path), floats)
