"""Questions that a package has no answer to: names that it does not hold, and facts that it does not state."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

from selfroute.models.training.code_bodies import has_raise, option_facts
from selfroute.models.training.code_facts import Fact, constant_facts, is_special
from selfroute.models.training.code_package import WORD, Package, definitions
from selfroute.models.training.code_project import project_facts
from selfroute.models.training.code_questions import CodeQuestion, phrase, slots_of, written
from selfroute.models.training.code_source import Defined, Function, Source, arguments_of
from selfroute.models.training.code_wordings import Split, wordings_of

_FUNCTION_KINDS = (
    ("parameters", 2), ("return_type", 2), ("returned", 2), ("raised", 2), ("does", 2), ("defined_at", 3),
    ("decorators", 1), ("parameter_default", 3), ("parameter_type", 1), ("parameter_meaning", 1),
    ("raise_condition", 1), ("environment_variable", 1), ("config_key", 1),
)  # fmt: skip
_CLASS_KINDS = (
    ("bases", 3),
    ("methods", 2),
    ("class_attribute", 2),
    ("instance_attribute", 2),
    ("does", 1),
    ("defined_at", 2),
)
_PARAMETER_KINDS = ("parameter_default", "parameter_default", "parameter_type", "parameter_meaning")
_DEPENDENCIES = (
    "numpy pandas scipy pillow pyyaml attrs rich lxml protobuf boto3 redis celery sqlalchemy cryptography tqdm psutil "
    "orjson simplejson python-dateutil pytz tomli packaging certifi urllib3 idna jinja2 markupsafe wheel docutils toml"
).split()
_Maker: TypeAlias = Callable[["_Pool", Split, random.Random, bool], CodeQuestion | None]
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|_+")


def absent_questions(
    package: Package, n: int, *, split: Split = "train", seed: int = 0, noise: bool = True
) -> Iterator[CodeQuestion]:
    """At most n questions without an answer, of every sort in turn, the same for the same arguments.

    path and lines are those of the definition that comes nearest.
    """
    random_ = random.Random(f"{seed} {split} {len(package.files)} absent")
    found = [(s, d) for s, d in definitions(package.sources.values()) if not is_special(d.node.name)]
    found = [(s, d) for s, d in found if package.ways_to_say(s.path, d.name)]
    pool = _Pool(package, found)
    makers: tuple[_Maker, ...] = (
        _no_name,
        _no_fact,
        _no_parameter,
        _no_other,
        _no_name,
        _no_fact,
        _no_attribute,
        _no_other,
    )
    if not found:
        makers = (_no_other,)
    seen: set[str] = set()
    made = 0
    for turn in range(n * 12):
        if made == n:
            return
        question = makers[turn % len(makers)](pool, split, random_, noise)
        if question is not None and question.question not in seen:
            seen.add(question.question)
            made += 1
            yield question


class _Pool:
    """What is drawn from: definitions of one package, and the words, parameters and attributes that it uses."""

    def __init__(self, package: Package, found: list[tuple[Source, Defined]]) -> None:
        self.package = package
        self.functions = [(s, d) for s, d in found if isinstance(d.node, Function)]
        self.classes = [(s, d) for s, d in found if isinstance(d.node, ast.ClassDef)]
        self.constants = [
            (s, f)
            for s in package.sources.values()
            for f in constant_facts(s)
            if len(f.target) > 3 and f.target.isupper()
        ]
        self.options = [(s, f) for s in package.sources.values() for f in option_facts(s) if f.kind == "option_help"]
        self.projects = [
            (path, fact)
            for path, text in package.files.items()
            for fact in project_facts(text, path)
            if fact.kind == "requires_python"
        ]
        parts = {p for _, d in found for p in _PARTS.findall(d.node.name) if len(p) > 2 and p[:1].isalpha()}
        self.parts = sorted(part.lower() for part in parts)
        self.parameters = sorted(
            {a.arg for _, d in self.functions if isinstance(d.node, Function) for a, _ in arguments_of(d.node)}
        )
        attributes = {
            n.attr for s in package.sources.values() for n in ast.walk(s.tree) if isinstance(n, ast.Attribute)
        }
        self.attributes = sorted(name for name in attributes if name.islower() and len(name) > 2)


def _no_name(pool: _Pool, split: Split, random_: random.Random, noise: bool) -> CodeQuestion | None:
    """A name like those of the package that stands nowhere in it."""
    of_class = bool(pool.classes) and random_.random() < 0.3
    found = pool.classes if of_class else pool.functions
    if not found:
        return None
    source, defined = random_.choice(found)
    name = mutated(defined.node.name, pool.parts, random_)
    if not name or name.lower() in pool.package.words:
        return None
    owner = defined.name.rpartition(".")[0]
    target = f"{owner}.{name}" if owner and random_.random() < 0.7 else name
    kinds = _CLASS_KINDS if of_class else _FUNCTION_KINDS
    kind = random_.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
    names = {
        "p": _of_node(defined, pool, random_),
        "e": random_.choice(("ValueError", "TypeError", "KeyError", "RuntimeError")),
    }
    id_, wording = random_.choice(wordings_of(kind, split))
    style = random_.choices(("plain", "ticks", "call", "both"), (48, 32, 12, 8))[0]
    slots = {key: f"`{value}`" if style in ("ticks", "both") else value for key, value in names.items()}
    slots["x"] = written(target, style if not of_class else style.replace("both", "ticks"), callable_=not of_class)
    text = phrase(wording, slots, random_, noise=noise)
    return CodeQuestion(kind, target, id_, text, source.path, lines=defined.lines, absent="name")


def _no_other(pool: _Pool, split: Split, random_: random.Random, noise: bool) -> CodeQuestion | None:
    """A constant, an option, an import or a dependency that there is not."""
    package = pool.package
    weights = {
        "constants": 4 * bool(pool.constants),
        "options": 2 * bool(pool.options),
        "projects": bool(pool.projects),
        "imports": 3 * bool(pool.functions or pool.classes),
    }
    if not any(weights.values()):
        return None
    choice = random_.choices(list(weights), list(weights.values()))[0]
    names: dict[str, str] = {}
    if choice == "projects":
        path, fact = random_.choice(pool.projects)
        folder = path.rpartition("/")[0]
        stated = " ".join(text for other, text in package.files.items() if other.rpartition("/")[0] == folder).lower()
        kind, target, of, lines = "dependency_version", fact.target, "project", fact.lines
        names["p"] = random_.choice(_DEPENDENCIES)
        exists = names["p"] in stated
    else:
        if choice == "constants":
            source, fact = random_.choice(pool.constants)
            kind, target, of, lines = "constant", mutated(fact.target, pool.parts, random_), "text", fact.lines
        elif choice == "options":
            source, fact = random_.choice(pool.options)
            kind, of, lines = random_.choice(("option_default", "option_help", "option_short")), "option", fact.lines
            made = mutated(fact.target.lstrip("-").replace("-", "_"), pool.parts, random_)
            target = "--" + made.replace("_", "-") if made else ""
        else:
            source, defined = random_.choice(pool.functions + pool.classes)
            kind, of, lines = "imported_from", "import", defined.lines
            target = mutated(defined.node.name, pool.parts, random_)
        path = source.path
        exists = not target or target.lstrip("-").replace("-", "_").lower() in package.words
        exists = exists or any(target in text for text in package.files.values())
    slots = None if exists else slots_of(Fact(kind, target, of, (), lines, names), package, path, random_)
    if slots is None:
        return None
    id_, wording = random_.choice(wordings_of(kind, split))
    absent = "fact" if choice == "projects" else "name"
    return CodeQuestion(
        kind, target, id_, phrase(wording, slots, random_, noise=noise), path, lines=lines, absent=absent
    )


def _of_node(defined: Defined, pool: _Pool, random_: random.Random) -> str:
    """A parameter of the function that the name was made from, or an attribute."""
    if isinstance(defined.node, Function):
        own = [a.arg for a, _ in arguments_of(defined.node) if a.arg not in ("self", "cls")]
        return random_.choice(own or pool.parameters or ["value"])
    return random_.choice(pool.attributes or ["name"])


def _no_parameter(pool: _Pool, split: Split, random_: random.Random, noise: bool) -> CodeQuestion | None:
    """A parameter that the function neither takes nor mentions."""
    if not pool.functions or not pool.parameters:
        return None
    source, defined = random_.choice(pool.functions)
    node = defined.node
    assert isinstance(node, Function)
    name = random_.choice(pool.parameters)
    if node.args.kwarg or len(name) < 3 or name in _words(source, defined):
        return None
    kind = random_.choice(_PARAMETER_KINDS)
    return _asked(kind, defined, source, {"p": name}, "parameter", pool, split, random_, noise)


def _no_attribute(pool: _Pool, split: Split, random_: random.Random, noise: bool) -> CodeQuestion | None:
    """An attribute that a class without bases neither has nor mentions."""
    if not pool.classes or not pool.attributes:
        return None
    source, defined = random_.choice(pool.classes)
    node = defined.node
    assert isinstance(node, ast.ClassDef)
    name = random_.choice(pool.attributes)
    if node.bases or node.decorator_list or name in _words(source, defined):
        return None
    if any(re.search(rf"\b{node.name}\b.*\.{name}\b", text) for text in pool.package.files.values()):
        return None
    kind = random_.choice(("class_attribute", "instance_attribute", "attribute_type"))
    return _asked(kind, defined, source, {"p": name}, "attribute", pool, split, random_, noise)


def _no_fact(pool: _Pool, split: Split, random_: random.Random, noise: bool) -> CodeQuestion | None:
    """Something that the definition does not state: no default, no annotation, no exception, no base, no decorator."""
    if not pool.functions + pool.classes:
        return None
    source, defined = random_.choice(pool.functions + pool.classes)
    node, text = defined.node, _text(source, defined)
    choices: list[tuple[str, dict[str, str]]] = []
    if not node.decorator_list:
        choices.append(("decorators", {}))
    if isinstance(node, ast.ClassDef):
        if not node.bases and not node.keywords:
            choices += [("bases", {})] * 2
    else:
        said = ast.get_docstring(node) or ""
        for argument, default in arguments_of(node):
            if argument.arg in ("self", "cls"):
                continue
            if default is None and not re.search(r"default|optional|omit", said, re.I):
                choices.append(("parameter_default", {"p": argument.arg}))
            if argument.annotation is None and argument.arg not in said:
                choices.append(("parameter_type", {"p": argument.arg}))
        if node.returns is None and "eturn" not in said:
            choices.append(("return_type", {}))
        if not has_raise(node) and not re.search(r"rais|throw|rror|xception", text):
            choices += [("raised", {})] * 2
            choices.append(
                ("raise_condition", {"e": random_.choice(("ValueError", "TypeError", "KeyError", "RuntimeError"))})
            )
        if not re.search(r"environ|getenv", text, re.I):
            choices.append(("environment_variable", {}))
    if not choices:
        return None
    kind, names = random_.choice(choices)
    if kind.startswith("parameter") and node.name == "__init__" and "@dataclass" in source.text:
        return None
    return _asked(kind, defined, source, names, "fact", pool, split, random_, noise)


def _asked(
    kind: str,
    defined: Defined,
    source: Source,
    names: dict[str, str],
    absent: str,
    pool: _Pool,
    split: Split,
    random_: random.Random,
    noise: bool,
) -> CodeQuestion | None:
    of = "class" if isinstance(defined.node, ast.ClassDef) else "function"
    slots = slots_of(Fact(kind, defined.name, of, (), defined.lines, names), pool.package, source.path, random_)
    if slots is None:
        return None
    id_, wording = random_.choice(wordings_of(kind, split))
    text = phrase(wording, slots, random_, noise=noise)
    return CodeQuestion(kind, defined.name, id_, text, source.path, lines=defined.lines, absent=absent)


def mutated(name: str, parts: list[str], random_: random.Random) -> str:
    """The name with one of its words exchanged, added, or left out: still a plausible name."""
    pieces = _PARTS.findall(name) if not name.startswith("__") else []
    words = [i for i, piece in enumerate(pieces) if piece[:1].isalpha()]
    if not words or not parts:
        return ""
    word, at = random_.choice(parts), random_.choice(words)
    capital = pieces[at][:1].isupper()
    snake = "_" in name or name.isupper() or not any(piece[:1].isupper() for piece in pieces)
    shaped = word.upper() if name.isupper() else word.capitalize() if capital else word
    if len(words) > 1 and random_.random() < 0.6:
        pieces[at] = shaped
    elif snake:
        pieces.append(f"_{word.upper() if name.isupper() else word}")
    else:
        pieces.append(word.capitalize())
    made = "".join(pieces)
    return made if made != name and WORD.fullmatch(made) and not made[0].isdigit() else ""


def _text(source: Source, defined: Defined) -> str:
    first, last = defined.lines
    return "\n".join(source.text.split("\n")[first - 1 : last])


def _words(source: Source, defined: Defined) -> set[str]:
    return set(WORD.findall(_text(source, defined)))
