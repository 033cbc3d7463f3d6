"""The drill itself: one run undisturbed, one killed again and again, and what became of it."""

import json
import os
import random
import shutil
import time
from pydoc_data.topics import topics

from tqdm import tqdm

from fnet_jax.core.errors import UserError
from fnet_jax.tools.drill.check import differences, lost_steps, report
from fnet_jax.tools.drill.life import BEFORE_TRAINING, PHASES, Death, Life, damage_newest

DRILL_FILE = "drill.json"
DAMAGE_SHARE = 0.12  # of the kills after which the newest checkpoint is damaged, where there is an older one
STEPS_PER_KILL = 30


def keys(out: str, num_steps: int) -> dict[str, object]:
    """The config of both runs: many small steps, and much to be interrupted between them."""
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


def drill(out: str, kills: int, seed: int) -> int:
    """Runs the drill; returns how many things went wrong."""
    begin = time.monotonic()
    _make_room(out)
    config = keys(out, num_steps=STEPS_PER_KILL * kills + 60)
    whole, killed = os.path.join(out, "undisturbed"), os.path.join(out, "killed")
    print("training undisturbed ...", flush=True)
    faults = _finish(Life(whole, out, config), "the undisturbed run")
    deaths: list[Death] = []
    rng = random.Random(seed)
    for number in tqdm(range(kills), desc="kills", unit="kill", mininterval=1):
        if faults:
            break
        death, faults = _one_kill(killed, out, config, rng, PHASES[number % len(PHASES)])
        deaths.append(death)
        if death.phase == "done":
            faults.append(f"the run was over after {number} kills; it needs more steps")
    if not faults:
        faults = _finish(Life(killed, out, config), "the last start")
    faults = faults or differences(whole, killed)
    summary = report(deaths, faults, time.monotonic() - begin)
    print(summary)
    with open(os.path.join(out, DRILL_FILE), "w", encoding="utf-8") as file:
        rows = [death.as_dict() for death in deaths]
        json.dump({"seed": seed, "kills": rows, "faults": faults}, file, indent=1)
    print(f"details: {os.path.join(out, DRILL_FILE)}")
    return len(faults)


def _one_kill(
    workdir: str, out: str, config: dict[str, object], rng: random.Random, phase: str
) -> tuple[Death, list[str]]:
    """One start and its end, and perhaps a damage after it; what was not as it should be."""
    if phase == "prepare":
        shutil.rmtree(os.path.join(workdir, "data"), ignore_errors=True)
    life = Life(workdir, out, config, cached=phase != "compile")
    death = life.kill(phase, rng)
    faults = [f"{death.sentence()}: {fault}" for fault in life.faults(death)]
    if faults:
        return death, faults
    death.steps_lost = 0 if death.phase in BEFORE_TRAINING else lost_steps(workdir)
    if death.signal != "SIGKILL" and death.steps_lost:
        faults.append(f"{death.sentence()}: {death.steps_lost} steps were not saved")
    if rng.random() < DAMAGE_SHARE:
        death.damage = damage_newest(workdir, rng)
    return death, faults


def _finish(life: Life, name: str) -> list[str]:
    code, text = life.wait()
    return [] if code == 0 else [f"{name} ended with {code}: {text}"]


def _make_room(out: str) -> None:
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
