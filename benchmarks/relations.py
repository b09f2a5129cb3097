"""Who calls, inherits and imports what in an installed package: an analysis that shares nothing with the product.

Python's ast finds the definitions, calls, bases and imports; jedi, a type-aware resolver, says which definition each
name means. What jedi resolves to several definitions is left out and counted. Nested functions are neither asked about
nor counted as answers; a call inside one belongs to the function around it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

ANALYSIS = 1  # raised when the analysis changes: an older cached result is made again
ROUTINES = ("function", "method", "property")
Scope = tuple[str, str]  # the kind and dotted name of what encloses a statement


@dataclass(frozen=True, slots=True)
class Definition:
    """One name that the package defines.

    name: dotted from the package ("flask.app.Flask.run"). kind: module, class, function, method, property, or nested.
    lines: those that show it: of `def` or `class`, for a class also of its own __init__. several: it is written more
    than once (a setter, either side of an `if`), other than as overloads of one function.
    """

    name: str
    kind: str
    path: str
    lines: tuple[int, ...]
    several: bool = False

    @property
    def last(self) -> str:
        """The name alone."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Place:
    """A call or an import: any of the lines shows it. inside: the routine or class it stands in, or its module."""

    path: str
    lines: tuple[int, ...]
    inside: str
    target: str


@dataclass(slots=True)
class Relations:
    """All that is known of one package. skipped: how many names were left out, by reason."""

    package: str
    version: str
    jedi: str
    digest: str
    definitions: list[Definition] = field(default_factory=list)
    calls: list[Place] = field(default_factory=list)
    bases: list[Place] = field(default_factory=list)
    imports: list[Place] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    analysis: int = ANALYSIS


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in the source that jedi is asked about. use: calls, bases or imports; column in characters."""

    use: str
    path: str
    lines: tuple[int, ...]
    inside: str
    line: int
    column: int


def copy_package(name: str, corpus: Path) -> Path | None:
    """A copy of the installed package in corpus, its folder's name kept; None when it is not installed."""
    spec = PathFinder.find_spec(name)  # unlike importlib.util's, imports nothing
    if spec is None or not spec.submodule_search_locations:
        return None
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "*.pyc")
    shutil.copytree(next(iter(spec.submodule_search_locations)), corpus / name, ignore=unwanted)
    return corpus / name


def relations(name: str, corpus: Path, cache: Path | None) -> Relations:
    """The relations of the package copied to corpus/name, from the cache when they are of the same files."""
    import jedi

    distributions = packages_distributions().get(name)
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted((corpus / name).rglob("*.py")):
        digest.update(path.relative_to(corpus).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    made = Relations(
        name, version(distributions[0]) if distributions else "unknown", jedi.__version__, digest.hexdigest()
    )
    stored = cache / f"{name}-{made.version}.json" if cache else None
    if stored and stored.is_file():
        found = _loaded(json.loads(stored.read_text(encoding="utf-8")))
        if (found.digest, found.jedi, found.analysis) == (made.digest, made.jedi, made.analysis):
            return found
    analyse(made, corpus)
    if stored:
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps(asdict(made), indent=1), encoding="utf-8")
    return made


def _loaded(stored: dict[str, Any]) -> Relations:
    def tupled(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"lines": tuple(row["lines"])}

    stored["definitions"] = [Definition(**tupled(row)) for row in stored["definitions"]]
    for use in ("calls", "bases", "imports"):
        stored[use] = [Place(**tupled(row)) for row in stored[use]]
    return Relations(**stored)


