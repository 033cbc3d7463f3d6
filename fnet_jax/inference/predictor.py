"""What every kind of question to a model has in common: who can be asked, what goes in, what comes out."""

import abc
import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from fnet_jax.core.config import Head, ModelConfig
from fnet_jax.core.errors import UserError
from fnet_jax.inference.batching import Batcher, Forward, Variables
from fnet_jax.inference.preprocessing import Features, LongTextPolicy, Preprocessor, Request, Text
from fnet_jax.nn.heads import make_model

Fields = Mapping[str, jax.Array]  # of a batch
Input = TypeVar("Input")
Output = TypeVar("Output")

MASKED_LM: tuple[Head, ...] = ("pretrain", "masked_lm")


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """A model without its parameters.

    Attributes:
        head: what it was trained for.
        config: its shape.
        labels: names of the classes; () for regression and heads without classes.
        preprocessor: makes examples of texts; None without a tokenizer.
    """

    head: Head
    config: ModelConfig
    labels: tuple[str, ...]
    preprocessor: Preprocessor | None

    def apply(
        self,
        variables: Variables,
        fields: Fields,
        masked_lm_positions_BP: jax.Array | None = None,
        dropout_rng: jax.Array | None = None,
    ) -> Any:
        """The outputs of the head; those of masked LM at all positions unless some are given."""
        ids = fields["input_ids"]
        inputs = [ids, fields["type_ids"]]
        if self.head in MASKED_LM:
            if masked_lm_positions_BP is None:
                masked_lm_positions_BP = jnp.broadcast_to(jnp.arange(ids.shape[1])[None], ids.shape)
            inputs.append(masked_lm_positions_BP)
        rngs = None if dropout_rng is None else {"dropout": dropout_rng}
        model = make_model(self.head, self.config)
        return model.apply(variables, *inputs, deterministic=dropout_rng is None, rngs=rngs)

    def apply_encoder(
        self, variables: Variables, fields: Fields, dropout_rng: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """sequence_BLD and pooled_BD, whatever the head."""
        encoder = {
            group: {"encoder": tree["encoder"]} for group, tree in variables.items() if "encoder" in tree
        }
        return dataclasses.replace(self, head="encoder").apply(encoder, fields, dropout_rng=dropout_rng)


class Predictor(abc.ABC, Generic[Input, Output]):
    """A kind of question: inputs become examples, these become outputs on the devices, and they answers.

    Attributes:
        name: of the method of `Model`, and of the command of `tools.predict`.
        heads: that can be asked.
        forward: what each batch of examples goes through.
        model: that is asked.
        preprocessor: of the model.
    """

    name: ClassVar[str]
    heads: ClassVar[tuple[Head, ...]]
    forward: Forward

    def __init__(self, model: ModelInfo):
        """Takes the model to be asked.

        Raises:
            UserError: if its head cannot answer, or it has no tokenizer.
        """
        if model.head not in self.heads:
            heads = " or ".join(self.heads)
            raise UserError(f"{self.name} needs a model with the head {heads}; this one has {model.head}")
        if model.preprocessor is None:
            raise UserError(
                f"{self.name} takes texts, and the model has no tokenizer; give its SentencePiece model as "
                "tokenizer, or ids to Model.apply"
            )
        self.model, self.preprocessor = model, model.preprocessor

    @abc.abstractmethod
    def preprocess(self, inputs: Sequence[Input]) -> list[Request | UserError]:
        """What each input becomes, or what is wrong with it."""

    @abc.abstractmethod
    def postprocess(self, request: Request, outputs: Sequence[Any]) -> Output:
        """The answer to one input, from the outputs for its examples."""


def stream(
    batcher: Batcher, predictor: Predictor[Input, Output], inputs: Iterable[Input]
) -> Iterator[tuple[Input, Output | UserError]]:
    """Answers any number of inputs, in order and in constant memory.

    Yields:
        Each input with its answer, or with what is wrong with it.
    """
    waiting: collections.deque[tuple[Input, Request | UserError]] = collections.deque()

    def examples() -> Iterator[Features | None]:
        iterator = iter(inputs)
        while group := list(itertools.islice(iterator, batcher.batch_size)):
            for item, request in zip(group, predictor.preprocess(group), strict=True):
                waiting.append((item, request))
                yield from () if isinstance(request, UserError) else request.examples
            yield None

    outputs: list[Any] = []
    for output in batcher.run(predictor.forward, examples()):
        while waiting and isinstance(error := waiting[0][1], UserError):
            yield waiting.popleft()[0], error
        if output is None:
            continue
        outputs.append(output)
        item, request = waiting[0]
        assert isinstance(request, Request)
        if len(outputs) == len(request.examples):
            waiting.popleft()
            yield item, predictor.postprocess(request, outputs)
            outputs = []
    for item, request in waiting:
        assert isinstance(request, UserError)
        yield item, request


class TextPredictor(Predictor[Text, Output]):
    """Asked about a text or a pair; the outputs for the windows of a long one are averaged."""

    def __init__(self, model: ModelInfo, long: LongTextPolicy):
        super().__init__(model)
        self._long = long

    def preprocess(self, inputs: Sequence[Text]) -> list[Request | UserError]:
        """See `Preprocessor.texts`."""
        return self.preprocessor.texts(inputs, self._long)

    def postprocess(self, request: Request, outputs: Sequence[Any]) -> Any:
        """The mean, an array."""
        return np.mean(outputs, axis=0)
