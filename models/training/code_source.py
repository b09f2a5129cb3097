"""Python text with places: syntax nodes to character offsets, definitions with their qualified names."""

from __future__ import annotations

import ast
import warnings
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import PurePosixPath
from typing import TypeAlias

MAX_ANSWER = 200  # characters

Offsets: TypeAlias = tuple[int, int]
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Node: TypeAlias = Function | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Defined:
    """A function, method or class. name: qualified. owner: the class around it, or None. lines: decorators included."""

    name: str
    node: Node
    owner: ast.ClassDef | None
    lines: tuple[int, int]


class Source:
    """One parsed file. Offsets are of characters of `text`; lines end at "\\n" alone and count from 1."""

    def __init__(self, text: str, path: str) -> None:
        """Raises SyntaxError for what is not Python, and for carriage returns, whose lines ast counts otherwise."""
        if "\r" in text:
            raise SyntaxError("lines end in a carriage return")
        self.text, self.path = text, path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.tree = ast.parse(text)
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(str(error)) from error
        self._lines = text.split("\n")
        self._starts = list(accumulate((len(line) + 1 for line in self._lines), initial=0))

    @property
    def module(self) -> str:
        """The dotted name by the path: `flask/json/__init__.py` -> flask.json."""
        parts = PurePosixPath(self.path).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def span(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword) -> Offsets:
        """[start, end) of a node; columns of ast are of UTF-8 bytes."""
        return self._at(node.lineno, node.col_offset), self._at(
            node.end_lineno or node.lineno, node.end_col_offset or 0
        )

    def _at(self, line: int, byte: int) -> int:
        text = self._lines[line - 1]
        column = byte if text.isascii() else len(text.encode()[:byte].decode("utf-8", "ignore"))
        return self._starts[line - 1] + column

    def of(self, span: Offsets) -> str:
        """The text of a span."""
        return self.text[span[0] : span[1]]

    def line_of(self, offset: int) -> int:
        """The line, from 1, that an offset is on."""
        return bisect_right(self._starts, offset)

    def line_span(self, line: int) -> Offsets:
        """A line without the blanks around it."""
        text = self._lines[line - 1]
        start = self._starts[line - 1]
        return start + len(text) - len(text.lstrip()), start + len(text.rstrip())

    def short(self, node: ast.expr | ast.arg) -> Offsets | None:
        """The span of what stands on one line and is no longer than an answer may be."""
        start, end = self.span(node)
        one_line = node.lineno == node.end_lineno
        return (start, end) if one_line and 0 < end - start <= MAX_ANSWER else None

    def defined(self) -> Iterator[Defined]:
        """The functions of the module and the classes, with those in classes; what is local to a function is not."""
        todo: list[tuple[list[ast.stmt], str, ast.ClassDef | None]] = [(self.tree.body, "", None)]
        while todo:
            body, prefix, owner = todo.pop()
            for node in body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                    yield Defined(prefix + node.name, node, owner, (first, node.end_lineno or first))
                    if isinstance(node, ast.ClassDef):
                        todo.append((node.body, f"{prefix}{node.name}.", node))
                elif isinstance(node, ast.If | ast.Try):
                    parts = [node.body, node.orelse, *([node.finalbody] if isinstance(node, ast.Try) else [])]
                    parts += [handler.body for handler in getattr(node, "handlers", [])]
                    todo.extend((part, prefix, owner) for part in parts)

    def assigned(self, body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt, ast.expr | None]]:
        """(name, statement, value) of each plain `name = value` and `name: type = value` of a body, branches too."""
        for node in body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        yield target.id, node, node.value if len(node.targets) == 1 else None
                    elif isinstance(target, ast.Tuple | ast.List):
                        yield from ((e.id, node, None) for e in target.elts if isinstance(e, ast.Name))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id, node, node.value
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                yield node.target.id, node, None
            else:
                for part in ("body", "orelse", "finalbody"):
                    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                        yield from self.assigned(getattr(node, part, []))
                for handler in getattr(node, "handlers", []):
                    yield from self.assigned(handler.body)


def own_nodes(node: Function) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    """The nodes of a function's body with those around them, outermost first; not those of functions within it."""
    todo: list[tuple[ast.AST, tuple[ast.AST, ...]]] = [(statement, ()) for statement in reversed(node.body)]
    while todo:
        child, around = todo.pop()
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        yield child, around
        todo.extend((inner, (*around, child)) for inner in reversed(list(ast.iter_child_nodes(child))))


def arguments_of(node: Function) -> list[tuple[ast.arg, ast.expr | None]]:
    """The named parameters in order, each with its default; *args and **kwargs are not among them."""
    ordered = [*node.args.posonlyargs, *node.args.args]
    none = [None] * (len(ordered) - len(node.args.defaults))
    pairs = list(zip(ordered, [*none, *node.args.defaults], strict=True))
    return [*pairs, *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
