"""Finds the span of a context that answers a question; windows are those of `tasks/answer/features.py`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.inference.predictor import ModelInfo, Predictor
from fnet_jax.inference.preprocessing import Request
from fnet_jax.inference.text_predictors import logits_forward
from fnet_jax.tasks.answer.features import Found, SpanBatches, best_answers, encode_questions
from fnet_jax.tasks.answer.squad import QuestionSplit

Question = tuple[str, str]  # and its context


class AnswerQuestion(Predictor[Question, Found]):
    """The span of a context that answers a question."""

    name = "answer"
    heads = ("span",)

    def __init__(self, model: ModelInfo, no_answer: bool = False):
        """Takes a model of questions.

        Args:
            model: to be asked.
            no_answer: the text is "" where no answer outscores the best span by more than
                `data.null_score_diff_threshold`.
        """
        super().__init__(model)
        self._no_answer = no_answer
        self.forward = logits_forward(model)

    def preprocess(self, inputs: Sequence[Question]) -> list[Request | UserError]:
        """The windows of each context."""
        return [self._preprocess(*question) for question in inputs]

    def postprocess(self, request: Request, outputs: Sequence[Any]) -> Found:
        """The best span over all windows."""
        logits_NCL, data = np.stack(outputs), self.preprocessor.data
        (found,) = best_answers(request.note, logits_NCL[:, 0], logits_NCL[:, 1], data.max_answer_length)
        is_none = found.null_score - found.score > data.null_score_diff_threshold
        return found._replace(text="") if self._no_answer and is_none else found

    def _preprocess(self, question: str, context: str) -> Request | UserError:
        if not context.strip():
            return UserError("empty context")
        tokenizer, length = self.preprocessor.tokenizer, self.preprocessor.length
        split = QuestionSplit("", [question], [context], None, ["0"], "")
        encoded = encode_questions(split, tokenizer, self.preprocessor.data, length)
        count = len(encoded.windows)
        batches = SpanBatches(split, encoded, max_seq_length=length, batch_size=count, seed=0, train=False)
        batch = batches[0]
        examples = [{name: batch[name][n] for name in ("input_ids", "type_ids")} for n in range(count)]
        self.preprocessor.counts.add(examples, count > 1)
        return Request(examples, encoded)
