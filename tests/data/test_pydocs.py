import ast
import warnings

import pytest

from fnet_jax.data import pydocs


def ast_docstrings(source: str) -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
    return {text for text in found if text}


@pytest.mark.parametrize("library", ["python", "numpy", "scipy", "jax", "optax", "orbax"])
def test_the_regular_expression_finds_what_ast_finds(library):
    expected, found = 0, 0
    invented = 0
    files = pydocs._source_files(library)
    for path in files[:: max(1, len(files) // 60)]:
        source = path.read_text(encoding="utf-8", errors="ignore")
        truth = {text for text in ast_docstrings(source) if len(text.split()) >= pydocs.MIN_WORDS}
        quick = {text for text in pydocs.docstrings(source) if len(text.split()) >= pydocs.MIN_WORDS}
        expected += len(truth)
        found += len(truth & quick)
        invented += len(quick - truth)
    assert expected > 10
    assert found >= 0.99 * expected, (found, expected)
    assert invented <= 0.01 * expected, (invented, expected)


def test_all_libraries_together_are_a_corpus_without_repetitions():
    documents = {library: list(pydocs.documents(library)) for library in pydocs.LIBRARIES}
    everything = [text for texts in documents.values() for text in texts]
    assert len(everything) >= 7_000
    assert sum(len(text.split()) for text in everything) >= 1_000_000
    for library, texts in documents.items():
        assert len(texts) == len(set(texts)) > 0, library
    assert len(set(everything)) >= 0.99 * len(everything)
    assert not any(">>>" in text or "\n\n" in text for text in everything)


def test_the_same_versions_give_the_same_documents():
    assert list(pydocs.documents("optax")) == list(pydocs.documents("optax"))


def test_prose_is_kept_and_everything_else_dropped():
    docstring = """Return the sum of
    array elements over a given axis.

    .. versionadded:: 1.0
       With text that vanishes.

    Parameters
    ----------
    a, b : array_like
        Elements to sum, see
        :func:`numpy.add` and ``x``.

    >>> sum([1, 2])
    3

    Use it so::

        code = here(that, vanishes)

    | a table | vanishes |
    """
    import inspect

    assert pydocs.clean(inspect.cleandoc(docstring)) == (
        "Return the sum of array elements over a given axis.\nElements to sum, see numpy.add and x."
    )