class Reader(ast.NodeVisitor):
    """Collects the definitions of one file and the names that jedi is to resolve."""

    def __init__(self, path: str, module: str, source: str) -> None:
        self.path, self.module = path, module
        self.lines = source.split("\n")
        self.is_package = path.endswith("__init__.py")
        self.scopes: list[Scope] = [("module", module)]
        self.written: list[tuple[Definition, bool]] = []  # and whether it is an overload
        self.mentions: list[Mention] = []
        self.modules: list[Place] = []  # imports of a module, by its dotted name; known modules are kept later
        self.visit(ast.parse(source))

    @property
    def inside(self) -> str:
        """The outermost routine around, else the innermost class or module."""
        routines = [name for kind, name in self.scopes if kind in ROUTINES]
        return routines[0] if routines else self.scopes[-1][1]

    def define(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, kind: str) -> None:
        """Notes the definition and reads its body in a scope of its own; what stands before the body is outside."""
        outside: list[ast.AST] = [*node.decorator_list]
        if isinstance(node, ast.ClassDef):
            outside += [*node.bases, *node.keywords]
        else:
            outside += [node.args, *([node.returns] if node.returns else [])]
        for part in outside:
            self.visit(part)
        marks = [ast.unparse(decorator) for decorator in node.decorator_list]
        if any(kind_ in (*ROUTINES, "nested") for kind_, _ in self.scopes):
            kind = "nested"
        elif kind == "method" and any("property" in mark or mark.endswith((".setter", ".deleter")) for mark in marks):
            kind = "property"
        name = f"{self.scopes[-1][1]}.{node.name}"
        own = [n.lineno for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        lines = (node.lineno, *(own[-1:] if isinstance(node, ast.ClassDef) else ()))
        overload = any(mark.rpartition(".")[2] == "overload" for mark in marks)
        self.written.append((Definition(name, kind, self.path, lines), overload))
        self.scopes.append((kind, name))
        for statement in node.body:
            self.visit(statement)
        self.scopes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.define(node, "method" if self.scopes[-1][0] == "class" else "function")

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        in_a_routine = any(kind in (*ROUTINES, "nested") for kind, _ in self.scopes)
        for base in node.bases:
            name = base.value if isinstance(base, ast.Subscript) else base
            if not in_a_routine:
                self.mention("bases", name, (node.lineno,), f"{self.scopes[-1][1]}.{node.name}")
        self.define(node, "class")

    def visit_Call(self, node: ast.Call) -> None:
        self.mention("calls", node.func, (node.lineno, node.func.end_lineno or node.lineno), self.inside)
        self.generic_visit(node)

    def mention(self, use: str, name: ast.expr, lines: tuple[int, ...], inside: str) -> None:
        """Notes a plain or dotted name; the last character of it is where jedi looks."""
        if isinstance(name, ast.Name | ast.Attribute) and name.end_lineno and name.end_col_offset:
            before = self.lines[name.end_lineno - 1].encode()[: name.end_col_offset].decode()
            unique = tuple(dict.fromkeys(lines))
            self.mentions.append(Mention(use, self.path, unique, inside, name.end_lineno, len(before) - 1))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imported(node, alias, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            above = self.module.split(".")
            above = above[: len(above) - node.level + self.is_package]
            base = ".".join([*above, *([node.module] if node.module else [])])
        if node.module:
            self.imported(node, node.names[0], base)
        for alias in node.names:
            self.imported(node, alias, f"{base}.{alias.name}")
            if alias.name != "*":
                lines = tuple(dict.fromkeys((node.lineno, alias.lineno)))
                column = len(self.lines[alias.lineno - 1].encode()[: alias.col_offset].decode())
                self.mentions.append(Mention("imports", self.path, lines, self.inside, alias.lineno, column))

    def imported(self, node: ast.stmt, alias: ast.alias, module: str) -> None:
        """Notes an import that may be of a module."""
        lines = tuple(dict.fromkeys((node.lineno, alias.lineno)))
        self.modules.append(Place(self.path, lines, self.inside, module))


def analyse(made: Relations, corpus: Path) -> None:
    """Fills in the definitions, calls, bases and imports of the package; says on stderr how far it is."""
    import jedi

    readers: dict[str, Reader] = {}
    sources: dict[str, str] = {}
    for file in sorted((corpus / made.package).rglob("*.py")):
        path = file.relative_to(corpus).as_posix()
        parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
        try:
            sources[path] = file.read_text(encoding="utf-8")
            readers[path] = Reader(path, ".".join(parts), sources[path])
        except (SyntaxError, UnicodeDecodeError):
            _count(made, "files that cannot be parsed")
    jedi.settings.dynamic_params = False  # guesses from the calls, and is slow
    jedi.settings.cache_directory = str(corpus.parent / "jedi")
    at = _define(made, readers)
    names = {definition.last for definition in made.definitions}
    for reader in readers.values():
        names |= {word for row in _aliases(sources[reader.path]) for word in row}
    known = {definition.name for definition in made.definitions}
    modules = {d.name for d in made.definitions if d.kind == "module"} - {d.name for d in made.definitions if d.several}
    for n, (path, reader) in enumerate(readers.items(), 1):
        print(f"\r{made.package}: {n} of {len(readers)} files resolved", end="", file=sys.stderr, flush=True)
        made.imports += _unique(place for place in reader.modules if place.target in modules)
        found = dict(_resolved(made, corpus, path, sources[path], reader.mentions, names, at))
        for use in ("calls", "bases", "imports"):
            places = (
                Place(m.path, m.lines, m.inside, target)
                for m, target in found.items()
                if m.use == use and target in known
            )
            getattr(made, use).extend(_unique(places))
    print(file=sys.stderr)


def _define(made: Relations, readers: dict[str, Reader]) -> dict[tuple[str, int, str], Definition]:
    """Orders the definitions; gives them by file, line and name, overloads under the function they belong to."""
    by_name: dict[str, list[tuple[Definition, bool]]] = {}
    for reader in readers.values():
        by_name.setdefault(reader.module, []).append((Definition(reader.module, "module", reader.path, (1,)), False))
        for definition, overload in reader.written:
            by_name.setdefault(definition.name, []).append((definition, overload))
    at: dict[tuple[str, int, str], Definition] = {}
    for _, group in sorted(by_name.items()):
        bodies = [definition for definition, overload in group if not overload] or [group[-1][0]]
        last = bodies[-1]
        merged = Definition(last.name, last.kind, last.path, last.lines, several=len(bodies) > 1)
        made.definitions.append(merged)
        at |= {(d.path, d.lines[0], d.last): merged for d, _ in group if d.kind != "module"}
    return at


def _resolved(
    made: Relations,
    corpus: Path,
    path: str,
    source: str,
    mentions: list[Mention],
    names: set[str],
    at: dict[tuple[str, int, str], Definition],
) -> Iterator[tuple[Mention, str]]:
    """The mentions of one file with the one definition of the package that each means."""
    import jedi

    project = jedi.Project(corpus, sys_path=[str(corpus), *filter(None, sys.path)], smart_sys_path=False)
    environment = jedi.api.environment.InterpreterEnvironment()
    script = jedi.Script(source, path=corpus / path, project=project, environment=environment)
    lines = source.split("\n")
    for mention in mentions:
        if _word(lines[mention.line - 1], mention.column) not in names:
            continue
        try:
            found = script.goto(mention.line, mention.column, follow_imports=True)
        except Exception as error:  # jedi fails on some sources with errors of many kinds
            _count(made, f"jedi failed: {type(error).__name__}")
            continue
        inner = {n for n in found if n.module_path and Path(n.module_path).is_relative_to(corpus)}
        meant = {
            at.get((Path(n.module_path).relative_to(corpus).as_posix(), n.line, n.name)) if n.type != "param" else None
            for n in inner  # a parameter can stand on the line of its `def` and have its name
        }
        if not inner:
            _count(made, f"{mention.use}: of another package or unresolved")
        elif len(found) > len(inner) or len(meant) > 1:
            _count(made, f"{mention.use}: several definitions")
        elif (definition := next(iter(meant))) is None:
            _count(made, f"{mention.use}: a variable or parameter")
        elif definition.several:
            _count(made, f"{mention.use}: a name written several times")
        elif definition.kind in ("nested", "property"):
            _count(made, f"{mention.use}: a nested function or property")
        else:
            yield mention, definition.name


def _word(line: str, column: int) -> str:
    """The identifier around a column."""
    start, end = column, column + 1
    while start and (line[start - 1].isalnum() or line[start - 1] == "_"):
        start -= 1
    while end < len(line) and (line[end].isalnum() or line[end] == "_"):
        end += 1
    return line[start:end]


def _aliases(source: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.name, alias.asname) for alias in node.names if alias.asname)


def _unique(places: Iterator[Place]) -> list[Place]:
    """Each once: several calls of one function on one line are one place."""
    return list({(place.path, place.lines, place.target): place for place in places}.values())


def _count(made: Relations, reason: str) -> None:
    made.skipped[reason] = made.skipped.get(reason, 0) + 1
