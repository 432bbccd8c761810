"""lm-eval with local JSON files, on MODEL in float32: every metric of every task is sq-train's. Accuracies are equal, perplexities
within 0.1 %, and standard errors of accuracies within rounding. The items are made here, of the text, in each task's fields.
"""
import json
import os
import random

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks.hellaswag.utils import preprocess
from lm_eval.tasks.winogrande import preprocess_winogrande

from interop import MODEL, check, place, program, text

random.seed(3)
words = text().split()


def phrase(least, most):
    start = random.randrange(len(words) - most)
    return " ".join(words[start : start + random.randint(least, most)])


def label(count):
    return random.randrange(count)


def hellaswag():
    first = phrase(5, 25)
    endings = [phrase(3, 20) + (" [step] done" if label(3) == 0 else "") for _ in range(4)]
    return {
        "activity_label": phrase(1, 3), "ctx_a": f"[header] {first} [title]", "ctx_b": phrase(1, 4), "endings": endings,
        "label": str(label(4))}


def arc():
    labels = random.choice([["A", "B", "C", "D"], ["1", "2", "3"]])
    return {
        "question": phrase(5, 20), "choices": {"text": [phrase(1, 8) for _ in labels], "label": labels},
        "answerKey": random.choice(labels)}


def winogrande():
    return {
        "sentence": f"{phrase(3, 9)} _ {phrase(4, 12)}", "option1": phrase(1, 2), "option2": phrase(1, 2), "answer": str(1 + label(2))}


makers = {
    "hellaswag": hellaswag,
    "piqa": lambda: {"goal": phrase(4, 15), "sol1": phrase(3, 20), "sol2": phrase(3, 20), "label": label(2)},
    "arc": arc,
    "winogrande": winogrande,
    "boolq": lambda: {"passage": phrase(30, 90), "question": phrase(4, 9), "label": label(2)},
    "lambada": lambda: {"text": phrase(15, 60)},
    "text": lambda: {"text": phrase(300, 900)},
}
ITEMS = 30
for name, make in makers.items():
    with open(place(f"{name}.jsonl"), "w", encoding="utf-8") as file:
        file.writelines(json.dumps(make(), ensure_ascii=False) + "\n" for _ in range(ITEMS if name != "text" else 6))

run = place("tasks")
program(
    "eval", MODEL, "--out", run, "--overwrite", "--set", "eval.tasks=" + ",".join(f"{name}={place(name)}.jsonl" for name in makers))
with open(f"{run}/results.json") as file:
    ours = json.load(file)["results"]


def choices(doc_to_text, doc_to_target, doc_to_choice, *metrics):
    return {
        "output_type": "multiple_choice", "doc_to_text": doc_to_text, "doc_to_target": doc_to_target, "doc_to_choice": doc_to_choice,
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in metrics]}


def clean_context(document):
    context = f"{document['ctx_a']} {document['ctx_b'].capitalize()}"
    return preprocess(f"{document['activity_label']}: {context}")


# As in lm-eval's own files of these names, with local data.
tasks = {
    "hellaswag": choices(
        clean_context, lambda document: int(document["label"]),
        lambda document: [preprocess(ending) for ending in document["endings"]], "acc", "acc_norm"),
    "piqa": choices("Question: {{goal}}\nAnswer:", "label", "{{[sol1, sol2]}}", "acc", "acc_norm"),
    "arc": choices(
        "Question: {{question}}\nAnswer:", "{{choices.label.index(answerKey)}}", "{{choices.text}}", "acc", "acc_norm"),
    "winogrande": choices(
        preprocess_winogrande.doc_to_text, preprocess_winogrande.doc_to_target, preprocess_winogrande.doc_to_choice, "acc"),
    "boolq": choices("{{passage}}\nQuestion: {{question}}?\nAnswer:", "label", ["no", "yes"], "acc"),
    "lambada": {
        "output_type": "loglikelihood", "doc_to_text": "{{text.split(' ')[:-1]|join(' ')}}", "doc_to_target": "{{' '+text.split(' ')[-1]}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}]},
    "text": {
        "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
        "metric_list": [{"metric": metric} for metric in ("word_perplexity", "byte_perplexity", "bits_per_byte")]},
}
configurations = [
    {
        "task": f"local_{name}", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": f"{place(name)}.jsonl"}},
        "test_split": "test", **task}
    for name, task in tasks.items()]
results = lm_eval.simple_evaluate(
    HFLM(MODEL, dtype="float32", batch_size=1, device="cpu"), tasks=configurations, task_manager=TaskManager(), bootstrap_iters=100)["results"]
for name in tasks:
    theirs = results[f"local_{name}"]
    for key, value in theirs.items():
        metric = key.split(",")[0]
        if metric in ("alias", "name", "sample_len", "sample_count") or metric == "perplexity_stderr" or not isinstance(value, float):
            continue
        mine = ours[name][key]
        same = mine == value if metric in ("acc", "acc_norm") else abs(mine - value) <= 1e-3 * abs(value)
        check(same, f"{name}: {metric} {value:.6f} by lm-eval, {mine:.6f} by sq-train")
