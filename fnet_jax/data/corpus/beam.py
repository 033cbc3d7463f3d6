"""The parts of a data set made by a Beam pipeline, on any engine that Beam has.

An element is a whole part, so engine, bundles and number of workers do not show in the result. Workers
read the corpus and write the parts by their paths: both must be folders that all machines share. They
import no JAX.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.data import dataset
from fnet_jax.data.corpus import prepare
from fnet_jax.data.corpus.parts import WorkerConfig, is_done, make_part
from fnet_jax.data.corpus.shards import Shard
from fnet_jax.data.dataset import DatasetInfo


class MakePart(beam.DoFn):
    """Makes the part of an element (index, shard), unless it is there, and yields the index."""

    def __init__(self, config: WorkerConfig) -> None:
        """Takes what all parts have in common."""
        self._config = config

    def process(self, element: tuple[int, Any]) -> Iterator[int]:  # Beam cannot check the protocol Shard
        """See `parts.make_part`; the runner's page shows how many records have been read."""
        index, shard = element
        records, seen = Metrics.counter("fnet_jax", "records"), 0

        def report(count: int, _: int) -> None:
            nonlocal seen
            records.inc(count - seen)
            seen = count

        if not is_done(self._config, index):  # an engine may repeat an element
            make_part(self._config, index, shard, report)
        yield index


def prepare_with_beam(
    data: DataConfig, max_seq_length: int, directory: str, runner: str, options: Sequence[str] = ()
) -> DatasetInfo:
    """Prepares a data set, or finishes one that was interrupted, with a Beam pipeline.

    Args:
        data: corpus, tokenizer and held-out share.
        max_seq_length: L.
        directory: of the data set, the same folder on all machines; made if absent.
        runner: DirectRunner, DataflowRunner, FlinkRunner, SparkRunner, ...
        options: further pipeline options, as on a command line.

    Raises:
        UserError: as `prepare.prepare_share`, or if Beam does not know an option or the runner.
    """
    pipeline = make_pipeline(runner, options)
    prepare.require_tokenizer(data)
    if dataset.exists(directory):
        return prepare.check_existing(data, max_seq_length, directory)
    with prepare.opened(data, max_seq_length, directory) as preparation:
        with preparation.lock():
            config = preparation.begin(num_shares=1, progress=False)
        with preparation.lock(shared=True):
            missing = preparation.missing_parts(config)
            preparation.check_space(missing)
            if missing:
                shards = preparation.source.shards
                run_pipeline(pipeline, config, [(index, shards[index]) for index in missing])
    return prepare.merge(data, max_seq_length, directory)


def make_pipeline(runner: str, options: Sequence[str]) -> beam.Pipeline:
    """An empty pipeline.

    Raises:
        UserError: if Beam does not know the runner or an option, or lacks what the runner needs.
    """
    parsed = PipelineOptions([f"--runner={runner}", *options])
    unknown = set(parsed.get_all_options(retain_unknown_options=True)) - set(parsed.get_all_options())
    if unknown:
        raise UserError(f"--{min(unknown)} is no pipeline option that Apache Beam knows")
    try:
        return beam.Pipeline(runner, parsed)
    except (ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--runner={runner} cannot be used ({reason})") from error


def run_pipeline(
    pipeline: beam.Pipeline, config: WorkerConfig, elements: Sequence[tuple[int, Shard]]
) -> None:
    """Makes parts and waits until all are there."""
    with pipeline:
        _ = pipeline | "Parts" >> beam.Create(elements) | "MakePart" >> beam.ParDo(MakePart(config))
