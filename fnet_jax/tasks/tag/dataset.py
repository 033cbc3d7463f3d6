"""Sentences with a tag for each word."""

import functools
import os
from typing import Any

import numpy as np

from fnet_jax.data.pipeline import Batches
from fnet_jax.tasks.interface import Scores
from fnet_jax.tasks.labelled_dataset import LabelledDataset
from fnet_jax.tasks.tag.features import (
    TagBatches,
    WordWindow,
    label_of_words,
    whole_sentences,
    word_windows,
)
from fnet_jax.tasks.tag.files import TagSplit, write_conll
from fnet_jax.tasks.tag.scores import score_tags


class TagDataset(LabelledDataset):
    """Sentences with a tag for each word; examples are their windows."""

    def num_examples(self, split: str) -> int:
        """Windows."""
        return len(self._of(split))

    def make_batches(self, split: str, **options: Any) -> Batches:
        """See `TagBatches`."""
        return TagBatches(self.data.split(split), self._of(split), **options)

    def score(self, split: str, outputs: dict[str, np.ndarray]) -> Scores:
        """See `scores.score_tags`; over the sentences whose windows are all there."""
        sentences, predicted, probabilities = self._predicted(split, outputs)
        if sentences.labels is None:
            return Scores({}, {}, ("this split has no tags, so nothing is scored",))
        return score_tags(self.labels, sentences, predicted, probabilities, self.data.splits["train"])

    def write_predictions(
        self, split: str, outputs: dict[str, np.ndarray], workdir: str, step: int
    ) -> list[str]:
        """predictions-TASK-SPLIT.conll: word, tag where there is one, and the model's, divided by tabs."""
        sentences, predicted, _ = self._predicted(split, outputs)
        path = os.path.join(workdir, f"predictions-{self.task.name}-{split}.conll")
        write_conll(path, sentences, self.labels, predicted)
        return [f"predictions: {path}"]

    def length_warnings(self) -> list[str]:
        """A warning if some sentences do not fit into one example."""
        length = self.config.model.max_seq_length
        warnings = []
        for name, split in self.data.splits.items():
            more = len(self._windows[name]) - len(split)
            if more:
                warnings.append(
                    f"{name}: sentences of more than {length - 2} pieces are cut into windows, which makes "
                    f"{more:,} examples more than {len(split):,}"
                )
        return warnings

    def _predicted(
        self, split: str, outputs: dict[str, np.ndarray]
    ) -> tuple[TagSplit, list[np.ndarray], list[np.ndarray]]:
        """The sentences that were seen whole, and what was predicted of each word, and how surely."""
        windows = self._of(split)[: len(outputs["labels"])]
        count = whole_sentences(self._of(split), len(windows))
        labels, probabilities = (
            label_of_words(windows, outputs[name], count) for name in ("labels", "probabilities")
        )
        return self.data.split(split).take(range(count)), labels, probabilities

    def _of(self, split: str) -> list[WordWindow]:
        self.data.split(split)  # which says if there is none
        return self._windows[split]

    @functools.cached_property
    def _windows(self) -> dict[str, list[WordWindow]]:
        length = self.config.model.max_seq_length
        splits = self.data.splits.items()
        return {name: word_windows(split.words, self.tokenizer, length) for name, split in splits}
