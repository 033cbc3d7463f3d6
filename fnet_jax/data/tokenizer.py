"""SentencePiece tokenizers with the original's special tokens, loaded or trained.

Trained ones normalise as the original's 32,000-piece model does: NFKC with tidied whitespace
("nmt_nfkc"), case kept.
"""

import functools
import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece

from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from fnet_jax.core.special_tokens import (
    BOS_ID,
    EOS_ID,
    MASK_ID,
    NUM_SPECIAL_IDS,
    PAD_ID,
    SPECIAL_TOKENS,
    UNK_ID,
)
from fnet_jax.data.text import paragraphs

_TRAINING_BYTES = 64 << 20  # of text from all over the corpus
_MAX_SENTENCE_BYTES = 16_384
# Of the trainer; the result of unigram depends on it, so it is a constant and not the machine's.
_TRAINING_THREADS = 4


class Tokenizer:
    """A SentencePiece model whose first ids are `SPECIAL_TOKENS`.

    Attributes:
        model: the bytes of the .model file.
        sha256: of these bytes.
        vocab_size: V.
    """

    def __init__(self, model: bytes) -> None:
        """Takes a checked model; use `load_tokenizer`."""
        self.model = model
        self.sha256 = hashlib.sha256(model).hexdigest()
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.vocab_size: int = self._processor.vocab_size()

    def __reduce__(self):
        """Travels to other processes as the model's bytes."""
        return Tokenizer, (self.model,)

    def encode(self, text: str) -> list[int]:
        """The ids of the tokens of `text`, nothing added."""
        return self._processor.encode(text)

    def encode_masked(self, text: str, hf_spacing: bool = False) -> list[int]:
        """The ids of a text in which each "[MASK]" hides a token.

        As in pretraining, where tokens are hidden after the text was cut: a space before [MASK] belongs to
        the token that it hides, and what follows without a space goes on with the word.

        Args:
            text: with any number of [MASK].
            hf_spacing: begin a new word behind [MASK], as FNetTokenizer of transformers does.
        """
        if hf_spacing:
            first, *others = (self.encode(part) for part in text.split(SPECIAL_TOKENS[MASK_ID]))
            return first + [i for part in others for i in (MASK_ID, *part)]
        ids = self.encode(text)
        space = self._processor.piece_to_id("▁")
        return [i for k, i in enumerate(ids) if i != space or ids[k + 1 : k + 2] != [MASK_ID]]

    def encode_batch(self, texts: Sequence[str], num_threads: int = 1) -> list[list[int]]:
        """`encode` of several texts."""
        return self._processor.encode(list(texts), num_threads=num_threads)

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of the tokens of `text`, and the characters [begin, end) of `text` that each stands for.

        A token with "▁" stands for the space too. Where normalisation makes several characters of one, their
        tokens share it, or one of them has it and the others none.
        """
        found = self._processor.encode(text, out_type="offset_mapping")
        return found["ids"], found["offsets"]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of the tokens; special ones vanish, except those that are plain text to SentencePiece."""
        return self._processor.decode([int(i) for i in ids])

    def id_to_token(self, token_id: int) -> str:
        """The token as SentencePiece writes it, "▁" standing for a space."""
        return self._processor.id_to_piece(int(token_id))

    @functools.cached_property
    def is_word_start(self) -> np.ndarray:
        """bool[V]: whether the token begins a word, that is, what stands between spaces.

        Special tokens stand for themselves and count as beginnings; all but `<unk>`, which stands for
        some letters of a word.
        """
        starts_V = np.array([self.id_to_token(i).startswith("▁") for i in range(self.vocab_size)])
        starts_V[1:NUM_SPECIAL_IDS] = True
        return starts_V


