"""Sentences with a tag for each word: batches, scores, files of predictions."""

import os

import numpy as np

from fnet_jax.tasks.features import num_whole
from fnet_jax.tasks.interface import Scores
from fnet_jax.tasks.labelled import LabelledDataset
from fnet_jax.tasks.tag.features import TagWindow, encode_sentences, tag_batches, values_of_words
from fnet_jax.tasks.tag.files import TagSplit, write_conll
from fnet_jax.tasks.tag.scores import score_tags


class TagDataset(LabelledDataset):
    """Sentences with a tag for each word; examples are their windows."""

    make_batches = staticmethod(tag_batches)

    def encode(self, split: TagSplit) -> list[TagWindow]:
        """See `encode_sentences`."""
        return encode_sentences(split.words, self.tokenizer, self.config.model.max_seq_length)

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
        return [
            f"{name}: sentences of more than {length - 2} pieces are cut into windows, which makes "
            f"{more:,} examples more than {len(split):,}"
            for name, split in self.data.splits.items()
            if (more := self.num_examples(name) - len(split))
        ]

    def _predicted(
        self, split: str, outputs: dict[str, np.ndarray]
    ) -> tuple[TagSplit, list[np.ndarray], list[np.ndarray]]:
        """The sentences that were seen whole, and what was predicted of each word, and how surely."""
        windows = self.encoded(split)
        seen = windows[: len(outputs["labels"])]
        count = num_whole(windows, len(seen))
        labels, probabilities = (
            values_of_words(seen, outputs[name], count) for name in ("labels", "probabilities")
        )
        return self.data.split(split).take(range(count)), labels, probabilities
