"""Questions about Python code with exact answers, made of its syntax tree and its docstrings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from selfroute.models.training.code_facts import Fact, Match
from selfroute.models.training.code_noise import noisy
from selfroute.models.training.code_package import Package
from selfroute.models.training.code_source import MAX_ANSWER, Offsets
from selfroute.models.training.code_wordings import Split, wordings_of

CONSTRUCTOR = ".__init__"


@dataclass(frozen=True, slots=True)
class CodeQuestion:
    """A question and its answer: text[start:end] == answer in the text of the file at `path`.

    spans: every right place when match is "any", every item when it is "all"; start, end and answer are the first's.
    lines: first and last of the definition that holds the answer. absent: why there is no answer ("name", "parameter",
    "attribute", "fact"), "" when there is one.
    """

    kind: str
    target: str
    wording: str
    question: str
    path: str
    answer: str = ""
    start: int = 0
    end: int = 0
    answers: tuple[str, ...] = ()
    spans: tuple[Offsets, ...] = ()
    match: Match = "any"
    lines: tuple[int, int] = (0, 0)
    absent: str = ""


def questions_of(
    source: str,
    path: str,
    *,
    package: Package | None = None,
    split: Split = "train",
    seed: int = 0,
    per_fact: int = 1,
    noise: bool = True,
) -> Iterator[CodeQuestion]:
    """Answerable questions about one file, the same for the same arguments.

    package: the files among which every question has one right reading; the file alone without it. per_fact: different
    wordings of each fact. A file that does not parse gives none.
    """
    package = package or Package.of({path: source})
    for fact in package.facts(path):
        yield from ask(fact, package, path, split=split, seed=seed, per_fact=per_fact, noise=noise)


def ask(
    fact: Fact,
    package: Package,
    path: str,
    *,
    split: Split = "train",
    seed: int = 0,
    per_fact: int = 1,
    noise: bool = True,
) -> Iterator[CodeQuestion]:
    """The fact as questions, none when it cannot be named unmistakably in the package."""
    text = package.files[path]
    answers = tuple(text[start:end] for start, end in fact.spans)
    if any(not answer.strip() or len(answer) > MAX_ANSWER for answer in answers):
        return
    if fact.match == "all" and len(set(answers)) != len(answers):
        return
    random_ = random.Random(f"{seed} {split} {path} {fact.kind} {fact.target} {sorted(fact.names.items())}")
    wordings = wordings_of(fact.kind, split)
    for name, wording in random_.sample(wordings, min(per_fact, len(wordings))):
        slots = slots_of(fact, package, path, random_)
        if slots is None:
            return
        yield CodeQuestion(
            kind=fact.kind,
            target=fact.target,
            wording=name,
            question=phrase(wording, slots, random_, noise=noise),
            path=path,
            answer=answers[0],
            start=fact.spans[0][0],
            end=fact.spans[0][1],
            answers=answers if fact.match == "all" else tuple(dict.fromkeys(answers)),
            spans=fact.spans,
            match=fact.match,
            lines=fact.lines,
        )


def slots_of(fact: Fact, package: Package, path: str, random_: random.Random) -> dict[str, str] | None:
    """What the braces of a wording become; None when the target has no name of its own in the package."""
    style = random_.choices(("plain", "ticks", "call", "both"), (48, 32, 12, 8))[0]
    if fact.of in ("function", "class", "constant"):
        ways = package.ways_to_say(path, fact.target)
        if fact.target.endswith(CONSTRUCTOR):
            ways = [way for way in ways if way.count(".") >= 1]
        if not ways:
            return None
        way = _chosen(ways, fact.target, random_)
        if way.endswith(CONSTRUCTOR) and fact.kind.startswith("parameter") and random_.random() < 0.4:
            way = _class_way(way, package) or way
        target = written(
            way, style if fact.of == "function" or style != "both" else "ticks", callable_=fact.of == "function"
        )
    elif fact.of == "import":
        paths = package.ways_to_say_path(path)
        if not paths:
            return None
        target = written(fact.target, style, callable_=False)
        file = random_.choice([paths[0], paths[0], paths[-1]])
        return {"x": target, "m": f"`{file}`" if style == "ticks" else file}
    elif fact.of == "option":
        target = written(fact.target, style, callable_=False)
    else:
        target = fact.target
    quoted = {name: f"`{value}`" if style in ("ticks", "both") else value for name, value in fact.names.items()}
    if fact.kind == "project_field":
        quoted["k"] = fact.names["k"]
    if "d" in fact.names:
        quoted["d"] = fact.names["d"]
    return {"x": target, **quoted}


def phrase(wording: str, slots: dict[str, str], random_: random.Random, *, noise: bool = True) -> str:
    """The question, with noise on the wording and none on the names."""
    if noise:
        wording = noisy(wording, random_)
    if "`" in slots.get("p", ""):
        wording = wording.replace("self.{p}", "`self.{p}`").replace("{x}.{p}", "`{x}.{p}`")
        bare = {"p": slots["p"].strip("`"), "x": slots["x"].strip("`")}
        for joined in ("`self.{p}`", "`{x}.{p}`"):
            wording = wording.replace(joined, joined.replace("{p}", bare["p"]).replace("{x}", bare["x"]))
    wording = wording.replace("{x}.__init__", f"{slots['x'].strip('`')}.__init__")
    for name, value in slots.items():
        wording = wording.replace("{" + name + "}", value)
    return wording[0].upper() + wording[1:] if wording[:4] in ("what", "whic") and wording.endswith("?") else wording


def written(name: str, style: str, *, callable_: bool) -> str:
    """The name as one types it: plain, in backticks, with parentheses."""
    if callable_ and style in ("call", "both"):
        name += "()"
    return f"`{name}`" if style in ("ticks", "both") else name


def _chosen(ways: list[str], target: str, random_: random.Random) -> str:
    """Mostly the short name, or Class.method for methods; at times a longer one."""
    depth = target.count(".") + 1
    natural = [way for way in ways if way.count(".") < depth]
    if natural and random_.random() < 0.85:
        return random_.choice([natural[-1], natural[-1], natural[0]])
    return random_.choice(ways[:3])


def _class_way(way: str, package: Package) -> str:
    """The class instead of its constructor, when it has one meaning."""
    name = way.removesuffix(CONSTRUCTOR)
    return name if package.forms[name.lower()] == 1 else ""
