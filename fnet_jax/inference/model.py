"""A trained model to be asked: `fnet_jax.load(DIR)`."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np
from absl import logging

from fnet_jax.bridge.loaded import Loaded
from fnet_jax.bridge.read import read
from fnet_jax.core.config import Config, Head
from fnet_jax.core.errors import UserError
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer
from fnet_jax.inference import jobs, task_jobs
from fnet_jax.inference.batching import Row, Runner, groups
from fnet_jax.inference.jobs import Answer, Item, Job, Parts
from fnet_jax.inference.texts import Asked, Long, Reader, Tally, Text
from fnet_jax.tasks.answer.features import AnswerPrediction
from fnet_jax.tasks.classify.predictions import Prediction

DType = Literal["float32", "bfloat16"]
BATCH_SIZE = 32


def load(
    directory: str,
    step: int | None = None,
    dtype: DType | None = None,
    batch_size: int = BATCH_SIZE,
    tokenizer: str | None = None,
) -> "Model":
    """Opens a trained model on all devices of this process.

    Args:
        directory: a workdir of `train.py`, a folder with `model.safetensors` in our names, or one of
            Hugging Face's.
        step: of a workdir's checkpoint; by default the best one where it keeps the best, or the newest.
        dtype: of the computation; by default as in training. Parameters stay float32.
        batch_size: texts that are worked off at a time.
        tokenizer: SentencePiece model in place of the folder's own.

    Raises:
        UserError: if there is no model, or it is damaged.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # Orbax warns that a folder is read only, which is meant so
    try:
        loaded = read(directory, step)
    finally:
        logging.set_verbosity(verbosity)
    path = tokenizer or loaded.tokenizer_path
    if path is None:
        raise UserError(f"{directory} has no tokenizer; give its SentencePiece model as tokenizer")
    return Model(loaded, load_tokenizer(path), dtype, batch_size)


