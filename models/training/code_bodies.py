"""Facts out of the bodies of functions: what they return and raise, which settings they read, what options they add."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from selfroute.models.training.code_facts import Fact
from selfroute.models.training.code_source import Defined, Function, Offsets, Source, own_nodes

_SETTINGS = re.compile(r"(?:config|conf|cfg|settings|options|opts|environ)$", re.I)
_ENVIRON = ("os.environ", "environ")
_ENVIRON_CALLS = ("os.getenv", "getenv", "os.environ.get", "environ.get", "os.environ.pop", "os.environ.setdefault")
_PLAIN_STRING = re.compile(r"""[rRbBuUfF]{0,2}("|')(?!\1\1)(.+)\1""", re.S)


def body_facts(source: Source, defined: Defined) -> Iterator[Fact]:
    """What one function returns, raises and looks up."""
    node = defined.node
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    nodes = list(own_nodes(node))
    yield from _returned(source, defined, nodes)
    yield from _raised(source, defined, nodes)
    yield from _looked_up(source, defined, nodes)


def _returned(source: Source, defined: Defined, nodes: list[tuple[ast.AST, tuple[ast.AST, ...]]]) -> Iterator[Fact]:
    """The value of the only return; generators and functions that may also end without it are left out."""
    returns = [node for node, _ in nodes if isinstance(node, ast.Return)]
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node, _ in nodes) or len(returns) != 1:
        return
    value = returns[0].value
    last = defined.node.body[-1]
    while isinstance(last, ast.With | ast.AsyncWith):
        last = last.body[-1]
    if last is returns[0] and value is not None and (span := source.short(value)):
        yield Fact("returned", defined.name, "function", (span,), defined.lines)


def _raised(source: Source, defined: Defined, nodes: list[tuple[ast.AST, tuple[ast.AST, ...]]]) -> Iterator[Fact]:
    """Exceptions that are raised by their class, when nothing else is raised; their conditions and messages."""
    raises = [(node, around) for node, around in nodes if isinstance(node, ast.Raise) and node.exc is not None]
    if not raises or any(_raised_class(node) is None or _is_caught(node, around) for node, around in raises):
        return
    by_name: dict[str, list[tuple[ast.Raise, tuple[ast.AST, ...]]]] = {}
    for node, around in raises:
        by_name.setdefault(ast.unparse(_raised_class(node) or node), []).append((node, around))
    classes = {name: [source.span(c) for n, _ in found if (c := _raised_class(n))] for name, found in by_name.items()}
    if len(classes) == 1:
        yield Fact("raised", defined.name, "function", tuple(next(iter(classes.values()))), defined.lines)
    elif len(classes) <= 6:
        spans = tuple(places[0] for places in classes.values())
        yield Fact("raised", defined.name, "function", spans, defined.lines, match="all")
    for name, found in by_name.items():
        if len(found) != 1 or name == "NotImplementedError":
            continue
        node, around = found[0]
        names = {"e": name}
        if (test := _condition(node, around, defined.node)) is not None and (span := source.short(test)):
            yield Fact("raise_condition", defined.name, "function", (span,), defined.lines, names)
        if isinstance(node.exc, ast.Call) and node.exc.args and (inner := _inner(source, node.exc.args[0])):
            yield Fact("error_message", defined.name, "function", (inner,), defined.lines, names)


def _is_caught(node: ast.Raise, around: tuple[ast.AST, ...]) -> bool:
    """Whether it stands in the body of a try that has handlers."""
    if not around:
        return False
    inside = zip(around, (*around[1:], node), strict=True)
    return any(
        isinstance(outer, ast.Try | ast.TryStar) and outer.handlers and child in outer.body for outer, child in inside
    )


def _raised_class(node: ast.Raise) -> ast.expr | None:
    """The class of `raise X` and `raise X(...)`, None for a variable or what a call gives."""
    exc = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    if not isinstance(exc, ast.Name | ast.Attribute) or exc.lineno != exc.end_lineno:
        return None
    name = exc.id if isinstance(exc, ast.Name) else exc.attr
    return exc if name[:1].isupper() and not name.isupper() else None


def _condition(node: ast.Raise, around: tuple[ast.AST, ...], function: ast.AST) -> ast.expr | None:
    """The test of the one `if` around it, when nothing else decides."""
    *outer, direct = around or (function,)
    if not isinstance(direct, ast.If) or node not in direct.body:
        return None
    before = direct.body[: direct.body.index(node)]
    if not all(isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr) for statement in before):
        return None
    plain = all(isinstance(a, ast.With | ast.AsyncWith | ast.For | ast.AsyncFor | ast.Try) for a in outer)
    in_handlers = any(direct in getattr(a, part, []) for a in outer for part in ("orelse", "finalbody"))
    return direct.test if plain and not in_handlers else None


