"""The facts of a file in any other language: what calls, imports and extends what, by name and surrounding lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from tree_sitter import Language, Node, Query, QueryCursor

from selfroute.memory.base import Definition
from selfroute.memory.graph.facts import BARE, CALLS, DEFINES, IMPORTS, INHERITS, MAX_NODES, Fact

_JAVASCRIPT = """
(call_expression function: (_) @call)
(new_expression constructor: (_) @call)
(import_statement source: (string) @import)
(export_statement source: (string) @import)
(import_specifier name: (identifier) @imported)
(call_expression function: (identifier) @_require arguments: (arguments . (string) @import) (#eq? @_require "require"))
"""
_JSX = """
(jsx_opening_element name: (_) @call)
(jsx_self_closing_element name: (_) @call)
"""
_TYPESCRIPT = f"""{_JAVASCRIPT}
(extends_clause value: (_) @base)
(extends_type_clause type: (_) @base)
(implements_clause (_) @base)
"""
_C = """
(call_expression function: (_) @call)
(preproc_include path: (_) @import)
"""
# What each capture is: call (what is called), import (a module or path), include (an expression that ends in one),
# imported (a name out of it), base, impl (of a trait for a type).
QUERIES: Mapping[str, str] = {
    "javascript": f"{_JAVASCRIPT}{_JSX}(class_heritage (_) @base)",
    "typescript": _TYPESCRIPT,
    "tsx": _TYPESCRIPT + _JSX,
    "go": """
        (call_expression function: (_) @call)
        (import_spec path: (_) @import)
        (field_declaration !name type: (_) @base)
    """,
    "rust": """
        (call_expression function: (_) @call)
        (macro_invocation macro: (_) @call)
        (use_declaration argument: (_) @import)
        (mod_item name: (_) @import !body)
        (impl_item trait: (_)) @impl
        (trait_bounds (_) @base)
    """,
    "java": """
        (method_invocation) @call
        (object_creation_expression type: (_) @call)
        (import_declaration (scoped_identifier) @import)
        (superclass (_) @base)
        (super_interfaces (type_list (_) @base))
        (extends_interfaces (type_list (_) @base))
    """,
    "c": _C,
    "cpp": f"{_C}(base_class_clause [(type_identifier) (qualified_identifier) (template_type)] @base)",
    "csharp": """
        (invocation_expression function: (_) @call)
        (object_creation_expression type: (_) @call)
        (using_directive (_) @import)
        (base_list (_) @base)
    """,
    "ruby": """
        (call) @call
        (superclass (_) @base)
        (call method: (identifier) @_include arguments: (argument_list [(constant) (scope_resolution)] @base)
            (#any-of? @_include "include" "extend" "prepend"))
        (call method: (identifier) @_require arguments: (argument_list . (string) @import)
            (#any-of? @_require "require" "require_relative" "load"))
    """,
    "php": """
        (function_call_expression function: (_) @call)
        (member_call_expression) @call
        (scoped_call_expression) @call
        (object_creation_expression (name) @call)
        (namespace_use_clause (_) @import)
        (_ [(require_expression) (require_once_expression) (include_expression) (include_once_expression)] @include)
        (base_clause (_) @base)
        (class_interface_clause (_) @base)
        (use_declaration (_) @base)
    """,
    "kotlin": """
        (call_expression . (_) @call)
        (import (qualified_identifier) @import)
        (delegation_specifier (_) @base)
    """,
    "swift": """
        (call_expression . (_) @call)
        (import_declaration (_) @import)
        (inheritance_specifier (_) @base)
    """,
    "bash": """
        (command name: (command_name) @call)
        (command name: (command_name) @_source . argument: [(word) (string) (raw_string)] @import
            (#any-of? @_source "source" "."))
    """,
}
_MAX_EXPR = 200  # characters
_MAX_NESTED = 16  # of arguments in arguments
_CALLED = "\0"  # in the place of arguments, while those around them are looked for
_ARGUMENTS = re.compile(r"<[^<>]*>|\([^()]*\)|\[[^\[\]]*\]")
_JOINTS = re.compile(r"\s*(?:::|->|\?\.|!!?\.|\\|\.)\s*")
_NAME = re.compile(r"[A-Za-z_$@][\w$]*[!?]?\Z")
_LIST = re.compile(r"[{}]")
_PATH_PARTS = re.compile(r"[/\\.:]+")
_EXTENSION = re.compile(r"\.(?:[jt]sx?|[cm][jt]s|h|hh|hpp|hxx|inc|rb|php|sh|bash|vue|svelte)\Z")


def facts(language: str, root: Node, data: bytes, grammar: Language, definitions: Sequence[Definition]) -> list[Fact]:
    """What the file states, in the order of its lines. definitions: those found in it."""
    found = [_defined(definition) for definition in definitions]
    if language in QUERIES:
        captures = QueryCursor(_query(language, grammar)).captures(root)
        scopes = _Scopes(definitions)
        for kind, nodes in captures.items():
            for node in nodes[:MAX_NODES]:
                found += _read(kind, node, data, scopes)
    return sorted(dict.fromkeys(found), key=lambda fact: (fact.line, fact))


@cache
def _query(language: str, grammar: Language) -> Query:
    return Query(grammar, QUERIES[language])


class _Scopes:
    """The innermost definition around a line."""

    def __init__(self, definitions: Sequence[Definition]) -> None:
        self._of_line: dict[int, str] = {}
        for definition in sorted(definitions, key=lambda d: (d.end_line - d.start_line, d.start_line), reverse=True):
            if definition.kind != "constant":
                for line in range(definition.start_line, definition.end_line + 1):
                    self._of_line[line] = definition.name

    def at(self, line: int) -> str:
        return self._of_line.get(line, "")


def _defined(definition: Definition) -> Fact:
    scope, _, name = definition.name.rpartition(".")
    return Fact(DEFINES, scope, name, definition.kind, "", definition.start_line, definition.end_line)


def _read(kind: str, node: Node, data: bytes, scopes: _Scopes) -> Iterator[Fact]:
    line = node.start_point[0] + 1
    if kind in ("import", "include"):
        written = _text(node, data)
        if kind == "include":  # require_once __DIR__ . '/src/base.php'
            written = written.rstrip("\"') ").replace('"', "'").rpartition("'")[2].lstrip("/")
        for expr in _each(written.strip("\"'<>`; ")):
            last = _PATH_PARTS.split(_EXTENSION.sub("", expr))[-1].strip("{}* ")
            yield Fact(IMPORTS, scopes.at(line), last, expr[:_MAX_EXPR], BARE, line, line)
        return
    if kind == "imported":
        name = _text(node, data)
        yield Fact(IMPORTS, scopes.at(line), name, name, name, line, line)
        return
    if kind == "impl":
        trait, of = node.child_by_field_name("trait"), node.child_by_field_name("type")
        if trait is not None and of is not None and (name := _plain(_text(trait, data)).rpartition(".")[2]):
            yield Fact(INHERITS, _plain(_text(of, data)), name, _plain(_text(trait, data)), "", line, line)
        return
    if kind not in ("call", "base"):
        return
    for part in node.named_children if node.type in ("implements_clause", "type_list") else (node,):
        expr = _expr(part, data).removesuffix("()" if kind == "base" else "")
        name = expr.rpartition(".")[2]
        if _NAME.match(name):
            line = (part.child_by_field_name("name") or part.child_by_field_name("property") or part).start_point[0] + 1
            yield Fact(CALLS if kind == "call" else INHERITS, scopes.at(line), name, expr, "", line, line)


def _each(written: str) -> list[str]:
    """The paths of `a::{b, c as d}`, each by itself."""
    base, brace, names = written.partition("{")
    if not brace or "{" in names:  # lists in lists: the names alone
        names = _LIST.sub(" ", names)
    given = [f"{base}{name.strip()}" for name in names.split(",") if name.strip()] if brace else [written]
    return [path for one in given if (path := one.partition(" as ")[0].removesuffix("::self").strip())]


def _expr(node: Node, data: bytes) -> str:
    """`session.get` of whatever the language writes: calls and their arguments give way to `()`."""
    name = node.child_by_field_name("name") or node.child_by_field_name("method")
    if node.type in ("method_invocation", "call", "member_call_expression", "scoped_call_expression") and name:
        owner = next(filter(None, map(node.child_by_field_name, ("object", "receiver", "scope"))), None)
        return f"{_plain(_text(owner, data))}.{_text(name, data)}" if owner is not None else _text(name, data)
    return _plain(_text(node, data))


def _plain(text: str) -> str:
    """A chain of names: type arguments and items gone, arguments as (), every joint a dot, `new` and `await` gone."""
    for _ in range(_MAX_NESTED):
        if text == (text := _ARGUMENTS.sub(lambda found: _CALLED if found[0][0] == "(" else "", text)):
            break
    text = _JOINTS.sub(".", " ".join(text.split())).replace(_CALLED, "()")
    return text.rpartition(" ")[2].lstrip("$&*.@!")[:_MAX_EXPR]


def _text(node: Node, data: bytes) -> str:
    """Its text; of a long one the end, which has the name."""
    start, end = node.start_byte, node.end_byte
    return data[max(start, end - 4 * _MAX_EXPR) : end].decode("utf-8", "replace")
