"""Trains a SentencePiece tokenizer with the special tokens that this project needs.

    python -m fnet_jax.tools.train_tokenizer --corpus=texts/ --output=x.model --vocab_size=8000

Then give it to any run as `--config.data.tokenizer=x.model`.
"""

import os
import time
from collections.abc import Sequence

from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.data.corpus.sources import open_source
from fnet_jax.data.tokenizer import train_tokenizer, training_lines
from fnet_jax.runtime import cli

_CORPUS = flags.DEFINE_string(
    "corpus", "pydocs", "As data.corpus: pydocs, a file, folder or glob, tfds:NAME."
)
_TEXT_FIELD = flags.DEFINE_string("text_field", "text", "Field of JSONL, Parquet and TFDS records.")
_OUTPUT = flags.DEFINE_string("output", None, "The .model file to write.")
_VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 32_000, "Number of tokens, special ones included.")
_ALGORITHM = flags.DEFINE_enum("algorithm", "bpe", ["bpe", "unigram"], "How the tokens are found.")


def main(_: Sequence[str]) -> None:
    """Trains, and shows one sentence in tokens."""
    if not _OUTPUT.value:
        raise UserError("--output is not given; name the .model file to write")
    path = os.path.expanduser(_OUTPUT.value)
    started = time.monotonic()
    shards = open_source(_CORPUS.value, _TEXT_FIELD.value).shards
    tokenizer = train_tokenizer(training_lines(shards), path, _VOCAB_SIZE.value, _ALGORITHM.value)
    sample = "The quick brown fox jumps over the lazy dog."
    tokens = " ".join(tokenizer.id_to_token(i) for i in tokenizer.encode(sample))
    print(
        f"{path}: {tokenizer.vocab_size:,} pieces in {time.monotonic() - started:.0f} s, for example {tokens}"
    )
    print(f"Next: --config.data.tokenizer={path}")


if __name__ == "__main__":
    cli.run(main)