def _inner(source: Source, value: ast.expr) -> Offsets | None:
    """What stands between the quotes of one string literal on one line."""
    literal = isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))
    if not literal or not (span := source.short(value)) or not (match := _PLAIN_STRING.fullmatch(source.of(span))):
        return None
    quote = match[1]
    if re.search(rf"(?<!\\){quote}\s*[rRbBuUfF]*[\"']", match[2]) or len(match[2].strip()) < 2:  # two literals in a row
        return None
    return span[0] + match.start(2), span[0] + match.end(2)


def _looked_up(source: Source, defined: Defined, nodes: list[tuple[ast.AST, tuple[ast.AST, ...]]]) -> Iterator[Fact]:
    """Environment variables, keys of settings, and what is taken when a key is missing."""
    variables: dict[str, Offsets] = {}
    keys: dict[str, Offsets] = {}
    fallbacks: dict[str, list[tuple[str, Offsets | None]]] = {}
    for node, _ in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name) and node.args:
            key, called = _string(node.args[0]), ast.unparse(node.func)
            inner = _inner(source, node.args[0]) if key else None
            if not key or not inner:
                continue
            if called in _ENVIRON_CALLS:
                variables.setdefault(key, inner)
            elif called.endswith(".get") and _SETTINGS.search(called.removesuffix(".get")):
                keys.setdefault(key, inner)
            gets = called in _ENVIRON_CALLS[:4] or (
                called.endswith((".get", ".pop")) and isinstance(node.func, ast.Attribute)
            )
            if gets and len(node.args) == 2:
                where = "os.environ" if called in _ENVIRON_CALLS else called.rpartition(".")[0]
                fallbacks.setdefault(key, []).append((where, source.short(node.args[1])))
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and (key := _string(node.slice)):
            receiver, inner = ast.unparse(node.value), _inner(source, node.slice)
            if inner and receiver in _ENVIRON:
                variables.setdefault(key, inner)
            elif inner and _SETTINGS.search(receiver):
                keys.setdefault(key, inner)
    for kind, found in (("environment_variable", variables), ("config_key", keys)):
        if 1 <= len(found) <= 6:
            yield Fact(kind, defined.name, "function", tuple(found.values()), defined.lines, match="all")
    for key, values in fallbacks.items():
        where, span = values[0]
        if len(values) == 1 and span and len(where) <= 40:
            yield Fact("fallback", defined.name, "function", (span,), defined.lines, {"k": key, "w": where})


def _string(node: ast.expr) -> str:
    """The value of a string literal of plain characters, else ""."""
    value = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return value if re.fullmatch(r"[\w.:/-]{2,60}", value) else ""


def option_facts(source: Source) -> Iterator[Fact]:
    """Command-line options: add_argument of argparse, option of click, Option of typer."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        if called not in ("add_argument", "option", "Option", "add_option"):
            continue
        flags = [a for a in node.args if isinstance(a, ast.Constant) and str(a.value).startswith("-")]
        long = [a for a in flags if re.fullmatch(r"--[\w-]+", str(a.value))]
        if len(long) != 1:
            continue
        flag, lines = str(long[0].value), (node.lineno, node.end_lineno or node.lineno)
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if "default" in given and (span := source.short(given["default"])):
            yield Fact("option_default", flag, "option", (span,), lines)
        help_text = _inner(source, given["help"]) if "help" in given else None
        if help_text:
            yield Fact("option_help", flag, "option", (help_text,), lines)
            said = source.of(help_text).strip().rstrip(".")
            if 4 <= len(said.split()) <= 20 and flag.lstrip("-").replace("-", " ") not in said and "%" not in said:
                place = _inner(source, long[0])
                if place:
                    yield Fact("option_for", flag, "text", (place,), lines, {"d": said[0].lower() + said[1:]})
        short = [a for a in flags if re.fullmatch(r"-\w", str(a.value))]
        if len(short) == 1 and (place := _inner(source, short[0])):
            yield Fact("option_short", flag, "option", (place,), lines)


def import_facts(source: Source) -> Iterator[Fact]:
    """Where the names that the module imports come from."""
    found: dict[str, list[tuple[ast.stmt, str]]] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found.setdefault(alias.asname or alias.name, []).append((node, "." * node.level + (node.module or "")))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found.setdefault(alias.asname or alias.name, []).append((node, ""))
    for name, places in found.items():
        node, module = places[0]
        if len(places) > 1 or not module.strip(".") or name == "*" or module == "__future__":
            continue
        start = source.text.find(module, source.span(node)[0] + len("from"))
        lines = (node.lineno, node.end_lineno or node.lineno)
        if source.line_of(start) == node.lineno:
            yield Fact("imported_from", name, "import", ((start, start + len(module)),), lines)


def has_raise(node: Function) -> bool:
    """Whether the function, or what it defines, has a raise statement."""
    return any(isinstance(child, ast.Raise) for child in ast.walk(node))
