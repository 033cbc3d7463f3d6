"""From a corpus to a prepared data set: tokenised segments in ArrayRecord files.

The corpus is cut into shards, in a way that depends on the corpus alone, and each shard becomes a part of the
data set. Who makes the parts does not matter: the processes of one machine (`prepare`), the jobs of an array
(`prepare_share`, then `merge`) or the workers of a Beam pipeline (`beam.prepare_with_beam`) write the same
bytes. Parts that are there are not made again.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.data import dataset
from fnet_jax.data.corpus.merge import merge_parts
from fnet_jax.data.corpus.parts import WorkerConfig
from fnet_jax.data.corpus.preparation import Preparation, require_same, tokenizer_spec
from fnet_jax.data.corpus.workers import make_parts, num_cores
from fnet_jax.data.dataset import DatasetInfo, check_info, load_info
from fnet_jax.data.tokenizer import load_tokenizer

_NAMED = 8  # missing shares that a message names


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
            something made with other settings, or if nothing is left to learn from.
    """
    if dataset.exists(directory):
        return check_existing(data, max_seq_length, directory)
    with opened(data, max_seq_length, directory) as preparation, preparation.lock():
        if dataset.exists(directory):  # another process was quicker
            return check_existing(data, max_seq_length, directory)
        config = preparation.begin(1, progress)
        preparation.clean_up()
        _make_missing(config, preparation, range(len(preparation.source.shards)), num_processes, progress)
        return merge_parts(config, preparation)


def prepare_share(
    data: DataConfig,
    max_seq_length: int,
    directory: str,
    share: int,
    num_shares: int,
    num_processes: int | None = None,
    progress: bool = True,
) -> list[int]:
    """Makes the parts that fall to one job of an array, unless they are there; `merge` comes after all.

    Args:
        data: corpus, tokenizer and held-out share.
        max_seq_length: L.
        directory: of the data set, common to all jobs.
        share: number of the job, from 0; it makes the parts share, share + num_shares, ...
        num_shares: number of jobs; the result does not depend on it.
        num_processes: of this job; None: one per core.
        progress: whether to show a bar.

    Returns:
        The shares that are still missing.

    Raises:
        UserError: as `prepare`, or if no tokenizer is given.
    """
    require_tokenizer(data)
    if dataset.exists(directory):
        check_existing(data, max_seq_length, directory)
        return []
    with opened(data, max_seq_length, directory) as preparation:
        with preparation.lock():
            config = preparation.begin(num_shares, progress)
        indices = range(share, len(preparation.source.shards), num_shares)
        with preparation.lock(shared=True):
            _make_missing(config, preparation, indices, num_processes, progress)
        return sorted({index % num_shares for index in preparation.missing_parts(config)})


def merge(data: DataConfig, max_seq_length: int, directory: str) -> DatasetInfo:
    """Makes a data set of parts that are all there.

    Raises:
        UserError: if parts are missing, or were made with other settings.
    """
    if dataset.exists(directory):
        return check_existing(data, max_seq_length, directory)
    require_tokenizer(data)
    with opened(data, max_seq_length, directory, create=False) as preparation:
        num_shares = preparation.num_shares()
        if not num_shares:
            raise UserError(f"data.dir={directory} holds no parts yet; run --shard=0/N and the others first")
        assert preparation.given_tokenizer is not None
        config = preparation.worker_config(preparation.given_tokenizer)
        missing = preparation.missing_parts(config)
        if missing:
            shares = sorted({index % num_shares for index in missing})
            raise UserError(
                f"data.dir={directory} lacks {len(missing)} of {len(preparation.source.shards)} parts; run "
                f"again {name_shares(shares, num_shares)}"
            )
        with preparation.lock():
            if dataset.exists(directory):
                return check_existing(data, max_seq_length, directory)
            preparation.clean_up()
            return merge_parts(config, preparation)


def name_shares(shares: Sequence[int], num_shares: int) -> str:
    """Shares as a person gives them on the command line."""
    names = " ".join(f"--shard={share}/{num_shares}" for share in shares[:_NAMED])
    return names + (f" and {len(shares) - _NAMED} more" if len(shares) > _NAMED else "")


def require_tokenizer(data: DataConfig) -> None:
    """Refuses to have several machines train a tokenizer each."""
    if not data.tokenizer:
        raise UserError(
            "data.tokenizer is not given, and several machines cannot each train one; run "
            "python -m fnet_jax.tools.train_tokenizer once and give its file as data.tokenizer"
        )


@contextlib.contextmanager
def opened(
    data: DataConfig, max_seq_length: int, directory: str, create: bool = True
) -> Iterator[Preparation]:
    """Opens corpus and tokenizer, makes the folder, and turns errors of the file system into sentences.

    Raises:
        UserError: if a file cannot be read or written, in the block too.
    """
    try:
        preparation = Preparation.open(data, max_seq_length, directory)
        if create:
            os.makedirs(directory, exist_ok=True)
        yield preparation
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename and not str(error.filename).startswith(directory):
            raise UserError(
                f"{error.filename} cannot be read ({reason}); mend it or take it out of data.corpus"
            ) from error
        raise UserError(
            f"data.dir={directory} cannot be written ({reason}); make room or give another folder"
        ) from error


def _make_missing(
    config: WorkerConfig, preparation: Preparation, indices: range, num_processes: int | None, progress: bool
) -> None:
    missing = sorted(set(preparation.missing_parts(config)) & set(indices))
    preparation.check_space(missing)
    shards = preparation.source.shards
    done = sum(shards[index].size for index in set(indices) - set(missing))
    make_parts(
        config, {index: shards[index] for index in missing}, done, num_processes or num_cores(), progress
    )


def check_existing(data: DataConfig, max_seq_length: int, directory: str) -> DatasetInfo:
    """The data set that is there.

    Raises:
        UserError: if it was made with other settings than those that are asked for.
    """
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
