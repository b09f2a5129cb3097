"""Code cut on the borders of its definitions: a walk over the top of its syntax tree.

Only modules, classes and other containers are walked into, and definitions only as far as the limit makes it necessary,
so that the time goes into parsing. Nothing here recurses: input nested a hundred thousand deep is only slow.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from itertools import count

from tree_sitter import Node, Parser, Tree

from selfroute.memory.base import Definition
from selfroute.memory.chunking.grammars import (
    ASSIGNMENT,
    BLOCK,
    CLASS,
    COMMENT,
    CONTAINER,
    EXTENSION,
    FUNCTION,
    STATEMENT,
    WRAPPER,
    Grammar,
    tree_sitter_language,
)
from selfroute.memory.chunking.names import FUNCTION_VALUES, assigned_names, definition_name
from selfroute.memory.chunking.pieces import Outline, Piece, Policy, Source
from selfroute.memory.graph import others, python

PARSE_SECONDS = (0.5, 3.0)  # of CPU time: for a start, and for each megabyte; ordinary code takes 0.2 a megabyte
_MAX_OPEN = 4_000_000  # squares of how many `<` are open at once: 16 bytes each while Java or C# is parsed
_CLOSED = re.compile(r"[>;{}]|<<")
_MAX_DEPTH = 16  # of qualified names
_BODIES = ("body", "value", "type")
_LOUD = frozenset({BLOCK, STATEMENT, COMMENT})  # not looked into where only definitions are of interest
_MAX_VISITS = 300_000  # nodes whose children are looked at; beyond that the rest of the document is one statement
_FIRST_WEIGHT = 2  # keeps the first statement, often a docstring, with the line above it


def outline_code(source: Source, language: str, grammar: Grammar, policy: Policy) -> Outline | None:
    """The pieces, definitions and facts of a program, or None when it cannot be parsed in reasonable time."""
    data = source.text.encode("utf-8", "replace")
    tree = _parse(source.text, data, grammar)
    if tree is None:
        return None
    walk = _Walk(source, data, grammar, policy)
    walk.run(tree.root_node)
    parsed_by = tree_sitter_language(grammar.package, grammar.entry)
    facts = (
        python.facts(tree.root_node, data, parsed_by)
        if language == "python"
        else others.facts(language, tree.root_node, data, parsed_by, walk.definitions)
    )
    return Outline(list(walk.pieces.values()), walk.definitions, facts)


def _parse(text: str, data: bytes, grammar: Grammar) -> Tree | None:
    if text.count("<") ** 2 > _MAX_OPEN and sum(part.count("<") ** 2 for part in _CLOSED.split(text)) > _MAX_OPEN:
        return None
    start, each = PARSE_SECONDS
    end = time.thread_time() + start + each * len(data) / 1e6
    try:
        return Parser(tree_sitter_language(grammar.package, grammar.entry)).parse(
            lambda offset, _: data[offset : offset + (1 << 20)],
            progress_callback=lambda _offset, _error: time.thread_time() > end,
        )
    except ValueError:  # how the binding says that the callback stopped it
        return None


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where a node stands. inside: a statement that is cut for its size. quiet: a definition that is not cut, in which
    only further definitions are of interest.
    """

    name: str = ""
    kind: str = "module"
    group: int = 0
    weight: int = 0
    depth: int = 0
    inside: bool = False
    quiet: bool = False

    def qualified(self, name: str) -> str:
        return f"{self.name}.{name}" if self.name else name