def load_tokenizer(path: str) -> Tokenizer:
    """Loads a SentencePiece model.

    Raises:
        UserError: if the file is missing, is no such model, or places the special tokens elsewhere.
    """
    try:
        with open(os.path.expanduser(path), "rb") as file:
            model = file.read()
        tokenizer = Tokenizer(model)
    except OSError as error:
        raise UserError(f"data.tokenizer={path!r} cannot be read ({error.strerror})") from error
    except RuntimeError as error:
        raise UserError(f"data.tokenizer={path!r} is no SentencePiece model") from error
    found = [tokenizer.id_to_token(i) for i in range(min(NUM_SPECIAL_IDS, tokenizer.vocab_size))]
    processor = tokenizer._processor
    ids = (processor.unk_id(), processor.bos_id(), processor.eos_id(), processor.pad_id())
    names = (found[0], *found[PAD_ID:])  # those of <s> and </s> may be others
    if names != (SPECIAL_TOKENS[0], *SPECIAL_TOKENS[PAD_ID:]) or ids != (UNK_ID, BOS_ID, EOS_ID, PAD_ID):
        raise UserError(
            f"data.tokenizer={path!r} has the first pieces {' '.join(found)}; needed are "
            f"{' '.join(SPECIAL_TOKENS)}, which python -m fnet_jax.tools.train_tokenizer gives"
        )
    return tokenizer


def train_tokenizer(lines: Iterable[str], path: str, vocab_size: int, algorithm: str = "bpe") -> Tokenizer:
    """Trains a model with the original's special ids; the same lines give the same bytes.

    Args:
        lines: paragraphs or sentences; `training_lines` gives those of a corpus.
        path: of the .model file.
        vocab_size: V, the special tokens included.
        algorithm: "bpe", as the original, or "unigram".

    Raises:
        UserError: if the corpus cannot fill the vocabulary, or the file cannot be written.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=algorithm,
            vocab_size=vocab_size,
            unk_piece=SPECIAL_TOKENS[0],
            pad_piece=SPECIAL_TOKENS[PAD_ID],
            unk_id=UNK_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            pad_id=PAD_ID,
            user_defined_symbols=list(SPECIAL_TOKENS[PAD_ID + 1 :]),
            normalization_rule_name="nmt_nfkc",
            max_sentence_length=_MAX_SENTENCE_BYTES,
            num_threads=_TRAINING_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(_explain(str(error), vocab_size)) from error
    tokenizer = Tokenizer(model.getvalue())
    if tokenizer.vocab_size != vocab_size:
        raise UserError(_too_large(vocab_size, tokenizer.vocab_size))
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        write_atomically(path, tokenizer.model)
    except OSError as error:
        raise UserError(f"the tokenizer cannot be written to {path} ({error.strerror})") from error
    return tokenizer


def _explain(message: str, vocab_size: int) -> str:
    """SentencePiece's error message as a sentence for people."""
    if match := re.search(r"value <= (\d+)", message):
        return _too_large(vocab_size, int(match[1]))
    if match := re.search(r"required_chars\. \d+ vs (\d+)", message):
        return (
            f"data.tokenizer_pieces={vocab_size} is too small: the characters of the corpus alone need "
            f"{match[1]}; use at least {int(match[1]) + 100}"
        )
    if "sentences_.empty()" in message:
        return "data.corpus holds no text to train a tokenizer on; check data.corpus and data.text_field"
    return f"the tokenizer could not be trained with data.tokenizer_pieces={vocab_size} ({message})"


def _too_large(vocab_size: int, largest: int) -> str:
    return (
        f"data.tokenizer_pieces={vocab_size} is too large for this corpus, which can fill {largest}; "
        f"use at most {largest}"
    )


def training_lines(shards: Sequence[Iterable[object]], max_bytes: int = _TRAINING_BYTES) -> Iterable[str]:
    """Lines to train on: the beginning of every shard, up to `max_bytes` in all.

    Args:
        shards: of a corpus; what they yield beside documents is passed over.
        max_bytes: of text, in equal parts for all shards.
    """
    for shard in shards:
        room = max(max_bytes // len(shards), 1)
        for document in shard:
            if not isinstance(document, str):
                continue
            for line in paragraphs(document):
                yield line
                room -= len(line)
            if room <= 0:
                break
