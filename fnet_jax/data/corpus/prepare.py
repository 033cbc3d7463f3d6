"""From a corpus to a prepared data set: tokenised segments in ArrayRecord files.

The corpus is cut into parts, in a way that depends on the corpus alone. Who makes them does not matter:
the processes of one machine (`prepare`), the jobs of an array (`prepare_shard`, then `merge`) or the
workers of a Beam pipeline (`beam.prepare`) write the same bytes. Parts that are there are not made again.
"""

import contextlib
import os
from collections.abc import Iterator

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.data import dataset
from fnet_jax.data.corpus.merge import merge_parts
from fnet_jax.data.corpus.parts import Job
from fnet_jax.data.corpus.plan import (
    Plan,
    begun_with,
    check_space,
    clean_up,
    keep_plan,
    keep_tokenizer,
    lock,
    missing_parts,
    open_plan,
    require_same,
    tokenizer_spec,
)
from fnet_jax.data.corpus.work import make_parts, num_cores
from fnet_jax.data.dataset import DatasetInfo, check_info, load_info
from fnet_jax.data.tokenizer import load_tokenizer

_NAMED = 8  # so many missing shards are named in a message


def dataset_dir(data: DataConfig, workdir: str) -> str:
    """Where the data set of a run lies: `data.dir`, or WORKDIR/data.

    Raises:
        UserError: if that is in an object store, which the record files cannot be read from or written to.
    """
    directory = data.dir or os.path.join(workdir, "data")
    if "://" in directory:
        raise UserError(
            f"data.dir={directory} is no folder, and prepared data are read at random; give a local or "
            "shared folder, or mount the object store and give the folder where it is mounted"
        )
    return os.path.abspath(os.path.expanduser(directory))


def ensure(data: DataConfig, max_seq_length: int, workdir: str) -> DatasetInfo:
    """The data set of a run, prepared first if it is absent.

    Raises:
        UserError: if it is there but does not fit, or cannot be prepared.
    """
    return prepare(data, max_seq_length, dataset_dir(data, workdir))


def prepare(
    data: DataConfig,
    max_seq_length: int,
    directory: str,
    num_processes: int | None = None,
    progress: bool = True,
) -> DatasetInfo:
    """Prepares a data set, or finishes one that was interrupted, or checks the one that is there.

    Args:
        data: corpus, tokenizer and held-out share.
        max_seq_length: L.
        directory: of the data set; made if absent.
        num_processes: None: one per core.
        progress: whether to show a bar with an estimate on stderr.

    Raises:
        UserError: if the corpus, the tokenizer or the folder cannot be used, if the folder holds
            something made otherwise, or if nothing is left to learn from.
    """
    if dataset.exists(directory):
        return check_existing(data, max_seq_length, directory)
    with explained(directory):
        plan = begin(data, max_seq_length, directory)
        with lock(directory):
            if dataset.exists(directory):  # another process was quicker
                return check_existing(data, max_seq_length, directory)
            keep_plan(plan, num_shards=1)
            clean_up(directory)
            job = plan.job(keep_tokenizer(plan, progress))
            _make_missing(job, plan, range(len(plan.source.shards)), num_processes, progress)
            return merge_parts(job, plan)


def prepare_shard(
    data: DataConfig,
    max_seq_length: int,
    directory: str,
    shard: int,
    num_shards: int,
    num_processes: int | None = None,
    progress: bool = True,
) -> list[int]:
    """Makes the parts that fall to one job of an array, unless they are there; `merge` comes after all.

    Args:
        data: corpus, tokenizer and held-out share.
        max_seq_length: L.
        directory: of the data set, common to all jobs; made if absent.
        shard: 0 ≤ shard < num_shards; takes the parts shard, shard + num_shards, ...
        num_shards: number of jobs; the result does not depend on it.
        num_processes: None: one per core.
        progress: whether to show a bar with an estimate on stderr.

    Returns:
        The shards that are still missing.

    Raises:
        UserError: as `prepare`, or if no tokenizer is given.
    """
    require_tokenizer(data)
    if dataset.exists(directory):
        check_existing(data, max_seq_length, directory)
        return []
    with explained(directory):
        plan = begin(data, max_seq_length, directory)
        with lock(directory):
            keep_plan(plan, num_shards)
            job = plan.job(keep_tokenizer(plan, progress))
        with lock(directory, shared=True):
            _make_missing(
                job, plan, range(shard, len(plan.source.shards), num_shards), num_processes, progress
            )
        return sorted({index % num_shards for index in missing_parts(job, plan)})


