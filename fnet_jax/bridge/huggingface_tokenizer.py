"""The tokenizer's files as transformers expects them."""

import os
import shutil

SENTENCEPIECE = "spiece.model"


def find(folder: str) -> str | None:
    """The SentencePiece model in a folder of transformers, if it has one."""
    path = os.path.join(folder, SENTENCEPIECE)
    return path if os.path.exists(path) else None


def write(tokenizer_path: str, folder: str, max_seq_length: int) -> None:
    """Writes the files."""
    shutil.copyfile(tokenizer_path, os.path.join(folder, SENTENCEPIECE))
