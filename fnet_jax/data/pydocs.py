"""The embedded corpus: what the installed libraries say about themselves in their docstrings.

Nothing is imported and nothing is parsed: a regular expression finds the docstrings in the source text, ten
times as fast as `ast`.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

# Library -> its distribution; the standard library has none. All are pinned in requirements.txt.
LIBRARIES = {
    "python": "",
    "numpy": "numpy",
    "scipy": "scipy",
    "jax": "jax",
    "flax": "flax",
    "optax": "optax",
    "orbax": "orbax-checkpoint",
    "grain": "grain",
    "matplotlib": "matplotlib",
    "pyarrow": "pyarrow",
    "tensorflow_datasets": "tensorflow-datasets",
    "absl": "absl-py",
    "ml_collections": "ml_collections",
}
MIN_WORDS = 20  # of a document

_SKIPPED_FOLDERS = {
    "site-packages",
    "tests",
    "test",
    "testing",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "__pycache__",
}

# A triple-quoted string that opens the file or follows the colon of a header, perhaps after comments and
# blank lines: these are docstrings, and hardly anything else.
_GAP = r"(?:[ \t]*(?:\#[^\n]*)?\n)"
_HEADER_END = r"""(?:[\w)\]]|->[ ]*(?:"[^"\n]*"|'[^'\n]*'))[ \t]*:[ \t]*(?:\#[^\n]*)?\n"""
_DOCSTRING = re.compile(
    rf"""(?:\A\ufeff?{_GAP}*|{_HEADER_END}{_GAP}*[ \t]+)"""
    r"""([rRuU]?)(\"\"\"|\'\'\')((?:[^\\]|\\.)*?)\2""",
    re.DOTALL,
)


def documents(library: str) -> Iterator[str]:
    """The documents of one library of `LIBRARIES`, one paragraph per line, without exact repetitions.

    The order, and everything else, depends on the installed version alone.
    """
    seen = set()
    for docstring in library_docstrings(library):
        text = clean(docstring)
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        if len(text.split()) >= MIN_WORDS and digest not in seen:
            seen.add(digest)
            yield text


def library_docstrings(library: str) -> Iterator[str]:
    """All docstrings of one library of `LIBRARIES`, with their markup."""
    for path in _source_files(library):
        yield from docstrings(path.read_text(encoding="utf-8", errors="ignore"))


def version(library: str) -> str:
    """The installed version of one library of `LIBRARIES`."""
    distribution = LIBRARIES[library]
    return importlib.metadata.version(distribution) if distribution else platform.python_version()


def docstrings(source: str) -> Iterator[str]:
    """The docstrings in Python source text, dedented as `inspect.cleandoc` does."""
    for prefix, quotes, body in _DOCSTRING.findall(source):
        if "\\" in body and prefix.lower() != "r":
            body = _unescape(quotes + body + quotes)
        yield inspect.cleandoc(body)


def _unescape(literal: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes, which are for the library to mend
        try:
            return ast.literal_eval(literal)
        except (SyntaxError, ValueError):
            return literal[3:-3]


@functools.cache
def _source_files(library: str) -> tuple[Path, ...]:
    if library == "python":
        roots = [Path(sysconfig.get_paths()["stdlib"])]
    else:
        spec = importlib.util.find_spec(library)
        roots = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = [
        (path.relative_to(root).as_posix(), path)
        for root in roots
        for path in root.rglob("*.py")
        if not _SKIPPED_FOLDERS & set(path.relative_to(root).parts) and not path.name.endswith("_test.py")
    ]
    return tuple(path for _, path in sorted(found))


_ROLE = re.compile(r":[\w:+-]+:`~?([^`]*?)(?:\s*<[^`>]*>)?`")
_QUOTED = re.compile(r"``?([^`]+)``?_{0,2}")
_MARKUP = re.compile(rf"{_ROLE.pattern}|{_QUOTED.pattern}")
_FIELD = re.compile(r":(?:param|arg|type|returns?|rtype|raises?|keyword)\b[^:]*:\s*")
_PARAMETER = re.compile(
    r"^\*{0,2}[\w.*]+(?:, ?\*{0,2}[\w.*]+)*(?: :(?: |$)|:$)"
)  # numpydoc: "x, y : array_like"
_STARTS_ITEM = re.compile(r"^(?:[-*•] |\d+[.)] |[\w*]+(?: \([^)]*\))?: )")
_BULLET = re.compile(r"^(?:[-*•] |\d+[.)] )")
_NOT_PROSE = re.compile(r"^\s*(?:[-=~^+#*_|.]{3,}|\||\+-|@|\$|#|%|[-=]+ [-= ]+$|\w+\(.*\)(?: ->.*)?$)")
_DIRECTIVE = re.compile(r"^\s*\.\. ?")


def clean(docstring: str) -> str:
    """Prose of a docstring, one paragraph per line.

    Dropped: doctest and code blocks, directives, tables, headings, parameter names, and paragraphs
    that are mostly symbols or have fewer than four words.
    """
    return "\n".join(text for text, _ in prose(docstring))


def prose(docstring: str) -> Iterator[tuple[str, str]]:
    """The paragraphs of `clean`, each without its markup and with it."""
    for words in _paragraphs(_without_blocks(docstring.expandtabs().splitlines())):
        marked = " ".join(words)
        text = _FIELD.sub("", _QUOTED.sub(r"\1", _ROLE.sub(r"\1", marked)))
        letters = sum(c.isalpha() or c == " " for c in text)
        if text.count(" ") >= 3 and letters >= 0.85 * len(text):
            yield text, _FIELD.sub("", marked)


def literals(marked: str) -> Iterator[tuple[str, bool]]:
    """The parts of a paragraph with markup, in order: text, and whether it is marked as code."""
    end = 0
    for match in _MARKUP.finditer(marked):
        yield marked[end : match.start()], False
        yield match[1] or match[2] or "", True
        end = match.end()
    yield marked[end:], False


def _without_blocks(lines: list[str]) -> Iterator[str]:
    """Leaves out doctests up to the next blank line, directives and `::` blocks, headings, tables."""
    block_indent = -1  # lines indented more than this belong to a dropped block; -1: none
    in_doctest = False
    for number, line in enumerate(lines):
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if not stripped:
            in_doctest = False
            yield ""
            continue
        if 0 <= block_indent < indent:
            continue
        block_indent = -1
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        is_heading = len(following) >= 3 and not following.strip("-=~^*#")
        if stripped.startswith((">>>", "...", "In [")):
            in_doctest = True
        elif _DIRECTIVE.match(line):
            block_indent = indent
        elif not in_doctest and not is_heading and not _NOT_PROSE.match(line):
            if stripped.endswith("::") or stripped.startswith("```"):
                block_indent = indent
                line = line.rstrip(":`") + ":"
            yield line


def _paragraphs(lines: Iterator[str]) -> Iterator[list[str]]:
    """Joins lines that go on: same indentation, no blank line between, no new item or parameter."""
    words: list[str] = []
    last_indent = 0
    for line in lines:
        stripped = line.strip()
        indent = len(line) - len(stripped)
        is_parameter = bool(_PARAMETER.match(stripped))
        if not stripped or is_parameter or indent < last_indent or _STARTS_ITEM.match(stripped):
            if words:
                yield words
            words = []
        if not is_parameter:
            words.extend(_BULLET.sub("", stripped).split())
        last_indent = indent
    if words:
        yield words
