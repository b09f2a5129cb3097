"""Questions about a package whose answers are read off its syntax trees: what several places hold together.

Each asks for what stands in more than one place: who calls, inherits or imports; how many; which ones; two places side
by side; one place by way of another. The names that are asked about mean one thing in the package, and short names are
left out. Look-ups and questions without an answer are those of selfroute.models.training.
"""

from __future__ import annotations

import ast
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from selfroute.models.training.code_package import Package
from selfroute.models.training.code_source import Source

MAX_LISTED = 12  # answers of a list: what the reader gives at most
MIN_NAME = 4
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question. answers: every one of them is wanted when several is set, else each alone is right."""

    kind: str
    question: str
    answers: tuple[str, ...]
    several: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """One definition. name: qualified. source: the file it stands in."""

    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    owner: ast.ClassDef | None
    source: Source

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]


def questions(package: Package, seed: int) -> dict[str, list[Asked]]:
    """Every question that the package gives, by kind, shuffled."""
    world = _World(package)
    made: dict[str, list[Asked]] = defaultdict(list)
    for make in (_callers, _subclasses, _importers, _counts, _lists, _comparisons, _hops):
        for asked in make(world, random.Random(f"{seed} {make.__name__}")):
            made[asked.kind].append(asked)
    for kind, found in made.items():
        random.Random(f"{seed} {kind}").shuffle(found)
    return made


class _World:
    """The definitions of a package, and which of their names mean one thing."""

    def __init__(self, package: Package) -> None:
        self.sources = [package.sources[path] for path in sorted(package.sources)]
        self.found = [
            _Found(defined.name, defined.node, defined.owner, source)
            for source in self.sources
            for defined in source.defined()
        ]
        self.n_defined = Counter(found.last for found in self.found)
        self.assigned = {name for source in self.sources for name, _, _ in source.assigned(source.tree.body)}
        self.classes = {
            found.name: found for found in self.found if isinstance(found.node, ast.ClassDef) and self.is_one(found)
        }

    def is_one(self, found: _Found) -> bool:
        """Whether the last part of its name means it alone."""
        name = found.last
        return self.n_defined[name] == 1 and name not in self.assigned and len(name) >= MIN_NAME and name[:2] != "__"


def _said(words: Sequence[str], rng: random.Random, **names: str) -> str:
    return rng.choice(words).format(**names)


def _callers(world: _World, rng: random.Random) -> Iterator[Asked]:
    inside: dict[str, set[str]] = defaultdict(set)
    for source in world.sources:
        for name, node in _scopes(source):
            for call in _own(node, ast.Call):
                called = call.func
                if isinstance(called, ast.Name):
                    inside[called.id].add(name)
                elif isinstance(called, ast.Attribute):
                    inside[called.attr].add(name)
    words = ("Which functions call {x}?", "Who calls {x}?", "What are the callers of {x}?", "Where is {x} called from?")
    for found in world.found:
        if isinstance(found.node, Function) and world.is_one(found) and found.owner is None:
            callers = sorted(inside[found.last] - {found.last, ""})
            if 1 <= len(callers) <= MAX_LISTED:
                yield Asked("relational", _said(words, rng, x=found.last), tuple(callers), True)


def _subclasses(world: _World, rng: random.Random) -> Iterator[Asked]:
    words = ("Which classes inherit from {x}?", "What are the subclasses of {x}?", "Which classes extend {x}?")
    counting = ("How many classes inherit from {x}?", "How many subclasses does {x} have?")
    below: dict[str, list[str]] = defaultdict(list)
    for found in world.found:
        if isinstance(found.node, ast.ClassDef):
            for base in found.node.bases:
                below[_last(base)].append(found.last)
    for found in world.classes.values():
        children = sorted(set(below[found.last]))
        if 1 <= len(children) <= MAX_LISTED:
            yield Asked("relational", _said(words, rng, x=found.last), tuple(children), True)
        if len(children) > 1:
            yield Asked("counting", _said(counting, rng, x=found.last), (str(len(children)),))


def _importers(world: _World, rng: random.Random) -> Iterator[Asked]:
    words = ("Which modules import {x}?", "Where is {x} imported?", "Which files import {x}?")
    by: dict[str, set[str]] = defaultdict(set)
    for source in world.sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    by[alias.name].add(source.path.rpartition("/")[2])
    for found in world.found:
        if world.is_one(found) and found.owner is None:
            files = sorted(by[found.last])
            if 1 <= len(files) <= MAX_LISTED:
                yield Asked("relational", _said(words, rng, x=found.last), tuple(files), True)


def _counts(world: _World, rng: random.Random) -> Iterator[Asked]:
    methods = ("How many methods does the class {x} define?", "How many methods does {x} have?")
    takes = ("How many functions take a parameter named {x}?", "How many functions have a {x} parameter?")
    classes = ("How many classes does {x} define?", "How many classes are defined in {x}?")
    for found in world.classes.values():
        own = [node for node in found.node.body if isinstance(node, Function)]
        if len(own) > 1:
            yield Asked("counting", _said(methods, rng, x=found.last), (str(len(own)),))
    for name, owners in _by_parameter(world).items():
        if 2 <= len(owners) <= MAX_LISTED:
            yield Asked("counting", _said(takes, rng, x=name), (str(len(owners)),))
    files = Counter(source.path.rpartition("/")[2] for source in world.sources)
    for source in world.sources:
        name = source.path.rpartition("/")[2]
        n = sum(isinstance(node, ast.ClassDef) for node in source.tree.body)
        if files[name] == 1 and n > 1:
            yield Asked("counting", _said(classes, rng, x=name), (str(n),))


def _lists(world: _World, rng: random.Random) -> Iterator[Asked]:
    takes = ("Which functions take a parameter named {x}?", "List all functions that have a {x} parameter.")
    decorated = ("Which functions are decorated with {x}?", "List everything that is decorated with {x}.")
    raising = ("Which functions raise {x}?", "List the functions that raise {x}.")
    defining = ("Which classes define a method named {x}?", "List all classes that have their own {x} method.")
    methods = ("List the methods of {x}.", "Which methods does the class {x} define?")
    for name, owners in _by_parameter(world).items():
        yield from _listed(_said(takes, rng, x=name), owners)
    for name, owners in _by_decorator(world).items():
        yield from _listed(_said(decorated, rng, x=name), owners)
    for name, owners in _by_raised(world).items():
        yield from _listed(_said(raising, rng, x=name), owners)
    by_method: dict[str, set[str]] = defaultdict(set)
    for found in world.found:
        if found.owner is not None and isinstance(found.node, Function):
            by_method[found.last].add(found.owner.name)
    for name, owners in sorted(by_method.items()):
        if name[:2] != "__" and len(name) >= MIN_NAME:
            yield from _listed(_said(defining, rng, x=name), owners)
    for found in world.classes.values():
        own = {node.name for node in found.node.body if isinstance(node, Function) and node.name[:2] != "__"}
        yield from _listed(_said(methods, rng, x=found.last), own)


def _listed(question: str, answers: set[str]) -> Iterator[Asked]:
    if 2 <= len(answers) <= MAX_LISTED:
        yield Asked("listing", question, tuple(sorted(answers)), True)


def _comparisons(world: _World, rng: random.Random) -> Iterator[Asked]:
    defaults = (
        "What are the defaults of {x} in {a} and in {b}?",
        "How does the default of {x} differ between {a} and {b}?",
        "Compare the default value of {x} in {a} with that in {b}.",
    )
    bases = (
        "What are the base classes of {a} and of {b}?",
        "Compare what {a} and {b} inherit from.",
        "How do the base classes of {a} and {b} differ?",
    )
    by_name: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for found in world.found:
        if isinstance(found.node, Function) and world.is_one(found):
            for name, default in _defaults(found.node, found.source):
                if len(name) >= MIN_NAME and len(default) > 1:
                    by_name[name].append((found.last, default))
    for name, places in sorted(by_name.items()):
        for (a, one), (b, other) in _pairs(places, rng):
            if one != other:
                yield Asked("comparing", _said(defaults, rng, x=name, a=a, b=b), (one, other), True)
    derived = [
        (found.last, _last(found.node.bases[0]))
        for found in world.classes.values()
        if len(found.node.bases) == 1 and _last(found.node.bases[0])
    ]
    for (a, one), (b, other) in _pairs(derived, rng):
        if one != other:
            yield Asked("comparing", _said(bases, rng, a=a, b=b), (one, other), True)


def _hops(world: _World, rng: random.Random) -> Iterator[Asked]:
    values = ("What is {x} in the base class of {a}?", "Which value does the class that {a} inherits from give to {x}?")
    modules = ("In which file is the base class of {a} defined?", "Which module defines the class that {a} extends?")
    for found in world.classes.values():
        bases = [world.classes[name] for base in found.node.bases for name in [_last(base)] if name in world.classes]
        if len(found.node.bases) != 1 or not bases:
            continue
        base = bases[0]
        if base.source is not found.source:
            yield Asked("multi-hop", _said(modules, rng, a=found.last), (base.source.path.rpartition("/")[2],))
        own = {name for name, _, _ in found.source.assigned(found.node.body)}
        for node in base.node.body:
            target = node.target if isinstance(node, ast.AnnAssign) else None
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                target = node.targets[0]
            if target is not None and isinstance(node.value, ast.Constant):  # type: ignore[attr-defined]
                name, value = _last(target), ast.get_source_segment(base.source.text, node.value) or ""  # type: ignore[attr-defined]
                if name and name not in own and 1 < len(value) < 60 and "\n" not in value:
                    yield Asked("multi-hop", _said(values, rng, a=found.last, x=name), (value.strip("\"'"),))


def _pairs(places: Sequence[tuple[str, str]], rng: random.Random) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    left = rng.sample(list(places), len(places))
    while len(left) > 1:
        one, other = left.pop(), left.pop()
        if one[0] != other[0]:
            yield one, other


def _scopes(source: Source) -> Iterator[tuple[str, ast.AST]]:
    """The last name and the node of every function, and the module under the name ""."""
    yield "", source.tree
    for defined in source.defined():
        if isinstance(defined.node, Function):
            yield defined.node.name, defined.node


def _own(node: ast.AST, wanted: type[ast.AST]) -> Iterator[ast.AST]:
    """Nodes of a kind below one, but for those of functions and classes inside it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, wanted):
            yield child
        if not isinstance(child, (*Function, ast.ClassDef)):
            yield from _own(child, wanted)


