"""Stands in for `fnet_jax.tools.points`: answers at once, with numbers made from the config."""

import json
import os
import signal
import sys
import time

directory = sys.argv[1].removeprefix("--directory=")
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

from fnet_jax.tools.points import save_result  # noqa: E402

time.sleep(0.01)
save_result(directory, 0, 0.01, "", {"step": 12, "loss": rate + seed / 100, "masked_lm_accuracy": 0.25})