class _Walk:
    """Collects pieces, at most one a row, and definitions."""

    def __init__(self, source: Source, data: bytes, grammar: Grammar, policy: Policy) -> None:
        self.source, self.data, self.policy = source, data, policy
        self.actions, self.grammar = grammar.actions, grammar
        self.pieces: dict[int, Piece] = {}
        self.definitions: list[Definition] = []
        self._groups = count(1)
        self._todo: list[
            tuple[Node, _Scope, int]
        ] = []  # (parent, its scope, row where a wrapper around it begins or -1)

    def run(self, root: Node) -> None:
        """Visits the children of one node after another, in any order: a piece is known by its row."""
        self._todo.append((root, _Scope(), -1))
        for _ in range(_MAX_VISITS):
            if not self._todo:
                break
            parent, scope, begin = self._todo.pop()
            if scope.quiet:
                self._quietly(parent, scope, begin)
            else:
                self._children(parent, scope, begin)
        self.definitions.sort(key=lambda definition: (definition.start_line, -definition.end_line, definition.name))

    def _children(self, parent: Node, scope: _Scope, begin: int) -> None:
        """Visits the children in order; a comment is held back until what stands below it is known."""
        parent_end = _last_row(parent) if begin >= 0 else -1
        done = parent.start_point[0] - 1  # the last row that a child before this one reached
        comment = comment_end = -1
        here = replace(scope, weight=scope.weight + _FIRST_WEIGHT) if scope.weight else scope
        for child in parent.named_children:
            start, end = child.start_point[0], _last_row(child)
            action = self.actions.get(child.type, "")
            if action == COMMENT:
                if start > done and not (comment >= 0 and start <= comment_end + 1):
                    self._comment(comment, comment_end, here)
                    comment = start
                comment_end = done = max(done, end)
                continue
            if comment >= 0 and start > comment_end + 1:
                self._comment(comment, comment_end, here)
                comment = -1
            top = comment if comment >= 0 else start
            comment = -1
            if begin < 0:
                self._visit(child, action, top, end, here)
            elif action:  # what a wrapper ends with begins where the wrapper does
                self._visit(child, action, begin if end == parent_end else top, end, here)
            else:
                self._cut_if_large(child, top, end, here)
            done = max(done, end)
            here = scope
        self._comment(comment, comment_end, here)

    def _quietly(self, parent: Node, scope: _Scope, begin: int) -> None:
        """Visits the definitions among the children; most bodies have none, and it shows."""
        for child in parent.named_children:
            action = self.actions.get(child.type)
            if action is not None and action not in _LOUD:
                top, end = child.start_point[0], _last_row(child)
                self._visit(child, action, begin if begin >= 0 and end == _last_row(parent) else top, end, scope)

    def _visit(self, node: Node, action: str, top: int, end: int, scope: _Scope) -> None:
        if action in (FUNCTION, CLASS, EXTENSION):
            if self._define(node, action, definition_name(node, self.data), node, top, end, scope):
                return
        elif action == ASSIGNMENT:
            if self._assign(node, top, end, scope):
                return
        elif (
            action in (WRAPPER, CONTAINER)
            or action == STATEMENT
            or (action == BLOCK and scope.kind in ("module", "class"))
        ):
            self._statement(top, scope)
            self._todo.append((node, scope, top if action in (WRAPPER, STATEMENT) else -1))
            return
        if scope.quiet:
            return
        self._statement(top, scope)
        self._cut_if_large(node, top, end, scope)

    def _cut_if_large(self, node: Node, top: int, end: int, scope: _Scope) -> None:
        if end > top and self.source.tokens(top, end + 1) > self.policy.limit:
            self._todo.append((node, replace(scope, inside=True, weight=scope.weight + 1), -1))

    def _define(self, node: Node, action: str, name: str, value: Node, top: int, end: int, scope: _Scope) -> bool:
        """A function or a type. value: the node whose inside is walked. False when it defines nothing."""
        if (
            not name
            or scope.depth >= _MAX_DEPTH
            or (self.grammar.needs_body and action == CLASS and not _has_body(node))
        ):
            return False
        qualified = scope.qualified(name)
        kind = "class" if action == EXTENSION else action
        if kind == FUNCTION and (scope.kind == "class" or ("." in name and scope.kind == "module")):
            kind = "method"
        if action != EXTENSION:
            self.definitions.append(Definition(qualified, kind, top + 1, end + 1))
        group, quiet = scope.group, scope.quiet
        if not quiet:
            n_tokens = self.source.tokens(top, end + 1)
            if self.policy.stands_alone(n_tokens, "definition"):
                group = next(self._groups)
            self._add(Piece(top, group, scope.weight, qualified, kind, True))
            quiet = kind != "class" and n_tokens <= self.policy.limit
        if end > top or kind == "class":
            body = _inside(value)
            if not (quiet and kind != "class" and self._defines_nothing(body)):
                inner = _Scope(qualified, kind, group, 1, scope.depth + 1, kind != "class", quiet)
                self._todo.append((body, inner, -1))
        return True

    def _defines_nothing(self, body: Node) -> bool:
        """Whether the text of a body rules further definitions out; a tenth of the time that its children take."""
        start, end, words = body.start_byte, body.end_byte, self.grammar.inner
        return bool(words) and all(self.data.find(word, start, end) < 0 for word in words)

    def _assign(self, node: Node, top: int, end: int, scope: _Scope) -> bool:
        """`name = value`: a function, a class, an object with methods, a constant; False when it is but a statement."""
        value = node.child_by_field_name("right") or node.child_by_field_name("value")
        shape = _shape(value) if value is not None else ""
        if scope.inside and not shape:
            return False
        names = assigned_names(node, self.data)
        if value is not None and shape:
            if names:
                return self._define(node, shape, names[0], value, top, end, scope)
            if shape == CLASS:  # module.exports = {...}
                self._statement(top, scope)
                self._todo.append((value, scope, -1))
            return shape == CLASS
        if value is not None and self.data[value.start_byte : value.start_byte + 8] == b"require(":
            return False  # an import
        top_level = scope.kind == "module"
        names = [name for name in names if "." not in name and (top_level or name.isupper())]
        if not names or node.type == "pair" or (node.type == "preproc_def" and value is None):  # an include guard
            return False
        self.definitions.extend(Definition(scope.qualified(name), "constant", top + 1, end + 1) for name in names)
        if top_level and self.policy.stands_alone(self.source.tokens(top, end + 1), "constant"):
            alone = replace(scope, name=names[0], group=next(self._groups), weight=1)
            self._add(Piece(top, alone.group, 0, names[0], "module", True))
            self._cut_if_large(node, top, end, alone)
            return True
        return False

    def _comment(self, row: int, end: int, scope: _Scope) -> None:
        """A comment with nothing directly below it; a long one that opens the file, such as a licence, stands alone."""
        if row >= 0:
            alone = not self.pieces and self.policy.stands_alone(self.source.tokens(row, end + 1), "constant")
            self._statement(row, replace(scope, group=next(self._groups)) if alone else scope)

    def _statement(self, row: int, scope: _Scope) -> None:
        if not scope.quiet and row not in self.pieces:
            self.pieces[row] = Piece(row, scope.group, scope.weight, scope.name, scope.kind)

    def _add(self, piece: Piece) -> None:
        """A definition's first piece; of several on one row the outermost stays."""
        there = self.pieces.get(piece.row)
        if there is None or not there.defines:
            self.pieces[piece.row] = piece


