"""Which config keys a program reads, told from its syntax trees."""

import ast
import dataclasses
import typing
from collections.abc import Iterable

from fnet_jax.core.config import Config

# Class -> section: ModelConfig -> "model", ..., Config -> "".
SECTIONS = {
    kind.__name__: name
    for name, kind in typing.get_type_hints(Config).items()
    if dataclasses.is_dataclass(kind)
} | {"Config": ""}


def keys_read(trees: Iterable[ast.Module]) -> set[str]:
    """The dotted names of the attributes that are read of the config and of its sections.

    What an expression is follows from annotations (`model: ModelConfig`, `def config() -> Config`) and from
    assignments (`m = config.model`); an attribute of anything else, such as `batch.data`, does not count.
    """
    trees = list(trees)
    reads = _Reads()
    for tree in trees:
        reads.declare(tree)
    for _ in range(2):  # the second time with the attributes that were assigned anywhere
        for tree in trees:
            reads.visit(tree)
    return reads.keys


def _sections(annotation: ast.expr | None) -> set[str]:
    """The sections that an annotation names, such as {"model"} for `ModelConfig | None`."""
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)} if annotation else set()
    return {SECTIONS[name] for name in names & SECTIONS.keys()}


class _Reads(ast.NodeVisitor):
    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.variables: dict[str, set[str]] = {}  # of the function that is being visited
        self.attributes: dict[str, set[str]] = {}  # of objects, by name: {"config": {"", "model"}}
        self.returns: dict[str, set[str]] = {}  # of functions, by name

    def declare(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                self.returns.setdefault(node.name, set()).update(_sections(node.returns))
            elif isinstance(node, ast.ClassDef):
                for item in node.body:
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                        self.attributes.setdefault(item.target.id, set()).update(_sections(item.annotation))

    def sections(self, node: ast.expr) -> set[str]:
        """The sections of the config that an expression may be."""
        match node:
            case ast.Name(id=name):
                return self.variables.get(name, set())
            case ast.Attribute(value=value, attr=name):
                whole = "" in self.sections(value)
                return {name} if whole and name in SECTIONS.values() else self.attributes.get(name, set())
            case ast.Call(func=ast.Attribute(attr="replace"), args=[value, *_]):
                return self.sections(value)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                return self.returns.get(name, set())
        return set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self.variables
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self.variables = outer | {argument.arg: _sections(argument.annotation) for argument in arguments}
        self.generic_visit(node)
        self.variables = outer

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            for left, value in pairs:
                if isinstance(left, ast.Name):
                    self.variables[left.id] = self.sections(value)
                elif isinstance(left, ast.Attribute):
                    self.attributes.setdefault(left.attr, set()).update(self.sections(value))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            self.keys |= {f"{section}.{node.attr}".lstrip(".") for section in self.sections(node.value)}
