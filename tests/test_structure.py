"""The layout of the repository: who imports whom, how long files are, how full folders, where tests lie."""

import ast
import collections
import graphlib
import re

import pytest

from tests.conftest import REPOSITORY

# Bottom up; a floor imports from itself and from those that it names.
FLOORS = {
    "core": set(),
    "nn": {"core"},
    "runtime": {"core"},
    "data": {"core", "runtime"},
    "tasks": {"core", "nn", "runtime", "data"},
    "train": {"core", "nn", "runtime", "data", "tasks"},
    "bridge": {"core", "nn", "runtime", "data", "tasks", "train"},
    "inference": {"core", "nn", "runtime", "data", "tasks", "train", "bridge"},
    "configs": {"core", "tasks"},
    "tools": {"core", "nn", "runtime", "data", "tasks", "train", "bridge", "inference", "configs"},
    "__init__.py": {"inference"},  # the package offers `load`
    "__main__.py": set(),  # the command `fnet` starts the tools by name
}
PACKAGE = REPOSITORY / "fnet_jax"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))
MAX_LINES = 300
MAX_FILES = 14  # in a folder
MAX_COLUMNS = 120  # of the README
# Tests of several parts together, in folders of their own.
MIRRORS_NOTHING = {"distributed", "tools/drill"}


def module_of(path) -> str:
    name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_of(path) for path in SOURCES}


def imported(path, late: bool = True) -> set[str]:
    """Names that a file imports; without `late`, those alone that it imports when it is imported itself."""
    names = set()
    nodes = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        if late or (not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_for_types(node)):
            nodes += ast.iter_child_nodes(node)
    return names


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_floors_import_only_from_below(path):
    floor = path.relative_to(PACKAGE).parts[0]
    for name in imported(path):
        first, *rest = name.split(".")
        assert first not in ("tensorflow", "torch", "clu", "configs", "tests"), f"{path} imports {name}"
        if first == "fnet_jax":
            assert rest[0] in {floor, *FLOORS[floor]}, f"{path} imports {name}"


def test_programs_at_the_root_only_start_the_package():
    for name in ("train.py", "eval.py"):
        names = imported(REPOSITORY / name)
        assert names == {"runpy"}, (name, names)


def test_no_circle_of_modules():
    graph = {}
    for path in SOURCES:
        targets = {name if name in MODULES else name.rpartition(".")[0] for name in imported(path)}
        graph[module_of(path)] = (targets & MODULES) - {module_of(path)}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_no_circle_of_folders_of_a_floor():
    """Neither do the folders of tasks/, data/ and tools/ import each other in a circle."""
    graph = collections.defaultdict(set)
    for path in SOURCES:
        own = path.parent
        for name in imported(path):
            module = name if name in MODULES else name.rpartition(".")[0]
            if module not in MODULES:
                continue
            target = REPOSITORY.joinpath(*module.split("."))
            folder = target if target.is_dir() else target.parent
            if own.parent == folder.parent and own != folder and own.parent != PACKAGE:
                graph[str(own)].add(str(folder))
    graphlib.TopologicalSorter(graph).prepare()


def test_files_are_short():
    lengths = {str(path): len(path.read_text().splitlines()) for path in [*SOURCES, *TESTS]}
    assert not {path: length for path, length in lengths.items() if length > MAX_LINES}


def test_folders_are_small():
    counts = collections.Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    assert not {str(folder): count for folder, count in counts.items() if count > MAX_FILES}


def test_tests_mirror_the_package():
    names = collections.Counter(path.name for path in TESTS if path.name.startswith("test_"))
    assert not [name for name, count in names.items() if count > 1]
    for folder in {path.parent.relative_to(REPOSITORY / "tests") for path in TESTS}:
        assert (PACKAGE / folder).is_dir() or str(folder) in MIRRORS_NOTHING, folder


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md", *sorted(
    str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").glob("*.md")
)])  # fmt: skip
def test_links_of_pages(path):
    """They lead somewhere, anchors too."""
    text = (REPOSITORY / path).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match("https?:", target):
            continue
        name, _, anchor = target.partition("#")
        page = (REPOSITORY / path).parent / name if name else REPOSITORY / path
        assert page.exists(), f"{path}: {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in anchors, f"{path}: {target}"


def test_lines_of_the_readme_are_short():
    lines = (REPOSITORY / "README.md").read_text().splitlines()
    assert not [line for line in lines if len(line) > MAX_COLUMNS]
