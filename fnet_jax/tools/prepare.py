"""Prepares the data set of a run ahead of time; train.py would do the same at its start.

    python -m fnet_jax.tools.prepare --config=configs/pretrain.py:size=tiny --workdir=W

An interrupted run goes on where it was. On several machines, as jobs of an array or with Apache Beam
(see docs/data.md), which write the same bytes:

    python -m fnet_jax.tools.prepare FLAGS --shard=0/4    # and 1/4, 2/4, 3/4
    python -m fnet_jax.tools.prepare FLAGS --merge
    python -m fnet_jax.tools.prepare FLAGS --runner=DirectRunner -- --direct_num_workers=4
"""

import re
import time
from collections.abc import Sequence
from types import ModuleType

from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.data.corpus import prepare
from fnet_jax.data.dataset import DatasetInfo
from fnet_jax.runtime import cli
from fnet_jax.train.concrete import read_config


def summary(info: DatasetInfo, directory: str) -> str:
    """What a data set holds, in words and numbers."""
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


def parse_share(text: str) -> tuple[int, int]:
    """The numbers i and n of "i/n".

    Raises:
        UserError: unless 0 ≤ i < n.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(f"--shard={text} is no share; give i/n with i from 0 to n - 1, such as 0/4")
    return int(match[1]), int(match[2])


def _check_flags(options: Sequence[str]) -> None:
    flag = flags.FLAGS
    modes = [f"--{name}" for name in ("shard", "merge", "runner") if flag[name].value]
    if len(modes) > 1:
        raise UserError(f"{' and '.join(modes)} exclude each other; give one of them")
    if options and not flag.runner:
        raise UserError(f"unexpected argument {options[0]}; what follows -- is for the engine of --runner")
    if flag.num_processes is not None and (flag.merge or flag.runner):
        raise UserError(f"--num_processes has no effect with {modes[0]}; leave it out")


def _beam() -> ModuleType:
    try:
        from fnet_jax.data.corpus import beam
    except ImportError as error:
        raise UserError(
            f"--runner={flags.FLAGS.runner} needs Apache Beam ({error}); in an environment of its own, "
            'pip install "fnet_jax[beam]"'
        ) from error
    return beam


def main(argv: Sequence[str]) -> None:
    """Prepares what the flags say and prints what came out."""
    flag, options = flags.FLAGS, argv[1:]
    _check_flags(options)
    share = parse_share(flag.shard) if flag.shard else None
    config = read_config()
    directory = prepare.dataset_dir(config.data, cli.workdir())
    wanted = (config.data, config.model.max_seq_length, directory)
    started = time.monotonic()
    if share:
        missing = prepare.prepare_share(*wanted, *share, flag.num_processes)
        next_step = (
            f"Not there yet: {prepare.name_shares(missing, share[1])}"
            if missing
            else "All parts are there. Next: the same command with --merge in place of --shard."
        )
        print(f"--shard={flag.shard} is done in {time.monotonic() - started:.0f} s. {next_step}")
        return
    if flag.runner:
        info = _beam().prepare_with_beam(*wanted, flag.runner, options)
    elif flag.merge:
        info = prepare.merge(*wanted)
    else:
        info = prepare.prepare(*wanted, flag.num_processes)
    print(summary(info, directory))
    print(f"Ready in {time.monotonic() - started:.0f} s. Next: python train.py with the same flags.")


if __name__ == "__main__":
    cli.define_run_flags()
    flags.DEFINE_string("shard", None, "i/n: make the share i, from 0, of n; then --merge.")
    flags.DEFINE_bool("merge", False, "Make the data set of the parts that all shards have made.")
    flags.DEFINE_string("runner", None, "Make the parts with Apache Beam; its options follow after --.")
    flags.DEFINE_integer("num_processes", None, "Processes of this machine; one per core if not given.", 1)
    cli.run(main, positional=True)