def _last_row(node: Node) -> int:
    """The last row that a node has text on; some nodes reach to the start of the next line."""
    (first, _), (last, column) = node.start_point, node.end_point
    return last - 1 if column == 0 and last > first else last


def _inside(node: Node) -> Node:
    """The node whose children are a definition's members or statements."""
    return next(filter(None, map(node.child_by_field_name, _BODIES)), node)


def _has_body(node: Node) -> bool:
    return node.type in ("type_definition", "alias_declaration", "concept_definition") or (
        node.child_by_field_name("body") is not None
    )


def _shape(value: Node) -> str:
    """FUNCTION, CLASS or "": what a value makes of the name that it is given to."""
    if value.type in FUNCTION_VALUES:
        return FUNCTION
    if value.type == "class":
        return CLASS
    if value.type == "object":
        return CLASS if any(_is_method(member) for member in value.named_children) else ""
    if value.type == "call_expression":  # memo(() => ...), asyncHandler(async () => ...)
        arguments = value.child_by_field_name("arguments")
        if arguments is not None and any(child.type in FUNCTION_VALUES for child in arguments.named_children):
            return FUNCTION
    return ""


def _is_method(member: Node) -> bool:
    if member.type == "pair":
        value = member.child_by_field_name("value")
        return value is not None and value.type in FUNCTION_VALUES
    return member.type == "method_definition"
