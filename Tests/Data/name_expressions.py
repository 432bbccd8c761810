"""Writes name_expressions.json: what Python's re.match says of expressions for layers' names, and what it refuses.

    python3 Tests/Data/name_expressions.py > Tests/Data/name_expressions.json
"""

import json
import re

NAMES = [
    "lm_head", "model.embed_tokens", "model.norm", "model.layers.0", "model.layers.0.self_attn.q_proj",
    "model.layers.3.self_attn.k_proj", "model.layers.12.self_attn.o_proj", "model.layers.0.mlp.down_proj",
    "model.layers.10.mlp.gate_proj", "model.layers.117.mlp.up_proj", "model.decoder.layers.2.fc1", "a", "aaaa", "ab.b-c d",
    "x{2}", "model\n", "",
]
EXPRESSIONS = r"""
.*(mlp|self_attn)\..*_proj
model\.layers\.\d+\..*
.*\.[qkv]_proj$
.*\.[qkv]_proj
.*down_proj$
^model
^model$
model$
.*lm_head
lm_head
lm_head$
(lm_head|model\.embed_tokens)$
(?:lm_head|.*embed.*)
.*\.(gate|up|down)_proj$
.*\.layers\.(0|1|10)\..*
.*\.layers\.(0|1|10)$
model\.layers\.[0-9]\.
model\.layers\.[0-9]{2,}\.
model\.layers\.[0-9]{2}\.
model\.layers\.[1-9][0-9]?\.mlp
model\.layers\.\d{1,2}\.mlp\.(?:up|gate)_proj
.*[^q]_proj$
.*[^qkvo]_proj$
.*\.self_attn\.[^o]_proj
\w+
\w+$
\W
.*\W$
\S+$
.*\s
.*\s.*
[\w.]+$
[\w.\-]+$
[^\W\d_]+$
[^\d]*$
\D*$
(a+)+$
(a|aa)+$
(a*)*$
(a?){4}$
(a?){5}a
a{2}
a{2}$
a{4}$
a{2,3}$
a{2,}$
a{,4}$
a{,3}$
a{0}$
a{,}$
a*?$
a+?$
a??$
a{2,4}?$
(aa){2}$
(aa){1,}$
()*a
(|a)$
(a|)$
a|
|
^$
$
^
a$|lm
^a|^lm
(^a)
(^)*a
(?:)*a
(?:$)
x\{2\}$
x[{]2}$
x{2}
]
a]
}
ab\.b-c d$
ab.b.c.d$
ab\.b\-c\ d$
[ab]{2}\.b
[]a]
[^]a]
[a-]
[-a]
ab\.b[-]c
ab\.b[+--]c
ab\.b[+\-]c
[.]
.*[.]layers[.]
[\.]
.*\.fc[12]$
.*\.(fc1|fc2)
.*\.fc\d
model\.decoder\..*
model(\.decoder)?\.layers\.\d+$
model(\.decoder)?\.layers\.\d+\.
(model|lm)(\.|_)(norm|head)$
.*norm$
.*norm|.*head
((model)\.((layers)\.(0)))$
((((a))))
model.
model.$
.{8}$
.{7,9}$
.*_.*_.*
[a-z_]+$
[a-z_.]+$
[a-z0-9_.]+$
[A-Z]
\d
.*\d$
.*\d
.*\.\d\.
.*1+7.*
.*1{2}7
(.*\.)?mlp
.*(\.mlp|\.self_attn).*
(.*_proj|lm_head)$
model\.(layers\.(\d|1\d)\.(mlp\..*|self_attn\.[qkv]_proj)|norm)$
.*\.(q|k|v|o)_proj$
.*proj$
.*pro
proj
.*p.*j$
[!-~]*$
[\d.]
[\s]
.*[\s]
[^\s]+$
.*[^\s]$
[a\d]+$
.*[\]\[]
\.
\_
lm\_head
.*é
é
.
..
""".strip("\n").split("\n")
# What Python refuses.
MALFORMED = r"""
(
(a
a)
)
[
[a
[]
[^]
*
+a
?
a**
a+*
a{2}{3}
a{2}*
{2}
(*a)
|*
(|*)
^*
$+
[z-a]
[a-\d]
[\w-z]
a{3,2}
\
(?
(?a
[a\
""".strip("\n").split("\n")
# What Python reads, and is outside of what this program does.
OUTSIDE = {
    r"^(?!.*lm_head).*$": "look ahead", r"(?=a)": "look ahead", r".*(?<!lm)_head": "look behind",
    r".*(?<=lm)_head": "look behind", r"(a)\1": "reference", r"(?P<n>a)": "named group", r"(?P<n>a)(?P=n)": "named group",
    r"(?i)MODEL": "flags", r"(?i:MODEL)": "flags", r"(?#c)a": "comment", r"(?>a)": "atomic group", r"a++": "possessive",
    r"a*+": "possessive", r"a{2}+": "possessive", r"(a)?(?(1)b|c)": "condition", r".*\bmlp": r"\b", r"\Amodel": r"\A",
    r"model\Z": r"\Z", r"\x61": r"\x", r"\n": r"\n", r"[\b]": r"\b", r"\141": "code", r"a{": "does not begin a count",
    r"a{x}": "does not begin a count", r"a{}": "does not begin a count", r"(.{99}){99}": "states", r"a{99999999}": "states",
}


def main():
    expressions = {text: [name for name in NAMES if re.match(text, name)] for text in EXPRESSIONS}
    for text in MALFORMED:
        try:
            re.compile(text)
        except re.error:
            continue
        raise SystemExit(f"{text!r} is no error")
    for text in OUTSIDE:
        re.compile(text)
    document = {"names": NAMES, "matches": expressions, "malformed": MALFORMED, "outside": OUTSIDE}
    print(json.dumps(document, indent=1))


main()