class Model:
    """An encoder with a head, its tokenizer, and the programs that have been compiled for it.

    Every text is padded to the length of training. FNet mixes padding like any other piece: at another
    length, or at the length of the longest text that shares its batch, a text would be another input.

    A method takes one text, or a pair as a tuple, and returns one answer; or a list, and returns a list.
    `long` says what becomes of texts that are too long, see `inference/texts.py`; `tally` counts them.
    Wrong texts and heads are a `UserError`.

    Attributes:
        config: of the run, or as much as is known of it.
        head: what the model was trained for.
        labels: names of the classes; () for regression and heads without classes.
        tally: texts and pieces so far.
        parts: what jobs need, for `stream`.
    """

    def __init__(
        self,
        loaded: Loaded,
        tokenizer: Tokenizer,
        dtype: DType | None = None,
        batch_size: int = BATCH_SIZE,
        devices: Sequence[jax.Device] | None = None,
    ):
        """Moves the parameters to the devices; see `load`.

        Raises:
            UserError: if the tokenizer is not the model's.
        """
        shape = loaded.config.model
        if dtype is not None:
            shape = dataclasses.replace(shape, dtype=dtype)
        self.config: Config = dataclasses.replace(loaded.config, model=shape)
        self.head: Head = loaded.head
        self.labels = _labels(self.config, self.head)
        self.tally = Tally()
        if tokenizer.vocab_size != shape.vocab_size:
            raise UserError(
                f"the tokenizer has {tokenizer.vocab_size} pieces, the model {shape.vocab_size}; give the "
                "SentencePiece model that it was trained with"
            )
        reader = Reader(tokenizer, shape.max_seq_length, self.config.data, self.tally)
        self.parts = Parts(self.head, shape, self.labels, reader)
        self._runner = Runner(loaded.variables, batch_size, devices)

    def fill_mask(
        self, texts: str | Sequence[str], top_k: int = 5, long: Long = "cut", hf_mask_spacing: bool = False
    ) -> Any:
        """The best pieces for each [MASK].

        With `hf_mask_spacing` what follows [MASK] begins a new word, as in Hugging Face's tokenizer; the
        original hides pieces of a text that is cut already.

        Returns:
            For each text one list of `Guess` for each [MASK] in it, best first.
        """
        return self._ask(jobs.FillMask(self.parts, top_k, long, hf_mask_spacing), texts)

    def encode(self, texts: Text | Sequence[Text], per_position: bool = False, long: Long = "cut") -> Any:
        """What the encoder makes of texts, whatever the head.

        Args:
            texts: or pairs.
            per_position: what stands at each of the L positions, [CLS] first; otherwise the pooled [CLS].
            long: with stride, the mean over the windows; not with `per_position`.

        Returns:
            f32[N, D] or f32[N, L, D]; without N for a single text.
        """
        return _stacked(self._ask(jobs.Encode(self.parts, per_position, long), texts))

    def logits(self, texts: Text | Sequence[Text], long: Long = "cut") -> Any:
        """What the head gives.

        Returns:
            f32[N, ...], without N for a single text: [N, C] for classes of texts and next sentence,
            [N, L, V] for masked LM, [N, L, C] for classes of pieces, [N, 2, L] for both ends of spans.
        """
        return _stacked(self._ask(jobs.Logits(self.parts, long), texts))

    def classify(self, texts: Text | Sequence[Text], long: Long = "cut") -> Any:
        """`Prediction` for each text or pair: name of the class and all probabilities, or a number."""
        return self._ask(jobs.Classify(self.parts, long), texts)

    def next_sentence(self, pairs: tuple[str, str] | Sequence[tuple[str, str]], long: Long = "cut") -> Any:
        """For each pair the probability that its second text follows the first one, as in pretraining."""
        return self._ask(jobs.NextSentence(self.parts, long), pairs)

    def answer(self, question: str, context: str, may_have_none: bool = False) -> AnswerPrediction:
        """The span of the context that answers the question, with its score; see `task_jobs.Span`."""
        return self._ask(task_jobs.Span(self.parts, may_have_none), (question, context))

    def tag(self, words: str | Sequence[str] | Sequence[Sequence[str]]) -> Any:
        """A `Tag` for each word.

        Args:
            words: of a sentence, or a list of such; a text is split at its spaces.
        """
        is_one = all(isinstance(word, str) for word in words)
        sentences = [words.split() if isinstance(words, str) else words] if is_one else words
        answers = self._ask(task_jobs.Tags(self.parts), list(sentences))
        return answers[0] if is_one else answers

    def choose(self, context: str, choices: Sequence[str]) -> Prediction:
        """The number of the text that goes on best from the context, and the probabilities of all."""
        return self._ask(task_jobs.Choose(self.parts, "cut"), (context, choices))

    def stream(
        self, job: Job[Item, Answer], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Answer | UserError]]:
        """Works off any number of items, in order and in constant memory.

        Yields:
            Each item with its answer, or with what is wrong with it.
        """
        waiting: collections.deque[tuple[Item, Asked | UserError]] = collections.deque()

        def rows() -> Iterator[Row | None]:
            for group in groups(items, self._runner.batch_size):
                for item, asked in zip(group, job.ask(group), strict=True):
                    waiting.append((item, asked))
                    yield from () if isinstance(asked, UserError) else asked.rows
                yield None

        outputs: list[Any] = []
        for output in self._runner.run(job.function, rows()):
            while waiting and isinstance(error := waiting[0][1], UserError):
                yield waiting.popleft()[0], error
            if output is None:
                continue
            outputs.append(output)
            item, asked = waiting[0]
            assert isinstance(asked, Asked)
            if len(outputs) == len(asked.rows):
                waiting.popleft()
                yield item, job.answer(asked, outputs)
                outputs = []
        for item, asked in waiting:
            assert isinstance(asked, UserError)
            yield item, asked

    @property
    def seconds_compiling(self) -> float:
        """Time that compiling has taken so far."""
        return self._runner.seconds_compiling

    def _ask(self, job: Job[Item, Answer], items: Any) -> Any:
        is_one = isinstance(items, str | tuple)
        answers = []
        for _, answer in self.stream(job, [items] if is_one else items):
            if isinstance(answer, UserError):
                raise answer
            answers.append(answer)
        return answers[0] if is_one else answers


def _stacked(answers: np.ndarray | list[np.ndarray]) -> np.ndarray:
    return np.array(answers) if isinstance(answers, list) else answers


def _labels(config: Config, head: Head) -> tuple[str, ...]:
    """The names of the run; numbers where the classes have none."""
    count = config.model.num_outputs
    if config.data.labels or head not in ("sequence", "tokens") or count == 1:
        return config.data.labels
    return tuple(map(str, range(count)))
