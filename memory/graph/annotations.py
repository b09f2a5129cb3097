"""The types that a Python annotation names, whatever it wraps them in."""

from __future__ import annotations

import ast
from collections.abc import Iterator

# An annotation that holds what is of interest; what a generator or a context manager yields counts as its value.
_WRAPPERS = frozenset(
    "Optional Annotated ClassVar Final Required NotRequired ReadOnly Type type Awaitable Coroutine Iterator Generator"
    " AsyncIterator AsyncGenerator ContextManager AsyncContextManager AbstractContextManager"
    " AbstractAsyncContextManager LocalProxy ContextVar".split()
)
_LAST_ARGUMENT = frozenset({"Coroutine"})
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
_MAX_DEPTH = 8


def named_types(text: str) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether it is the class itself, not an instance) of each; nothing for what is no annotation."""
    if "\\" not in text:  # a pattern in a string, of which ast would warn
        yield from _read(text, itself=False, depth=0)


def _read(text: str, *, itself: bool, depth: int) -> Iterator[tuple[str, bool]]:
    try:
        parsed = ast.parse(text.strip(), mode="eval").body
    except _UNREADABLE:
        return
    yield from _types(parsed, itself, depth)


def _types(node: ast.expr, itself: bool, depth: int) -> Iterator[tuple[str, bool]]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from _read(node.value, itself=itself, depth=depth + 1)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _types(node.left, itself, depth + 1)
        yield from _types(node.right, itself, depth + 1)
    elif isinstance(node, ast.Subscript):
        outer = ast.unparse(node.value).rpartition(".")[2]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer == "Union":
            for one in inner:
                yield from _types(one, itself, depth + 1)
        elif outer in _WRAPPERS and inner:
            one = inner[-1 if outer in _LAST_ARGUMENT else 0]
            yield from _types(one, itself or outer in ("type", "Type"), depth + 1)
        else:
            yield from _types(node.value, itself, depth + 1)
    elif isinstance(node, ast.Name | ast.Attribute):
        yield ast.unparse(node), itself
