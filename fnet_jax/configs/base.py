"""The defaults, which every other config starts from; `fnet_jax/core/config.py` declares them.

python -m fnet_jax.configs.base > docs/config.md    # every key with type, default, valid values, meaning
"""

import dataclasses
import inspect
import itertools
import re

import ml_collections

from fnet_jax.core.config import PRETRAINING, Config
from fnet_jax.core.keys import declared
from fnet_jax.tasks.table import TASKS


def get_config() -> ml_collections.ConfigDict:
    """FNet-Base as published, pretrained on the embedded corpus."""
    return ml_collections.ConfigDict(dataclasses.asdict(Config()))


def describe() -> str:
    """All keys as Markdown, a table for each section: `docs/config.md`."""
    lines = [
        "# Every key of the config",
        "",
        "Set one on the command line, as `--config.model.d_model=64`, or in a config file, as",
        "`c.model.d_model = 64`. A tuple is written `\"('no','yes')\"`. A key set on the command line that",
        "has no effect is refused.",
    ]
    for section, keys in itertools.groupby(declared(Config), lambda key: key.name.rpartition(".")[0]):
        doc = inspect.getdoc(getattr(Config, section) if section else Config) or ""
        lines += ["", f"## {section or 'run'}", "", _linked(doc), ""]
        lines += ["| key | type | default | valid | meaning |", "|---|---|---|---|---|"]
        for key in keys:
            kind, meaning = type(key.default).__name__, _linked(key.meaning)
            valid = key.valid if key.name != "task" else ", ".join((*PRETRAINING, *TASKS))
            lines += [f"| `{key.name}` | {kind} | `{key.default!r}` | {valid} | {meaning} |"]
    return "\n".join(lines)


def _linked(text: str) -> str:
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", text)


if __name__ == "__main__":
    print(describe())
