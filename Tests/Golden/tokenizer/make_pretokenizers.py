"""Writes pretokenizers.json: what Hugging Face's tokenizers package (0.23.3) makes of texts.

    pip install tokenizers==0.23.3
    python make_pretokenizers.py

"pieces": for each pre-tokenizer the lengths in bytes of its pieces of each text; "models": for small BPE models their ids.
"""

import json
import random
import re
from pathlib import Path

from tokenizers import Tokenizer

random.seed(11)

TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
FIRST = r"[^\r\n\p{L}\p{N}]?"
REGEXES = {
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "GPT-4": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    "Llama 3": SUFFIX + "|" + FIRST + r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL,
    "Qwen 2": SUFFIX + "|" + FIRST + r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL,
    "Qwen 3.5": SUFFIX + "|" + FIRST + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + TAIL,
    "GPT-4o": FIRST + UPPER + "*" + LOWER + "+" + SUFFIX + "?|" + FIRST + UPPER + "+" + LOWER + "*" + SUFFIX
    + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL,
    "Tekken": FIRST + UPPER + "*" + LOWER + "+|" + FIRST + UPPER + "+" + LOWER + r"*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL,
}
DEEPSEEK = [
    r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*""" + TAIL,
]

# Of DeepSeek V1 and V2: letters that have a case, by their ranges.
CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376"
    "\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-"
    "\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a"
    "\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"
    "\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f"
    "\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cb2\u2cb3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"
    "\U000118a0-\U000118df\U0001e900-\U0001e943"
)
DEEPSEEK_V2 = [
    "[\r\n]", r"\s?[" + CASED + "]+", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$",
    "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
]


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def byte_level(use_regex=True):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


PRE_TOKENIZERS = {name: split(regex) for name, regex in REGEXES.items()}
PRE_TOKENIZERS["DeepSeek V3"] = sequence(*map(split, DEEPSEEK))
PRE_TOKENIZERS["DeepSeek V2"] = sequence(*map(split, DEEPSEEK_V2), {"type": "Digits", "individual_digits": True})
PRE_TOKENIZERS["DeepSeek Coder"] = sequence(
    *map(split, ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_V2[-1]]), {"type": "Digits", "individual_digits": True})
PRE_TOKENIZERS["spaces at line ends"] = split(r"\s+$")
PRE_TOKENIZERS["spaces before spaces"] = split(r"\s+(?!\S)")
PRE_TOKENIZERS["Digits"] = {"type": "Digits", "individual_digits": False}
PRE_TOKENIZERS["Digits, individual"] = {"type": "Digits", "individual_digits": True}
PRE_TOKENIZERS["Digits, then GPT-2"] = sequence({"type": "Digits", "individual_digits": True}, split(REGEXES["GPT-2"]))
for behavior in ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
    for invert in [False, True]:
        name = behavior + (", inverted" if invert else "")
        PRE_TOKENIZERS["space " + name] = split(" ", behavior, invert, "String")
        PRE_TOKENIZERS["number " + name] = split(r"\p{N}", behavior, invert)
        PRE_TOKENIZERS["words " + name] = split(r"\s?\p{L}+", behavior, invert)

FIXED = [
    "", "a", " ", "Hello, world!", "I'm you're HE'LL they'VE it'S we'd don't 'tis 'ſ rock'n'roll O'Neil",
    "  two  spaces   ", "\n\n a\r\nb \r\n\r\n  c\t\td",
    "1234567 12,345.67 ٣٤٥ ४५ Ⅷ ½²①", "camelCaseHTTPServer XMLHttpRequest ǅungla",
    "漢字かなカナ混じり 한국어 中文123", "👩‍👩‍👧🏽 🇩🇪 ❤️!!",
    "e\u0301 क\u093f \u0301alone n\u0303o",
    "a\u00a0b\u2028c\u2029d\u0085e\u3000f\u200bg",
    "x = foo(bar)[0] // path/to/file\n/\n", "#include <stdio.h>\n\t\treturn -1;",
    "ʰʷˈˠ ªº ʕʔ \u0558\ua7ce\ufeff", "   \n   ", "a\U00011de31\U00016ff4b", "\u1c89\ua7cb\U00016d40\U00010940",
]
POOLS = [
    "abcXYZ", "0123456789", " \t\n\r", "\u00a0\u2028\u3000\u0085\u000b\u001c\u200b", "'’.,!?/-_()#$+=\"\\",
    "éßÀŽžſKÅǅİı", "漢字かカ한龥々", "😀👩\u200d🏽🇩❤\ufe0f",
    "\u0301\u0308\u0903\u20dd\u093f", "٣४Ⅷ²½①", "жЖאبहΣς", "ʰˈªʕ",
    ["'s", "'T", "'re", "'VE", "'Ll", "'ſ", "\r\n", "  ", " \n"],
]


def random_text():
    pools = random.sample(POOLS, random.choice([1, 2, 3, 5, 8]))
    return "".join(random.choice(random.choice(pools)) for _ in range(random.choice([3, 8, 20])))


# For composition: Hangul in parts, marks out of order, marks and letters that came after Unicode 9.
MARKS = [
    "\uac00\u11a8 \uac1c\u11b8 \u1100\u1161\u11a8 \u1100\u1161\u11a7\u11a8 \uac01\u11a8", "a\u0323\u0301 a\u0301\u0323 \u212b",
    "\u0307\u0f73 \u1cd7\u0f81 \u05c5\u0f75\u0307", "a\u0898\u0323 a\u0323\u0898\u0301 \U00011935\U00011930 \u0958",
]
TEXTS = FIXED + [random_text() for _ in range(150)]


def tokenizer(**parts):
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "ignore_merges": False} | parts.pop("model")
    document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model}
    return document | parts


def pieces(pre_tokenizer):
    """Lengths in bytes; a piece that is left out is missing."""
    reader = Tokenizer.from_str(json.dumps(tokenizer(pre_tokenizer=pre_tokenizer, model={"vocab": {"a": 0}, "merges": []})))
    return [[len(piece.encode()) for piece, _ in reader.pre_tokenizer.pre_tokenize_str(text)] for text in TEXTS]


def byte_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def small_models():
    alphabet = byte_alphabet()
    symbols = [alphabet[b] for b in range(256)]
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("l", "l"), ("'", "ll"), ("1", "2"), ("12", "3"),
              ("o", "r"), ("Ã", "©"), ("Ċ", "Ċ"), ("Ġ", "Ġ"), ("ð", "Ł")]
    tokens = symbols + [a + b for a, b in merges]
    full = {token: i for i, token in enumerate(tokens)}
    lacking = {token: i for i, token in enumerate(t for t in tokens if t not in "ðx")}
    words = {"<unk>": 0, "a": 1, "b": 2, "▁": 3, "1": 4, "<0xC3>": 5, "<0xA9>": 6, "ab": 7, "<0x0A>": 8}
    merges = [list(m) for m in merges]
    digits = sequence({"type": "Digits", "individual_digits": True}, byte_level())
    plain = {"vocab": words, "merges": [["a", "b"]], "unk_token": "<unk>"}
    return {
        "digits and bytes": tokenizer(pre_tokenizer=digits, model={"vocab": full, "merges": merges}),
        "composed": tokenizer(normalizer={"type": "NFC"}, pre_tokenizer=digits, model={"vocab": full, "merges": merges}),
        "GPT-4o's pattern and bytes": tokenizer(
            pre_tokenizer=sequence(split(REGEXES["GPT-4o"]), byte_level(False)),
            model={"vocab": full, "merges": merges, "ignore_merges": True}),
        "bytes lacking": tokenizer(pre_tokenizer=byte_level(), model={
            "vocab": lacking, "merges": [m for m in merges if m[0] in lacking and m[0] + m[1] in lacking]}),
        "unknown": tokenizer(model=plain),
        "unknown, fused": tokenizer(model=plain | {"fuse_unk": True}),
        "bytes for some": tokenizer(model=plain | {"byte_fallback": True}),
        "bytes for some, fused": tokenizer(model=plain | {"byte_fallback": True, "fuse_unk": True}),
        "neither": tokenizer(model={"vocab": words, "merges": [["a", "b"]]}),
    }


def model_entry(document):
    reader = Tokenizer.from_str(json.dumps(document))
    texts = FIXED + ["ab\u00e9\u00e9x\nxab", "xx a xx", "\U0001d800 plain", "\u00e9", "xyz"] + TEXTS[len(FIXED):len(FIXED) + 30] + MARKS
    return {"tokenizer": document, "texts": texts, "ids": [reader.encode(text, add_special_tokens=False).ids for text in texts]}


document = {
    "texts": TEXTS,
    "pieces": {name: {"pre_tokenizer": p, "lengths": pieces(p)} for name, p in PRE_TOKENIZERS.items()},
    "models": {name: model_entry(d) for name, d in small_models().items()},
}
text = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
# A line for each entry.
text = re.sub(r'("(?:texts|pieces|models)":|(?<=\}),(?="[^"]*":\{"(?:pre_tokenizer|tokenizer)"))', r"\1\n", text)
Path(__file__).with_name("pretokenizers.json").write_text(text + "\n")
