"""The drill itself: trains a run undisturbed and one that is killed again and again, and compares them."""

import dataclasses
import json
import os
import random
import shutil
import time
from pydoc_data.topics import topics

from tqdm import tqdm

from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from tests.tools.drill.check import differences, lost_steps, report
from tests.tools.drill.trainer import BEFORE_TRAINING, PHASES, Kill, Trainer, damage_newest

DRILL_FILE = "drill.json"
DAMAGE_SHARE = 0.12  # of the kills after which the newest checkpoint is damaged, where there is an older one
STEPS_PER_KILL = 30


def keys(out: str, num_steps: int) -> dict[str, object]:
    """The config of both runs: many short steps, with saves and evaluations between them."""
    return {
        "data.corpus": os.path.join(out, "corpus.jsonl"),
        "data.tokenizer_pieces": 600,
        "train.num_train_steps": num_steps,
        "optim.num_warmup_steps": 10,
        "optim.learning_rate": 1e-3,
        "train.save_checkpoints_steps": 15,
        "train.eval_frequency": 20,
        "train.max_num_eval_steps": 8,
        "train.max_to_keep": 3,
        "train.log_frequency": 1,
        "log.example_ids": True,
    }


def drill(out: str, num_kills: int, seed: int) -> int:
    """Runs the drill.

    Args:
        out: folder for both runs and `drill.json`; one of an earlier drill is emptied.
        num_kills: how many times to kill the run.
        seed: of moments, signals and damages.

    Returns:
        How many things went wrong.

    Raises:
        UserError: if the folder holds something else.
    """
    begin = time.monotonic()
    _empty(out)
    config = keys(out, num_steps=STEPS_PER_KILL * num_kills + 60)
    whole, killed = os.path.join(out, "undisturbed"), os.path.join(out, "killed")
    print("training undisturbed ...", flush=True)
    faults = _finish(Trainer(whole, out, config), "the undisturbed run")
    kills: list[Kill] = []
    rng = random.Random(seed)
    for number in tqdm(range(num_kills), desc="kills", unit="kill", mininterval=1):
        if faults:
            break
        kill, faults = _start_and_kill(killed, out, config, rng, PHASES[number % len(PHASES)])
        kills.append(kill)
        if kill.phase == "done":
            faults.append(f"the run was over after {number} kills; it needs more steps")
    if not faults:
        faults = _finish(Trainer(killed, out, config), "the last start")
    faults = faults or differences(whole, killed)
    print(report(kills, faults, time.monotonic() - begin))
    content = {"seed": seed, "kills": [dataclasses.asdict(kill) for kill in kills], "faults": faults}
    write_atomically(os.path.join(out, DRILL_FILE), json.dumps(content, indent=1))
    print(f"details: {os.path.join(out, DRILL_FILE)}")
    return len(faults)


def _start_and_kill(
    workdir: str, out: str, config: dict[str, object], rng: random.Random, phase: str
) -> tuple[Kill, list[str]]:
    """One start and its end, perhaps damage to a checkpoint after it, and what was wrong."""
    if phase == "prepare":
        shutil.rmtree(os.path.join(workdir, "data"), ignore_errors=True)
    trainer = Trainer(workdir, out, config, cached=phase != "compile")
    kill = trainer.kill(phase, rng)
    faults = [f"{kill}: {fault}" for fault in trainer.faults(kill)]
    if faults:
        return kill, faults
    kill.steps_lost = 0 if kill.phase in BEFORE_TRAINING else lost_steps(workdir)
    if kill.signal != "SIGKILL" and kill.steps_lost:
        faults.append(f"{kill}: {kill.steps_lost} steps were not saved")
    if rng.random() < DAMAGE_SHARE:
        kill.damage = damage_newest(workdir, rng)
    return kill, faults


def _finish(trainer: Trainer, name: str) -> list[str]:
    code, text = trainer.wait()
    return [] if code == 0 else [f"{name} ended with {code}: {text}"]


def _empty(out: str) -> None:
    if os.path.exists(out):
        if os.listdir(out) and not os.path.exists(os.path.join(out, "corpus.jsonl")):
            raise UserError(f"--out={out} exists and is no drill's; name another folder")
        shutil.rmtree(out)
    os.makedirs(out)
    with open(os.path.join(out, "corpus.jsonl"), "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": _paragraphs(text)}) + "\n" for text in topics.values())


def _paragraphs(text: str) -> str:
    """A page of the Python reference, a paragraph per line."""
    return "\n".join(paragraph.replace("\n", " ") for paragraph in text.split("\n\n"))
