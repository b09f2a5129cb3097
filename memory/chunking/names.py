"""The names of definitions, as people write them: `Flask.make_response`, whatever the language puts between."""

from __future__ import annotations

import re

from tree_sitter import Node

MAX_NAME = 200  # characters; what is longer is no name

_FIXED = {
    "init_declaration": "init",
    "deinit_declaration": "deinit",
    "subscript_declaration": "subscript",
    "secondary_constructor": "constructor",
    "indexer_declaration": "this",
}
_NAME_NODES = frozenset(
    {
        "identifier",
        "field_identifier",
        "type_identifier",
        "qualified_identifier",
        "operator_name",
        "destructor_name",
        "operator_cast",
        "template_function",
    }
)
_ARGUMENTS = re.compile(r"<[^<>]*>")
_RECEIVER = re.compile(r"(\w+)\s*(?:\[[^\]]*\])?\s*\)$")
_JS_EXPORTS = re.compile(r"^(?:module\.exports|exports|this)(?:\.|$)")
_PLAIN = re.compile(rf"\w{{1,{MAX_NAME}}}\Z")
_SIMPLE = re.compile(r"[$@]*[\w.#-]+\Z")

FUNCTION_VALUES = frozenset(
    {"function_expression", "arrow_function", "generator_function", "function", "anonymous_function"}
)


def definition_name(node: Node, data: bytes) -> str:
    """The name that a definition node of `data` gives itself, not qualified by what it is in; "" for none."""
    if node.type in _FIXED:
        return _FIXED[node.type]
    named = node.child_by_field_name("name")
    if named is not None:
        name = _clean(named, data)
        if node.type == "method_declaration" and (receiver := node.child_by_field_name("receiver")) is not None:
            found = _RECEIVER.search(_text(receiver, data))
            name = f"{found.group(1)}.{name}" if found else name
        return "~" + name if node.type == "destructor_declaration" else name
    if node.type == "operator_declaration":
        sign = node.child_by_field_name("operator")
        return f"operator {_text(sign, data)}" if sign is not None else ""
    if (declared := node.child_by_field_name("declarator")) is not None:
        return _declared(declared, data)
    typed = node.child_by_field_name("type")  # Rust's impl, Kotlin's typealias
    return _clean(typed, data) if typed is not None else ""


def assigned_names(node: Node, data: bytes) -> list[str]:
    """The names that an assignment or declaration gives a value, when they are simple; Foo.prototype.bar is Foo.bar."""
    names = [_clean(child, data) for child in node.children_by_field_name("name")]
    if not names:
        target = next(filter(None, map(node.child_by_field_name, ("left", "key", "property", "declarator"))), None)
        if target is None:
            target = node.named_child(0) if node.named_child_count else None
            while target is not None and target.type in ("modifiers", "value_binding_pattern"):
                target = target.next_named_sibling
            if target is not None and target.type == "variable_declaration":  # Kotlin's
                target = next((child for child in target.named_children if child.type == "identifier"), None)
        elif node.type == "declaration":
            return [name] if (name := _declared(target, data, variable=True)) else []
        if target is None:
            return []
        names = [_JS_EXPORTS.sub("", _clean(target, data)).replace(".prototype", "")]
    return [name for name in names if _SIMPLE.match(name)]


def _declared(node: Node | None, data: bytes, *, variable: bool = False) -> str:
    """The name inside a C declarator: `*(*name)(int)`. A function's prototype declares no variable."""
    for _ in range(20):
        if node is None:
            return ""
        if node.type in _NAME_NODES:
            return _clean(node, data) if node.type != "operator_cast" else _text(node, data).partition("(")[0].strip()
        if variable and node.type == "function_declarator":
            return ""
        node = node.child_by_field_name("declarator") or (
            node.named_child(node.named_child_count - 1) if node.named_child_count else None
        )
    return ""


def _text(node: Node, data: bytes) -> str:
    start, end = node.start_byte, node.end_byte
    return data[start:end].decode("utf-8", "replace") if end - start <= 4 * MAX_NAME else ""


def _clean(node: Node, data: bytes) -> str:
    """One line, type arguments dropped, `::` as a dot, quotes and sigils off."""
    name = _text(node, data)
    if _PLAIN.match(name):
        return name
    name = " ".join(name.split())
    if "<" in name and "operator" not in name:
        while name != (name := _ARGUMENTS.sub("", name)):
            pass
    name = name.replace("::", ".").strip("\"'`$&* ").lstrip(".")
    return name if len(name) <= MAX_NAME else ""