def merge(data: DataConfig, max_seq_length: int, directory: str) -> DatasetInfo:
    """Makes a data set of parts that are all there.

    Raises:
        UserError: if parts are missing, or were made with other settings.
    """
    if dataset.exists(directory):
        return check_existing(data, max_seq_length, directory)
    require_tokenizer(data)
    with explained(directory):
        plan = open_plan(data, max_seq_length, directory)
        num_shards = begun_with(plan)
        if not num_shards:
            raise UserError(f"data.dir={directory} holds no parts yet; run --shard=0/N and the others first")
        assert plan.given is not None
        job = plan.job(plan.given)
        missing = missing_parts(job, plan)
        if missing:
            shards = sorted({index % num_shards for index in missing})
            raise UserError(
                f"data.dir={directory} lacks {len(missing)} of {len(plan.source.shards)} parts; run again "
                f"{name_shards(shards, num_shards)}"
            )
        with lock(directory):
            if dataset.exists(directory):
                return check_existing(data, max_seq_length, directory)
            clean_up(directory)
            return merge_parts(job, plan)


def name_shards(shards: list[int], num_shards: int) -> str:
    """Shards as a person gives them on the command line."""
    names = " ".join(f"--shard={shard}/{num_shards}" for shard in shards[:_NAMED])
    return names + (f" and {len(shards) - _NAMED} more" if len(shards) > _NAMED else "")


def require_tokenizer(data: DataConfig) -> None:
    """Refuses to have several machines train a tokenizer each."""
    if not data.tokenizer:
        raise UserError(
            "data.tokenizer is not given, and several machines cannot each train one; run "
            "python -m fnet_jax.tools.train_tokenizer once and give its file as data.tokenizer"
        )


def begin(data: DataConfig, max_seq_length: int, directory: str) -> Plan:
    """The plan, opened, and the folder, made."""
    plan = open_plan(data, max_seq_length, directory)
    os.makedirs(directory, exist_ok=True)
    return plan


def _make_missing(job: Job, plan: Plan, indices: range, num_processes: int | None, progress: bool) -> None:
    missing = set(missing_parts(job, plan)) & set(indices)
    check_space(plan, sorted(missing))
    shards = {index: plan.source.shards[index] for index in sorted(missing)}
    done = sum(plan.source.shards[index].size for index in set(indices) - missing)
    make_parts(job, shards, done, num_processes or num_cores(), progress)


@contextlib.contextmanager
def explained(directory: str) -> Iterator[None]:
    """Turns errors of the file system into sentences."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename and not str(error.filename).startswith(directory):
            raise UserError(
                f"{error.filename} cannot be read ({reason}); mend it or take it out of data.corpus"
            ) from error
        raise UserError(
            f"data.dir={directory} cannot be written ({reason}); make room or give another folder"
        ) from error


def check_existing(data: DataConfig, max_seq_length: int, directory: str) -> DatasetInfo:
    """The data set that is there, if it was made as asked for."""
    info = load_info(directory)
    # The data set has its own copy: the file it was made with need not be there any more.
    is_gone = data.tokenizer == info.tokenizer_spec and not os.path.exists(os.path.expanduser(data.tokenizer))
    sha256 = load_tokenizer(data.tokenizer).sha256 if data.tokenizer and not is_gone else None
    check_info(info, directory, max_seq_length, sha256)
    wanted = {
        "data.corpus": (info.corpus, data.corpus),
        "data.holdout_fraction": (info.holdout_fraction, data.holdout_fraction),
    }
    if not data.tokenizer:
        wanted["data.tokenizer"] = (info.tokenizer_spec, tokenizer_spec(data))
    for key, (old, new) in wanted.items():
        require_same(directory, key, old, new)
    return info
