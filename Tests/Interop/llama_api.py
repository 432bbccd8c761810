"""The little of llama.h that tokenizing and scoring take, by ctypes: of llama-cpp-python's library or, where that is not
installed, of the one in the wheel xllamacpp.

Parameters stay the library's own defaults. They are passed as blobs larger than any version's structs: a callee reads and writes
only its own part of them, and only fields that have stood at the beginning for years are set.
"""
import ctypes
import importlib.util
import pathlib

import numpy as np


class Blob(ctypes.Structure):
    _fields_ = [("words", ctypes.c_uint32 * 256)]


class Batch(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int32)] + [
        (name, ctypes.c_void_p) for name in ("tokens", "embeddings", "positions", "sequence_counts", "sequences", "outputs")]


def library():
    """A loaded library and what it is; None without one."""
    for package, pattern in (("llama_cpp", "lib/libllama.so"), ("xllamacpp", "*.so")):
        spec = importlib.util.find_spec(package)
        files = [] if spec is None else sorted(pathlib.Path(spec.origin).parent.glob(pattern))
        if files:
            return ctypes.CDLL(str(files[0]), ctypes.RTLD_GLOBAL), package
    return None


class Llama:
    def __init__(self, path, context=2048):
        self.api, self.origin = library()
        self.path, self.context_size, self.context = path, context, None
        for name, result, arguments in (
            ("llama_model_default_params", Blob, []), ("llama_context_default_params", Blob, []),
            ("llama_model_load_from_file", ctypes.c_void_p, [ctypes.c_char_p, Blob]),
            ("llama_init_from_model", ctypes.c_void_p, [ctypes.c_void_p, Blob]),
            ("llama_model_get_vocab", ctypes.c_void_p, [ctypes.c_void_p]),
            ("llama_vocab_n_tokens", ctypes.c_int32, [ctypes.c_void_p]),
            ("llama_get_memory", ctypes.c_void_p, [ctypes.c_void_p]),
            ("llama_memory_clear", None, [ctypes.c_void_p, ctypes.c_bool]),
            ("llama_decode", ctypes.c_int32, [ctypes.c_void_p, Batch]),
            ("llama_get_logits", ctypes.POINTER(ctypes.c_float), [ctypes.c_void_p]),
            ("llama_tokenize", ctypes.c_int32,
             [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]),
            ("llama_set_n_threads", None, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]),
            ("llama_log_set", None, [ctypes.c_void_p, ctypes.c_void_p]), ("llama_backend_init", None, []),
        ):
            function = getattr(self.api, name)
            function.restype, function.argtypes = result, arguments
        self.lines = []
        log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        self.log = log(lambda level, text, _: self.lines.append(text.decode("utf-8", "replace")))
        self.api.llama_log_set(self.log, None)
        self.api.llama_backend_init()
        self.model = self.api.llama_model_load_from_file(path.encode(), self.api.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"{path}: llama.cpp refuses it: {''.join(self.lines[-6:])}")
        self.vocabulary = self.api.llama_model_get_vocab(self.model)
        self.size = self.api.llama_vocab_n_tokens(self.vocabulary)

    def tokenize(self, text):
        data = text.encode()
        tokens = np.empty(len(data) + 8, np.int32)
        count = self.api.llama_tokenize(self.vocabulary, data, len(data), tokens.ctypes.data, len(tokens), False, False)
        return tokens[:count].copy()

    def logits(self, tokens):
        """Of every position, [T, vocabulary]."""
        if self.context is None:
            parameters = self.api.llama_context_default_params()
            for place in range(3):  # n_ctx, n_batch, n_ubatch
                parameters.words[place] = self.context_size
            self.context = self.api.llama_init_from_model(self.model, parameters)
            if not self.context:
                raise SystemExit(f"{self.path}: no context: {''.join(self.lines[-6:])}")
            self.api.llama_set_n_threads(self.context, 1, 1)
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        tokens = np.ascontiguousarray(tokens, np.int32)
        outputs = np.ones(len(tokens), np.int8)
        batch = Batch(count=len(tokens), tokens=tokens.ctypes.data, outputs=outputs.ctypes.data)
        if self.api.llama_decode(self.context, batch) != 0:
            raise SystemExit(f"{self.path}: llama.cpp does not run it: {''.join(self.lines[-6:])}")
        return np.ctypeslib.as_array(self.api.llama_get_logits(self.context), (len(tokens), self.size)).astype(np.float64)

    def perplexity(self, windows):
        """exp of the mean over all windows of −ln p(next token), the first token of a window not scored."""
        total = count = 0
        for window in windows:
            logits = self.logits(window)[:-1]
            peak = logits.max(axis=1)
            total += np.sum(np.log(np.exp(logits - peak[:, None]).sum(axis=1)) + peak - logits[np.arange(len(window) - 1), window[1:]])
            count += len(window) - 1
        return float(np.exp(total / count))
