"""The small made-up corpus of `tests/data`, for the tests of tasks."""

from tests.data.conftest import corpus, make_data, tokenizer_path

__all__ = ["corpus", "make_data", "tokenizer_path"]
