"""Questions whose answers are spans of contexts: batches, scores, files of predictions."""

import json
import os

import numpy as np

from fnet_jax.core.files import write_atomically
from fnet_jax.tasks.answer.features import (
    AnswerPrediction,
    EncodedQuestions,
    answer_batches,
    best_answers,
    encode_questions,
)
from fnet_jax.tasks.answer.files import AnswerSplit
from fnet_jax.tasks.answer.scores import score_answers
from fnet_jax.tasks.interface import Scores
from fnet_jax.tasks.labelled import LabelledDataset


class AnswerDataset(LabelledDataset):
    """Questions about contexts; examples are windows of the contexts."""

    make_batches = staticmethod(answer_batches)

    def encode(self, split: AnswerSplit) -> EncodedQuestions:
        """See `encode_questions`."""
        length = self.config.model.max_seq_length
        return encode_questions(split, self.tokenizer, self.config.data, length)

    def score(self, split: str, outputs: dict[str, np.ndarray]) -> Scores:
        """See `scores.score_answers`; over the questions whose windows are all there."""
        questions = self.data.split(split)
        if questions.labels is None:
            return Scores({}, {}, ("this split has no answers, so nothing is scored",))
        found = self._found(split, outputs)
        broken = sum(not np.isfinite(outputs[name]).all() for name in ("start_logits", "end_logits"))
        warnings = ("some of the model's outputs are not finite",) if broken else ()
        return score_answers(questions.labels[: len(found)], self._texts(split, found), warnings)

    def write_predictions(
        self, split: str, outputs: dict[str, np.ndarray], workdir: str, step: int
    ) -> list[str]:
        """Leaves predictions-TASK-SPLIT.json, an object from the id of a question to its answer.

        That is what SQuAD's evaluation scripts read. Where questions may have no answer,
        null-odds-TASK-SPLIT.json has by how much "no answer" outscores the best span.
        """
        found = self._found(split, outputs)
        ids = self.data.split(split).ids
        name = f"{self.task.name}-{split}.json"
        files = {"predictions": dict(zip(ids, self._texts(split, found), strict=False))}
        if self._may_be_unanswerable(split):
            files["null-odds"] = {
                question: round(one.null_score - one.score, 4)
                for question, one in zip(ids, found, strict=False)
            }
        lines = []
        for kind, values in files.items():
            path = os.path.join(workdir, f"{kind}-{name}")
            write_atomically(path, (json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode())
            lines.append(f"{kind}: {path}")
        return lines

    def length_warnings(self) -> list[str]:
        """How many windows there are, and which answers cannot be learnt."""
        warnings = []
        for name, split in self.data.splits.items():
            encoded = self.encoded(name)
            if len(encoded.windows) > len(split):
                warnings.append(f"{name}: {len(split):,} questions, {len(encoded.windows):,} windows")
            lost = sum(
                bool(answers) and tokens[0] < 0
                for answers, tokens in zip(split.labels or [], encoded.answers, strict=False)
            )
            if lost:
                warnings.append(f"{name}: {lost:,} answers have no piece of their own and count as none")
        return warnings

    def _found(self, split: str, outputs: dict[str, np.ndarray]) -> list[AnswerPrediction]:
        starts, ends = outputs["start_logits"], outputs["end_logits"]
        return best_answers(self.encoded(split), starts, ends, self.config.data.max_answer_length)

    def _texts(self, split: str, found: list[AnswerPrediction]) -> list[str]:
        """The answers; "" where there is none, by `data.null_score_diff_threshold`."""
        if not self._may_be_unanswerable(split):
            return [one.text for one in found]
        threshold = self.config.data.null_score_diff_threshold
        return ["" if one.null_score - one.score > threshold else one.text for one in found]

    def _may_be_unanswerable(self, split: str) -> bool:
        """Whether "no answer" is one: questions of the training split or of this one have none."""
        names = {"train", split} & self.data.splits.keys()
        return any(self.data.splits[name].has_unanswerable for name in names)
