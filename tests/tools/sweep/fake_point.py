"""Stands in for `fnet_jax.tools.sweep.run_point`: answers at once, with numbers made from the config."""

import json
import os
import signal
import sys
import time

from fnet_jax.tasks.table import TASKS
from fnet_jax.tools.sweep.point import load_result, predictions_file, save_result

# Of made-up runs; the learning rate that is best on average has not the best single run.
GAINS = {1e-5: {0: 0.00, 1: 0.19}, 5e-5: {0: 0.10, 1: 0.12}}


def labelled(task: str, rate: float, seed: int) -> dict[str, object]:
    """What `evaluate_checkpoint` could say of a run."""
    values: dict[str, object] = {"step": 7, "task": task, "not_whole": ["train"] if task == "qqp" else []}
    for index, split in enumerate(TASKS[task].validation_splits):
        score = 0.5 + GAINS[rate][seed] + 0.05 * index
        found = {"split": split, "examples": 20, "score": score, "paper_score": score - 0.02, "warnings": []}
        found |= {name: score for name in TASKS[task].metrics} | {"baseline_score": 0.4}
        if task == "cola" and (rate, seed) == (5e-5, 1):
            found["warnings"] = ["the model predicts 'acceptable' for all 20 examples; that is no result"]
        prefix = f"{split}/" if index else ""
        values |= {prefix + name: value for name, value in found.items()}
    return values


def predict(directory: str, task: str, splits: list[str]) -> None:
    """Official numbers of predictions; the first one tells which run they are of."""
    result = load_result(directory)
    for split in splits:
        answers = list(TASKS[task].labels or [1.0, 2.0])
        first = answers[result.overrides["seed"] % 2]
        rows = [{"index": row, "prediction": answers[0]} for row in range(TASKS[task].rows[split])]
        rows[0]["prediction"] = first
        with open(predictions_file(directory, task, split), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


flags = dict(arg.removeprefix("--").partition("=")[::2] for arg in sys.argv[1:])
directory = flags["directory"]
if "predict" in flags:
    predict(directory, flags["predict"], flags["splits"].split(","))
    sys.exit(0)
with open(os.path.join(directory, "point.json"), encoding="utf-8") as file:
    point = json.load(file)
with open(os.path.join(directory, "starts.txt"), "a", encoding="utf-8") as file:
    file.write("start\n")
print("some words")
seed, rate = point["config"]["seed"], point["config"]["optim"]["learning_rate"]
if seed == 13:
    print("error: this seed is unlucky", file=sys.stderr)
    sys.exit(3)
if seed == 14:
    os.kill(os.getpid(), signal.SIGKILL)
if seed == 15 and not os.path.exists(os.path.join(directory, "saved")):

    def save(*_: object) -> None:
        open(os.path.join(directory, "saved"), "w", encoding="utf-8").close()
        sys.exit(143)

    signal.signal(signal.SIGTERM, save)
    signal.signal(signal.SIGINT, save)
    open(os.path.join(directory, "ready"), "w", encoding="utf-8").close()
    if not sys.stdin.buffer.read(1):  # the one that started us is gone
        save()

time.sleep(0.01)
if point["config"]["task"] == "pretrain":
    values = {"step": 12, "loss": rate + seed / 100, "masked_lm_accuracy": 0.25}
else:
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(point["config"], file)  # as training does
    values = labelled(point["config"]["task"], rate, seed)
save_result(directory, 0, 0.01, "", values)