def _by(world: _World, names_of: Callable[[ast.AST], Iterator[str]]) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for one in world.found:
        if isinstance(one.node, Function):
            for name in names_of(one.node):
                if len(name) >= MIN_NAME:
                    found[name].add(one.last)
    return dict(sorted(found.items()))


def _by_parameter(world: _World) -> Mapping[str, set[str]]:
    def names_of(node: ast.AST) -> Iterator[str]:
        arguments = node.args  # type: ignore[attr-defined]
        yield from (a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if a.arg != "self")

    return _by(world, names_of)


def _by_decorator(world: _World) -> Mapping[str, set[str]]:
    def names_of(node: ast.AST) -> Iterator[str]:
        for one in node.decorator_list:  # type: ignore[attr-defined]
            name = _last(one.func if isinstance(one, ast.Call) else one)
            if name not in ("setter", "deleter", "getter"):
                yield name

    return _by(world, names_of)


def _by_raised(world: _World) -> Mapping[str, set[str]]:
    def names_of(node: ast.AST) -> Iterator[str]:
        for one in _own(node, ast.Raise):
            raised = one.exc  # type: ignore[attr-defined]
            if raised is not None:
                yield _last(raised.func if isinstance(raised, ast.Call) else raised)

    return {name: found for name, found in _by(world, names_of).items() if name[:1].isupper()}


def _defaults(node: ast.FunctionDef | ast.AsyncFunctionDef, source: Source) -> Iterator[tuple[str, str]]:
    arguments = (*node.args.posonlyargs, *node.args.args)
    for argument, default in zip(
        arguments[len(arguments) - len(node.args.defaults) :], node.args.defaults, strict=True
    ):
        text = ast.get_source_segment(source.text, default) or ""
        if text and "\n" not in text and len(text) < 40:
            yield argument.arg, text


def _last(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
