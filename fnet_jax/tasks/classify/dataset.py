"""Texts or pairs of texts with one label: batches, scores, files of predictions."""

import os
from typing import Any

import numpy as np

from fnet_jax.tasks.classify import predictions
from fnet_jax.tasks.classify.confusion import draw_confusion
from fnet_jax.tasks.classify.features import classify_batches, encode, spread, truncated_share
from fnet_jax.tasks.classify.scores import predictions_of, score
from fnet_jax.tasks.features import ExampleBatches, Pair
from fnet_jax.tasks.interface import Scores
from fnet_jax.tasks.labelled import LabelledDataset


class ClassifyDataset(LabelledDataset):
    """Texts or pairs of texts with one label; they are tokenised when a batch is made."""

    def make_batches(self, split: Any, encoded: Any, **options: Any) -> ExampleBatches:
        """See `classify_batches`."""
        regression = self.task.regression
        return classify_batches(split, self.tokenizer, self.config.data, regression=regression, **options)

    def score(self, split: str, outputs: dict[str, np.ndarray]) -> Scores:
        """See `scores.score`."""
        labels, logits_NC = self.data.split(split).labels, outputs["logits"]
        return score(self.task, None if labels is None else labels[: len(logits_NC)], logits_NC, self.labels)

    def write_predictions(
        self, split: str, outputs: dict[str, np.ndarray], workdir: str, step: int
    ) -> list[str]:
        """predictions-TASK-SPLIT.jsonl, and a picture of where the model errs, confusion-TASK-SPLIT.png."""
        logits_NC = outputs["logits"]
        examples = self.data.split(split).take(range(len(logits_NC)))
        name = f"{self.task.name}-{split}"
        path = os.path.join(workdir, f"predictions-{name}.jsonl")
        predictions.write(path, examples, self.labels, logits_NC)
        if examples.labels is None:
            return [f"predictions: {path}"]
        picture = os.path.join(workdir, f"confusion-{name}.png")
        title = f"{self.task.title}, {split}, step {step}"
        draw_confusion(picture, self.labels, examples.labels, predictions_of(self.task, logits_NC), title)
        return [f"predictions: {path}", f"picture:     {picture}"]

    def tokens(self, split: Any, numbers: np.ndarray) -> list[Pair]:
        """The tokens of some examples, first and second text."""
        return encode(split, numbers, self.tokenizer, swap_texts=False)

    def length_warnings(self) -> list[str]:
        """A warning if some training examples are longer than the model, by those of a sample."""
        length = self.config.model.max_seq_length
        train = self.data.splits.get("train")
        share = truncated_share(self.tokens(train, spread(len(train))), length) if train else 0.0
        if not share:
            return []
        how = self.config.data.truncation
        return [
            f"about {share:.1%} of the training examples are cut to {length} pieces (data.truncation={how!r})"
        ]
