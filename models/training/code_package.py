"""A package as one corpus of questions: its facts, and which names mean one thing in it."""

from __future__ import annotations

import builtins
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from selfroute.models.training import code_bodies, code_docs, code_facts, code_project
from selfroute.models.training.code_facts import Fact
from selfroute.models.training.code_source import Defined, Function, Source

WORD = re.compile(r"[A-Za-z_]\w*")
_BUILTINS = frozenset(name.lower() for name in dir(builtins))


@dataclass(frozen=True, slots=True)
class Package:
    """files: path -> text. sources: the Python files that parse. words: every identifier-like word, in lower case.

    forms: a dotted ending of a qualified name, in lower case -> how many definitions it may mean. endings: the same
    for paths.
    """

    files: Mapping[str, str]
    sources: Mapping[str, Source]
    words: frozenset[str]
    forms: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, files: Mapping[str, str]) -> Package:
        """Parses what can be parsed, and counts the names."""
        sources: dict[str, Source] = {}
        words: set[str] = set()
        forms: Counter[str] = Counter()
        endings: Counter[str] = Counter()
        for path, text in files.items():
            words.update(word.lower() for word in WORD.findall(text))
            endings.update(_endings(path))
            if path.endswith(".py"):
                try:
                    source = Source(text, path)
                except SyntaxError:
                    continue
                sources[path] = source
                for name in _names(source):
                    parts = f"{source.module}.{name}".lower().split(".")
                    forms.update(".".join(parts[i:]) for i in range(len(parts)))
        return cls(files, sources, frozenset(words), forms, endings)

    def facts(self, path: str) -> Iterator[Fact]:
        """Every fact of one file."""
        source = self.sources.get(path)
        if source is None:
            yield from code_project.project_facts(self.files[path], path)
        else:
            yield from facts_of(source)

    def ways_to_say(self, path: str, name: str) -> list[str]:
        """The endings of a qualified name that mean one thing in the package, shortest first."""
        parts = f"{self.sources[path].module}.{name}".split(".")
        forms = [".".join(parts[i:]) for i in reversed(range(len(parts)))]
        last = forms[0].strip("_")
        is_word = last.lower() in _BUILTINS or ("." in name and last.isalpha() and last.islower())  # update, parse
        if is_word or len(last) < 3:
            forms = forms[1:]
        return [form for form in forms if self.forms[form.lower()] == 1]

    def ways_to_say_path(self, path: str) -> list[str]:
        """The endings of a path that no other file has, shortest first."""
        return [ending for ending in _endings(path) if self.endings[ending] == 1]


def facts_of(source: Source) -> Iterator[Fact]:
    """Every fact of one Python file, in a fixed order."""
    for defined in code_facts.unique_definitions(source):
        if code_facts.is_special(defined.node.name):
            continue
        yield from code_facts.common_facts(source, defined)
        yield from code_docs.docstring_facts(source, defined)
        if isinstance(defined.node, Function):
            yield from code_facts.signature_facts(source, defined)
            yield from code_bodies.body_facts(source, defined)
        else:
            yield from code_facts.class_facts(source, defined)
    yield from code_facts.constant_facts(source)
    yield from code_bodies.option_facts(source)
    yield from code_bodies.import_facts(source)


def definitions(sources: Iterable[Source]) -> Iterator[tuple[Source, Defined]]:
    """The definitions of several files."""
    for source in sources:
        yield from ((source, defined) for defined in code_facts.unique_definitions(source))


def _names(source: Source) -> Iterator[str]:
    """Every definition and module-level name, as often as it is defined."""
    yield from (defined.name for defined in source.defined())
    assigned = [name for name, _, _ in source.assigned(source.tree.body)]
    yield from dict.fromkeys(assigned)


def _endings(path: str) -> list[str]:
    parts = PurePosixPath(path).parts
    return ["/".join(parts[i:]) for i in reversed(range(len(parts)))]
