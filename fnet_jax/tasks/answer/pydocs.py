"""Embedded data for question answering: which type has a parameter?

The context is the list of the parameters of a docstring, as prose.
What is held out depends on the hash of the text, so equal texts stay together; similar ones do not, and
docstrings are copied and adapted: scores flatter.
"""

import re

from fnet_jax.core.config import DataConfig
from fnet_jax.data import pydocs
from fnet_jax.tasks.answer.files import Answer, AnswerSplit
from fnet_jax.tasks.files.own_files import complete
from fnet_jax.tasks.splits import TaskData
from fnet_jax.tasks.table import Task

_PARAMETERS = re.compile(r"^Parameters\n-{3,}\n(.*?)(?=^\S[^\n]*\n-{3,}|\Z)", re.MULTILINE | re.DOTALL)
_PARAMETER = re.compile(r"^(\w+) ?: (\S[^\n]*)\n((?:[ \t]+[^\n]*\n?|\n)*)", re.MULTILINE)


def read_answer_pydocs(task: Task, data: DataConfig) -> TaskData[AnswerSplit]:
    """Questions for the types of parameters; the answers stand in lists such as numpydoc has them."""
    questions: list[str] = []
    contexts: list[str] = []
    answers: list[list[Answer]] = []
    seen = set()
    for library in pydocs.LIBRARIES:
        for docstring in pydocs.library_docstrings(library):
            context, found = _parameters(docstring)
            if context in seen or len(found) < 2:
                continue
            seen.add(context)
            questions += [f"Which type has {name}?" for name in found]
            contexts += [context] * len(found)
            answers += [[answer] for answer in found.values()]
    ids = [str(number) for number in range(len(questions))]
    split = AnswerSplit(
        name="train", ids=ids, source="pydocs", questions=questions, contexts=contexts, labels=answers
    )
    return complete(task, (), {"train": split}, data)


def _parameters(docstring: str) -> tuple[str, dict[str, Answer]]:
    """The parameters of a docstring as prose, and the type of each."""
    context = ""
    types: dict[str, Answer] = {}
    section = _PARAMETERS.search(docstring)
    for name, kind, description in _PARAMETER.findall(section[1] if section else ""):
        context += f"{name} : "
        types.setdefault(name, Answer(kind.strip(), len(context)))
        context += f"{kind.strip()}. {' '.join(description.split())} "
    return context.strip(), types
