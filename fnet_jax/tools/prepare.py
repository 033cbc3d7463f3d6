"""Prepares the data set of a run ahead of time; train.py would do the same at its start.

    python -m fnet_jax.tools.prepare --config=configs/pretrain.py:size=tiny --workdir=W

An interrupted run goes on where it was.
"""

import time
from collections.abc import Sequence

from fnet_jax.core import cli
from fnet_jax.data.dataset import DatasetInfo
from fnet_jax.data.prepare import dataset_dir, ensure


def summary(info: DatasetInfo, directory: str) -> str:
    """What a data set holds, for a person."""
    lines = [f"{directory}: {info.corpus}, {info.vocab_size:,} pieces ({info.tokenizer_spec})"]
    for name, split in info.splits.items():
        mean = split.tokens / split.segments
        lines.append(
            f"  {name:8} {split.documents:>10,} documents {split.segments:>10,} examples "
            f"{split.tokens:>14,} tokens, {mean:.0f} of {info.max_seq_length - 3} in each"
        )
    lines.append(f"  {info.kept_share:.1%} of the corpus kept")
    if info.skipped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in info.skipped.items())
        lines.append(f"  skipped: {reasons}")
    return "\n".join(lines)


def main(_: Sequence[str]) -> None:
    """Prepares what the flags say and prints what came out."""
    config = cli.config()
    started = time.monotonic()
    info = ensure(config.data, config.model.max_seq_length, cli.workdir())
    print(summary(info, dataset_dir(config.data, cli.workdir())))
    print(f"Ready in {time.monotonic() - started:.0f} s. Next: python train.py with the same flags.")


if __name__ == "__main__":
    cli.define_run_flags()
    cli.run(main)
