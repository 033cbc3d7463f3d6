"""A trained model to be asked, or to be part of other JAX code: `fnet_jax.load(DIR)`."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from fnet_jax.bridge.loaded import Loaded
from fnet_jax.bridge.read import read
from fnet_jax.core.config import Config, Head
from fnet_jax.core.errors import UserError
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer
from fnet_jax.inference.batching import Batcher
from fnet_jax.inference.fill_mask import FillMask
from fnet_jax.inference.predictor import Input, ModelInfo, Output, Predictor, stream
from fnet_jax.inference.preprocessing import Counts, Features, LongTextPolicy, Preprocessor, Request, Text
from fnet_jax.inference.task_predictors import AnswerQuestion, Choose, TagWords
from fnet_jax.inference.text_predictors import Classify, Encode, Logits, NextSentence
from fnet_jax.tasks.answer.features import AnswerPrediction
from fnet_jax.tasks.classify.predictions import Prediction

DType = Literal["float32", "bfloat16"]
BATCH_SIZE = 32
# Every kind of question, by the name of its method; each names the heads that it can be put to.
PREDICTORS: dict[str, type[Predictor]] = {
    predictor.name: predictor
    for predictor in (
        FillMask, Classify, Encode, Logits, NextSentence, TagWords, Choose, AnswerQuestion
    )
}  # fmt: skip


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
        batch_size: texts that are computed at a time.
        tokenizer: SentencePiece model in place of the folder's own. Without any, the model takes ids alone,
            see `Model.apply`.

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
    return Model(loaded, load_tokenizer(path) if path else None, dtype, batch_size)


class Model:
    """An encoder with a head, its tokenizer, and the programs that have been compiled for it.

    Every text is padded to the length of training. FNet mixes padding like any other token: at another
    length, or at the length of the longest text that shares its batch, a text would be another input.

    A method takes one text, or a pair as a tuple, and returns one answer; or a list, and returns a list.
    `long` says what becomes of texts that are too long, see `LongTextPolicy`; `counts` counts them. Texts
    and heads that cannot be are a `UserError`, and so is a text for a model without a tokenizer.

    Letters of shapes: N texts, B examples, L positions, D width, V tokens of the vocabulary, C classes.

    Attributes:
        config: of the run, or as much as is known of it.
        head: what the model was trained for.
        labels: names of the classes; () for regression and heads without classes.
        counts: texts and tokens so far.
        info: the model without its parameters, for the predictors that `stream` takes.
    """

    def __init__(
        self,
        loaded: Loaded,
        tokenizer: Tokenizer | None,
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
        self.counts = Counts()
        if tokenizer is not None and tokenizer.vocab_size != shape.vocab_size:
            raise UserError(
                f"the tokenizer has {tokenizer.vocab_size} pieces, the model {shape.vocab_size}; give the "
                "SentencePiece model that it was trained with"
            )
        preprocessor = None
        if tokenizer is not None:
            preprocessor = Preprocessor(tokenizer, shape.max_seq_length, self.config.data, self.counts)
        self.info = ModelInfo(self.head, shape, self.labels, preprocessor)
        self._batcher = Batcher(loaded.variables, batch_size, devices)

    @property
    def params(self) -> Any:
        """The parameters on the devices, nested dicts of float32 arrays; `["encoder"]` are the encoder's."""
        return self._batcher.variables["params"]

    def apply(
        self,
        params: Any,
        input_ids: jax.Array | np.ndarray,
        type_ids: jax.Array | np.ndarray | None = None,
        masked_lm_positions: jax.Array | np.ndarray | None = None,
        dropout_rng: jax.Array | None = None,
    ) -> Any:
        """The outputs of the head as a pure function, for `jax.jit`, `jax.grad` and `jax.vmap`.

        Args:
            params: `self.params`, or others of the same shapes.
            input_ids: i32[B, L], or [B, K, L] of K choices; [CLS] first, a [SEP] behind each text, padded as
                in training to `config.model.max_seq_length` with `PAD_ID`.
            type_ids: of the same shape, 1 for the second text of a pair and its [SEP]; by default zeros.
            masked_lm_positions: i32[B, P], where the masked LM predicts; by default everywhere, P = L.
            dropout_rng: key of the dropout masks, for training; by default there is no dropout.

        Returns:
            By head: sequence and next_sentence [B, C]; tokens [B, L, C]; choice [B, K]; masked_lm [B, P, V];
            span a tuple of [B, L] for both ends; pretrain a tuple of [B, P, V] and [B, 2]; encoder as
            `apply_encoder`. Logits are float32.

        Raises:
            ValueError: if L exceeds that of the model, or differs from it with a mixer of fixed length.
        """
        positions = None if masked_lm_positions is None else jnp.asarray(masked_lm_positions)
        return self.info.apply(self._variables(params), _fields(input_ids, type_ids), positions, dropout_rng)

    def apply_encoder(
        self,
        params: Any,
        input_ids: jax.Array | np.ndarray,
        type_ids: jax.Array | np.ndarray | None = None,
        dropout_rng: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """The outputs of the encoder as a pure function, whatever the head; arguments as of `apply`.

        Args:
            params: of which `["encoder"]` is taken.
            input_ids: i32[B, L].
            type_ids: i32[B, L].
            dropout_rng: key of the dropout masks.

        Returns:
            A vector for each position, [B, L, D], and one for each text, the pooled [CLS], [B, D]; in
            `config.model.dtype`.
        """
        fields = _fields(input_ids, type_ids)
        return self.info.apply_encoder(self._variables(params), fields, dropout_rng)

    def tokenize(self, texts: Sequence[Text]) -> dict[str, np.ndarray]:
        """Texts or pairs as `apply` takes them, cut as in training: `input_ids` and `type_ids` i32[N, L]."""
        examples: list[Features] = []
        for request in Encode(self.info).preprocess(texts):
            assert isinstance(request, Request)
            examples += request.examples
        return jax.tree.map(lambda *fields: np.stack(fields), *examples)

    def fill_mask(
        self,
        texts: str | Sequence[str],
        top_k: int = 5,
        long: LongTextPolicy = "cut",
        hf_mask_spacing: bool = False,
    ) -> Any:
        """The best tokens for each [MASK].

        With `hf_mask_spacing` what follows [MASK] begins a new word, as in Hugging Face's tokenizer; the
        original hides tokens of a text that is cut already.

        Returns:
            For each text one list of `Guess` for each [MASK] in it, best first.
        """
        return self._ask(FillMask(self.info, top_k, long, hf_mask_spacing), texts)

    def encode(
        self, texts: Text | Sequence[Text], per_position: bool = False, long: LongTextPolicy = "cut"
    ) -> Any:
        """What the encoder makes of texts, whatever the head.

        Args:
            texts: or pairs.
            per_position: what stands at each of the L positions, [CLS] first; otherwise the pooled [CLS].
            long: with stride, the mean over the windows; not with `per_position`.

        Returns:
            f32[N, D] or f32[N, L, D]; without N for a single text.
        """
        return _stacked(self._ask(Encode(self.info, per_position, long), texts))

    def logits(self, texts: Text | Sequence[Text], long: LongTextPolicy = "cut") -> Any:
        """What the head gives.

        Returns:
            f32[N, ...], without N for a single text: [N, C] for classes of texts and next sentence,
            [N, L, V] for masked LM, [N, L, C] for classes of tokens, [N, 2, L] for both ends of spans.
        """
        return _stacked(self._ask(Logits(self.info, long), texts))

    def classify(self, texts: Text | Sequence[Text], long: LongTextPolicy = "cut") -> Any:
        """`Prediction` for each text or pair: name of the class and all probabilities, or a number."""
        return self._ask(Classify(self.info, long), texts)

    def next_sentence(
        self, pairs: tuple[str, str] | Sequence[tuple[str, str]], long: LongTextPolicy = "cut"
    ) -> Any:
        """For each pair the probability that its second text follows the first one, as in pretraining."""
        return self._ask(NextSentence(self.info, long), pairs)

    def answer(self, question: str, context: str, may_have_none: bool = False) -> AnswerPrediction:
        """The span of the context that answers the question, with its score; see `AnswerQuestion`."""
        return self._ask(AnswerQuestion(self.info, may_have_none), (question, context))

    def tag(self, words: str | Sequence[str] | Sequence[Sequence[str]]) -> Any:
        """A `Tag` for each word.

        Args:
            words: of a sentence, or a list of such; a text is split at its spaces.
        """
        is_one = all(isinstance(word, str) for word in words)
        sentences = [words.split() if isinstance(words, str) else words] if is_one else words
        answers = self._ask(TagWords(self.info), list(sentences))
        return answers[0] if is_one else answers

    def choose(self, context: str, choices: Sequence[str]) -> Prediction:
        """The number of the text that goes on best from the context, and the probabilities of all."""
        return self._ask(Choose(self.info), (context, choices))

    def stream(
        self, predictor: Predictor[Input, Output], inputs: Iterable[Input]
    ) -> Iterator[tuple[Input, Output | UserError]]:
        """Answers any number of inputs; see `predictor.stream`."""
        return stream(self._batcher, predictor, inputs)

    @property
    def seconds_compiling(self) -> float:
        """Time that compiling has taken so far."""
        return self._batcher.seconds_compiling

    def _variables(self, params: Any) -> Mapping[str, Any]:
        return {**self._batcher.variables, "params": params}

    def _ask(self, predictor: Predictor[Input, Output], inputs: Any) -> Any:
        is_one = isinstance(inputs, str | tuple)
        answers = []
        for _, answer in self.stream(predictor, [inputs] if is_one else inputs):
            if isinstance(answer, UserError):
                raise answer
            answers.append(answer)
        return answers[0] if is_one else answers


def _fields(input_ids: Any, type_ids: Any) -> dict[str, jax.Array]:
    ids = jnp.asarray(input_ids)
    return {
        "input_ids": ids,
        "type_ids": jnp.zeros_like(ids) if type_ids is None else jnp.asarray(type_ids),
    }


def _stacked(answers: np.ndarray | list[np.ndarray]) -> np.ndarray:
    return np.array(answers) if isinstance(answers, list) else answers


def _labels(config: Config, head: Head) -> tuple[str, ...]:
    """The names of the run; numbers where the classes have none."""
    count = config.model.num_outputs
    if config.data.labels or head not in ("sequence", "tokens") or count == 1:
        return config.data.labels
    return tuple(map(str, range(count)))
