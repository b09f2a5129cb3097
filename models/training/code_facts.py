"""What a Python file states, as facts whose answers are pieces of its text."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from selfroute.models.training.code_source import MAX_ANSWER, Defined, Function, Offsets, Source, arguments_of

Match = Literal["any", "all"]


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a question can ask for.

    target: the qualified name that is asked about, in its file. of: function, class, constant, file, option, project or
    text: how a name is written in a question. names: what else the question names. spans: the answers; match: whether
    each alone answers, or all together. lines: the definition that holds them.
    """

    kind: str
    target: str
    of: str
    spans: tuple[Offsets, ...]
    lines: tuple[int, int]
    names: Mapping[str, str] = field(default_factory=dict)
    match: Match = "any"


def unique_definitions(source: Source) -> list[Defined]:
    """Definitions whose qualified name the file defines once."""
    found = list(source.defined())
    count = Counter(defined.name for defined in found)
    return [defined for defined in found if count[defined.name] == 1]


def is_special(name: str) -> bool:
    """`__repr__` and the like; not `__init__`."""
    return name.startswith("__") and name.endswith("__") and name != "__init__"


def signature_facts(source: Source, defined: Defined) -> Iterator[Fact]:
    """Defaults, annotations and the whole list of parameters of one function."""
    node = defined.node
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for argument, default in arguments_of(node):
        names = {"p": argument.arg}
        if default is not None and (span := source.short(default)):
            yield Fact("parameter_default", defined.name, "function", (span,), defined.lines, names)
        if argument.annotation is not None and (span := source.short(argument.annotation)):
            yield Fact("parameter_type", defined.name, "function", (span,), defined.lines, names)
    if node.returns is not None and (span := source.short(node.returns)):
        yield Fact("return_type", defined.name, "function", (span,), defined.lines)
    if span := _parameters(source, node):
        yield Fact("parameters", defined.name, "function", (span,), defined.lines)


def _parameters(source: Source, node: Function) -> Offsets | None:
    """What stands between the parentheses, when that is one line and names more than self."""
    arguments = [node.args.vararg, node.args.kwarg, *(argument for argument, _ in arguments_of(node))]
    if not {argument.arg for argument in arguments if argument} - {"self", "cls"}:
        return None
    parts: list[ast.expr | ast.arg] = [argument for argument in arguments if argument]
    parts += [default for _, default in arguments_of(node) if default is not None]
    start = source.text.index("(", source.span(node)[0])
    end = source.text.index(")", max(source.span(part)[1] for part in parts))
    inner = source.text[start + 1 : end]
    plain = "\n" not in inner and inner == inner.strip() and len(inner) <= MAX_ANSWER
    return (start + 1, end) if plain else None


def class_facts(source: Source, defined: Defined) -> Iterator[Fact]:
    """Bases, attributes, members and methods of one class."""
    node = defined.node
    assert isinstance(node, ast.ClassDef)
    header = (defined.lines[0], max([node.lineno, *(base.end_lineno or 0 for base in node.bases)]))
    spans = tuple(span for base in node.bases if (span := source.short(base)))
    if spans and len(spans) == len(node.bases):
        yield Fact("bases", defined.name, "class", spans, header, match="all")
    methods = [child for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)]
    public = [method for method in methods if not method.name.startswith("_")]
    plain = not any("property" in ast.unparse(d) for method in public for d in method.decorator_list)
    if plain and 2 <= len(public) <= 8 and len({method.name for method in public}) == len(public):
        names = tuple(name_span(source, method) for method in public)
        yield Fact("methods", defined.name, "class", names, defined.lines, match="all")
    assigned = list(source.assigned(node.body))
    count = Counter(name for name, _, _ in assigned)
    values = [a for a in assigned if count[a[0]] == 1 and not is_special(a[0]) and not a[0].startswith("__")]
    if node.bases and all("Enum" in ast.unparse(base) or "Flag" in ast.unparse(base) for base in node.bases):
        members = tuple(_target_span(source, statement) for name, statement, _ in values if not name.startswith("_"))
        if 2 <= len(members) <= 12:
            yield Fact("enum_members", defined.name, "class", members, defined.lines, match="all")
    for name, statement, value in values:
        lines = (statement.lineno, statement.end_lineno or statement.lineno)
        if value is not None and (span := source.short(value)):
            yield Fact("class_attribute", defined.name, "class", (span,), lines, {"p": name})
        if isinstance(statement, ast.AnnAssign) and (span := source.short(statement.annotation)):
            yield Fact("attribute_type", defined.name, "class", (span,), lines, {"p": name})
    yield from _instance_facts(source, defined, methods, set(count))


def _instance_facts(source: Source, defined: Defined, methods: list[Function], taken: set[str]) -> Iterator[Fact]:
    """What `__init__` gives to attributes that it sets once, and that the class does not set as well."""
    starts = [method for method in methods if method.name == "__init__"]
    taken = taken | {method.name for method in methods}
    found: list[tuple[str, ast.stmt, ast.expr | None]] = []
    for node in ast.walk(starts[0]) if len(starts) == 1 else ():
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            for target in targets:
                for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                    if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == "self":
                        plain = one is target and len(targets) == 1 and not isinstance(node, ast.AugAssign)
                        found.append((one.attr, node, node.value if plain else None))
    count = Counter(name for name, _, _ in found)
    for name, statement, value in found:
        if count[name] == 1 and name not in taken and value is not None and (span := source.short(value)):
            lines = (statement.lineno, statement.end_lineno or statement.lineno)
            yield Fact("instance_attribute", defined.name, "class", (span,), lines, {"p": name})


def common_facts(source: Source, defined: Defined) -> Iterator[Fact]:
    """Where a function or class is defined, and its decorators."""
    node, of = defined.node, "class" if isinstance(defined.node, ast.ClassDef) else "function"
    span = source.line_span(node.lineno)
    if span[1] - span[0] <= MAX_ANSWER:
        yield Fact("defined_at", defined.name, of, (span,), defined.lines)
    decorators = [source.short(decorator) for decorator in node.decorator_list]
    spans = tuple(span for span in decorators if span)
    if spans and len(spans) == len(decorators):
        yield Fact("decorators", defined.name, of, spans, (defined.lines[0], node.lineno), match="all")


def constant_facts(source: Source) -> Iterator[Fact]:
    """Names that the module gives a value once."""
    assigned = list(source.assigned(source.tree.body))
    count = Counter(name for name, _, _ in assigned)
    reassigned = {name for node in ast.walk(source.tree) if isinstance(node, ast.Global) for name in node.names}
    for name, statement, value in assigned:
        if count[name] != 1 or value is None or name in reassigned or name in ("__all__", "logger", "log", "_"):
            continue
        if span := source.short(value):
            lines = (statement.lineno, statement.end_lineno or statement.lineno)
            yield Fact("constant", name, "constant", (span,), lines)


def name_span(source: Source, node: Function | ast.ClassDef) -> Offsets:
    """The name in the line of a definition."""
    word = "class" if isinstance(node, ast.ClassDef) else "def"
    start = source.text.index(node.name, source.text.index(word, source.span(node)[0]) + len(word))
    return start, start + len(node.name)


def _target_span(source: Source, statement: ast.stmt) -> Offsets:
    target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
    assert isinstance(target, ast.expr)
    return source.span(target)
