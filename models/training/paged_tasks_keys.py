"""Tasks of random keys: pairs, JSON, chains of hashes, variables assigned to variables, needles in prose and code.

Every one gives a Haystack whose questions are asked of all its pages. A third of the wordings of lines and questions
are for testing only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from selfroute.models.tokenizer import wordpiece
from selfroute.models.training.paged_haystack import Haystack
from selfroute.models.training.paged_material import Material, tokens
from selfroute.models.training.paged_ragged import Ints, Ragged, join, pack, repeated, stacked

Split = Literal["train", "held"]
NEWLINE = (1,)  # the mark of a line that is not indented

# Lines and questions, one after each ~; those after the double bar are for testing only.
PAIRS = """{k}: {v}~{k} = {v}~"{k}": "{v}",~{k} -> {v}~the value of {k} is {v}.~{k} | {v}~key {k} value {v}~{k},{v}
||set {k} to {v};~- {k} has {v}~{k} : {v};~{k} maps to {v}"""
ASK_PAIR = """{k}~what is the value of {k}?~{k} = ?~which value belongs to {k}?~value of {k}~{k}:
~find the value of "{k}"~what does {k} stand for?
||look up {k}~give the value for the key {k}.~what is stored under {k}?~{k} ->"""
JSON = """"{k}": "{v}",||"{k}" : "{v}","""
ASK_JSON = """extract the value corresponding to the key "{k}".~key: "{k}"~"{k}":||what is the value of key "{k}"?"""
NEEDLES = """one of the special magic numbers for {k} is: {v}.~the secret code of {k} is {v}.~{k} has the number {v}.
~remember that the password for {k} is {v}.~the registration of {k} is {v}.~in the list, {k} is given as {v}.
||the phone number of {k} is {v}.~the ticket of {k} reads {v}.~note: {k} was assigned {v}."""
ASK_NEEDLE = """what is the special magic number for {k} mentioned in the provided text?~what is the secret code of {k}?
~which number does {k} have?~what is the password for {k}?~{k}?~what is the registration of {k}?
||what is given as the number of {k}?~tell me the value noted for {k}.~what was assigned to {k}?"""
CODE_NEEDLES = (
    """{k} = {v}~# {k}: {v}~{k} = "{v}"~def {k}(): return {v}~config["{k}"] = {v}||const {k} = {v};~{k} := {v}"""
)
ASK_CODE = """what is {k} set to?~value of {k}~what does {k} return?~{k} =||to what is `{k}` assigned?~what is `{k}`?"""
HOPS = """{k} -> {v}~{k} = {v}~{k} leads to {v}~{k} => {v}~after {k} comes {v}.||{k} : next {v}~from {k} go to {v}"""
ASK_HOP = """where does {k} lead?~{k} ->~follow {k}~start at {k} and go on~hop from {k}||what comes after {k}?~{k} =>"""
ASK_TWO = """where does {k} lead in two steps?~two hops from {k}~follow {k} twice||what is two steps after {k}?"""
FIRST_VALUES = """var {k} = {v}~{k} = {v}~let {k} be {v}.||set {k} := {v}"""
NEXT_VALUES = """var {k} = var {v}~{k} = {v}~let {k} be {v}.||set {k} := {v}"""
ASK_VARIABLE = """find all variables that are assigned the value {v} in the text above.~which variables are {v}?
~which variables hold {v}?||name every variable whose value is {v}."""

# Wordings composed of parts, so that a key is found whatever the words around it are. None of the parts
# is one of the wordings for testing.
LINE_PARTS = (
    """the~her~his~our~your~this~each~an official~the current~the old~the new""",
    """number~code~password~price~address~name~total~label~key~size~rank~date~level~score~weight~token~pin~account~badge
~room~seat~license~serial~batch~flight~order~invoice~grade~channel~port~model~colour~status""",
    """of~for~behind~at~with~by~from~under""",
    """is~is now~was~equals~reads as~will be~has become~is known as~:~=~is set as""",
)
ASK_PARTS = (
    """what is~what's~find~tell me~give me~name~which is~do you know~i need~show~print~recall~state~what was~report""",
    """the~her~his~our~your~that~the current~the""",
    """number~code~password~price~address~name~total~label~key~size~rank~date~level~score~weight~token~pin~account~badge
~room~seat~license~serial~batch~flight~order~invoice~grade~channel~port~model~colour~status~entry~content~answer""",
    """of~for~behind~at~with~by~from~under~that goes with~that belongs to~that was mentioned for~written next to""",
    """?~~.~ in the text?~ above?~ please.~, as mentioned before?~ exactly?""",
)
COMPOSED = 120  # of each, as many of random words, and as many of the plain ones

RANDOM = ("letters", "letters16", "alnum", "hex", "number", "uuid", "pair", "pieces", "capitals")
SHARE = np.array([0.2, 0.06, 0.12, 0.1, 0.12, 0.08, 0.14, 0.12, 0.06])
TWO = 0.05  # share of questions about chains that ask for two steps at once
ABSENT = 0.06  # share of questions about keys that are nowhere


@cache
def wordings(text: str, split: Split) -> list[str]:
    """The wordings of a split; in training also composed ones and ones of random words, but for JSON and variables."""
    train, _, held = text.replace("\n", "").partition("||")
    found = (train if split == "train" else held).split("~")
    asks = text in (ASK_PAIR, ASK_NEEDLE, ASK_CODE, ASK_HOP)
    if split == "held" or not (asks or text in (PAIRS, NEEDLES, CODE_NEEDLES, HOPS)):
        return found
    rng = np.random.default_rng(len(text))
    parts = [part.replace("\n", "").split("~") for part in (ASK_PARTS if asks else LINE_PARTS)]
    made = []
    for _ in range(COMPOSED):
        *words, last = (str(rng.choice(part)) for part in parts)
        made.append(f"{' '.join(words)} {{k}}{last}" if asks else f"{' '.join(words)} {{k}} {last} {{v}}.")
    made += [_of_random_words(rng, asks) for _ in range(COMPOSED)]
    if text == CODE_NEEDLES:
        made = [f"# {wording}" for wording in made[:: len(made) // 30]]
    return made + found * (len(made) // 2 // len(found))


def _of_random_words(rng: np.random.Generator, asks: bool) -> str:
    """A wording that means nothing: a key is to be found by itself."""
    known = whole_words()

    def some(least: int, most: int) -> str:
        return " ".join(str(rng.choice(known)) for _ in range(int(rng.integers(least, most + 1))))

    mark = str(rng.choice(["", "", ".", "?" if asks else ";", ":"]))
    if asks:
        return f"{some(0, 5)} {{k}} {some(0, 2)}{mark}"
    return f"{some(0, 4)} {{k}} {some(1, 3)} {{v}} {some(0, 1)}{mark}"


@cache
def whole_words() -> list[str]:
    """Words of the vocabulary that are one token."""
    return [w for i, w in enumerate(wordpiece().vocabulary) if i > 2000 and w.isascii() and w.isalpha() and len(w) > 2]


def filled(wording: str, slots: dict[str, Ragged], n: int) -> tuple[Ragged, dict[str, Ints]]:
    """A wording n times with its slots filled, and (n,) where each slot begins."""
    parts, names = [], []
    for piece in re.split(r"(\{\w\})", wording):
        name = piece[1:-1] if piece.startswith("{") and piece[1:-1] in slots else ""
        if name:
            parts.append(slots[name])
        elif piece.strip():
            parts.append(repeated(tokens(piece), n))
        else:
            continue
        names.append(name)
    rows, begins = join(parts)
    return rows, {name: begin for name, begin in zip(names, begins, strict=True) if name}


@dataclass(frozen=True, slots=True)
class Size:
    """How large a haystack is to be: pages, tokens of a page's text, questions."""

    pages: int
    page_tokens: int
    questions: int


def any_of(rng: np.random.Generator, items: Sequence[str]) -> str:
    """One of them."""
    return items[int(rng.integers(len(items)))]


def kinds(rng: np.random.Generator, page_tokens: int) -> tuple[str, str]:
    """Of keys and of values, such that a pair fits a page."""
    while True:
        key, value = (str(rng.choice(RANDOM, p=SHARE)) for _ in range(2))
        value = any_of(rng, ("word", "number", "number5")) if rng.random() < 0.15 else value
        long = sum({"uuid": 26, "letters16": 10}.get(kind, 6) for kind in (key, value))
        if long + 8 <= page_tokens:
            return key, value


def room(size: Size, length: float) -> int:
    """Lines of a mean length that fill the pages."""
    per_page = max(1.0, size.page_tokens // (length + 1))
    return max(2, int(size.pages * per_page))


def ask_all(
    asked: Sequence[str], keys: Ragged, chosen: Ints, rng: np.random.Generator, slot: str = "k"
) -> tuple[Ragged, Ints]:
    """Questions about chosen keys, wordings mixed; (n,) the order in which `chosen` is asked."""
    which = rng.integers(0, len(asked), len(chosen))
    parts, order = [], []
    for n, wording in enumerate(asked):
        mine = np.flatnonzero(which == n)
        if len(mine):
            parts.append(filled(wording, {slot: keys.take(chosen[mine])}, len(mine))[0])
            order.append(mine)
    return stacked(parts), chosen[np.concatenate(order)]


def pairs(material: Material, rng: np.random.Generator, size: Size, split: Split = "train") -> Haystack:
    """Nothing but random keys with a value each, one a line."""
    key, value = kinds(rng, size.page_tokens)
    return pairs_of(material, rng, size, split, key, value, PAIRS, ASK_PAIR)


def json_pairs(material: Material, rng: np.random.Generator, size: Size, split: Split = "train") -> Haystack:
    """One JSON object of UUIDs, as in "Lost in the Middle" (Liu et al. 2023); shorter keys where pages are short."""
    kind = "uuid" if size.page_tokens >= 70 else "hex"
    return pairs_of(material, rng, size, split, kind, kind, JSON, ASK_JSON)


def needle_pairs(material: Material, rng: np.random.Generator, size: Size, split: Split = "train") -> Haystack:
    """Nothing but needles, as RULER's multikey 2 and 3."""
    key, value = ("uuid", "uuid") if size.page_tokens >= 100 and rng.random() < 0.4 else ("pair", "number")
    return pairs_of(material, rng, size, split, key, value, NEEDLES, ASK_NEEDLE)


def pairs_of(
    material: Material,
    rng: np.random.Generator,
    size: Size,
    split: Split,
    key: str,
    value: str,
    lines: str,
    questions: str,
) -> Haystack:
    """Lines of one wording over drawn keys and values."""
    wording = any_of(rng, wordings(lines, split))
    trial = filled(wording, {"k": material.drawn(key, 32, rng), "v": material.drawn(value, 32, rng)}, 32)[0]
    n = room(size, float(trial.lengths.mean()))
    n_absent = max(1, int(ABSENT * min(n, size.questions)))
    keys = material.drawn(key, n + n_absent, rng)
    n = len(keys) - n_absent
    values = material.drawn(value, n, rng)
    n = min(n, len(values))
    shown = keys.take(np.arange(n))
    units, begins = filled(wording, {"k": shown, "v": values.take(np.arange(n))}, n)
    chosen = rng.permutation(n)[: max(1, size.questions - n_absent)]
    chosen = np.concatenate([chosen, np.arange(len(keys) - n_absent, len(keys))])
    asked, order = ask_all(wordings(questions, split), keys, chosen, rng)
    return placed(units, begins["v"], values.lengths, asked, order, size, n)


def placed(units: Ragged, begin: Ints, length: Ints, asked: Ragged, target: Ints, size: Size, n: int) -> Haystack:
    """The units in pages; a question's answer is in its target unit, there is none where that is n or more."""
    pages, page, place = pack(units, size.page_tokens, NEWLINE)
    q = np.flatnonzero(target < n)
    t = target[q]
    first = place[t] + begin[t]
    answers = np.stack([q, page[t], first, first + length[t] - 1, np.zeros_like(q)], 1)
    return Haystack(pages, asked, asked.lengths, answers).cut(size.pages)


def hops(material: Material, rng: np.random.Generator, size: Size, split: Split = "train") -> Haystack:
    """Chains of hashes with their links shuffled (Magic 2024, "HashHop"): one step at a time, at times two at once.

    A question is about a chain's beginning, or about a name further on with that as what was found so far.
    """
    kind = any_of(rng, ("letters", "alnum", "letters", "pieces", "hex", "capitals"))
    wording = any_of(rng, wordings(HOPS, split))
    trial = filled(wording, {"k": material.drawn(kind, 32, rng), "v": material.drawn(kind, 32, rng)}, 32)[0]
    n_names = room(size, float(trial.lengths.mean()))
    names = material.drawn(kind, n_names, rng)
    n_names, length = len(names), int(rng.integers(3, 7))
    to = np.arange(n_names - 1)
    to = to[(to + 1) % length != 0] if n_names > length else to
    order = rng.permutation(len(to))
    source = to[order]
    line = np.full(n_names + 2, -1)
    line[source] = np.arange(len(source))
    values = names.take(source + 1)
    units, begins = filled(wording, {"k": names.take(source), "v": values}, len(source))
    chosen = rng.permutation(source)[: size.questions]
    n_two = int(len(chosen) * TWO)
    two = chosen[:n_two]
    two = two[line[two + 1] >= 0]
    later = chosen[n_two : n_two + (len(chosen) - n_two) // 2]
    plain = chosen[n_two + len(later) :]
    parts, targets, splits = [], [], []
    if len(two):
        asked, which = ask_all(wordings(ASK_TWO, split), names, two, rng)
        parts.append(asked)
        splits.append(asked.lengths)
        targets.append(line[which + 1])
    if len(plain):
        asked, which = ask_all(wordings(ASK_HOP, split), names, plain, rng)
        parts.append(asked)
        splits.append(asked.lengths)
        targets.append(line[which])
    if len(later):
        began = rng.integers(0, n_names, len(later))
        asked, order_of = ask_renamed(wordings(ASK_HOP, split), names, began, rng)
        found = names.take(later[order_of])
        splits.append(asked.lengths)
        parts.append(join([asked, found])[0])
        targets.append(line[later[order_of]])
    questions, target = stacked(parts), np.concatenate(targets)
    made = placed(units, begins["v"], values.lengths, questions, target, size, len(source))
    return with_split(made, np.concatenate(splits), questions)


def ask_renamed(asked: Sequence[str], keys: Ragged, about: Ints, rng: np.random.Generator) -> tuple[Ragged, Ints]:
    """Questions about keys[about[i]]; (n,) which i each is."""
    questions, order = ask_all(asked, keys.take(about), np.arange(len(about)), rng)
    return questions, order


def with_split(haystack: Haystack, split: Ints, questions: Ragged) -> Haystack:
    """The haystack with where what was found begins; for one whose pages were cut, found again by what is left."""
    if len(haystack.questions) == len(questions):
        return Haystack(haystack.pages, haystack.questions, split, haystack.answers, haystack.natural)
    rows = {questions[i].tobytes(): int(split[i]) for i in range(len(questions))}
    kept = np.array([rows[haystack.questions[i].tobytes()] for i in range(len(haystack.questions))], np.int64)
    return Haystack(haystack.pages, haystack.questions, kept, haystack.answers, haystack.natural)


def variables(material: Material, rng: np.random.Generator, size: Size, split: Split = "train") -> Haystack:
    """Chains of assignments in prose (RULER's variable tracking): which is assigned the value, or what was found."""
    n = max(2, min(room(size, 24), size.questions))
    length = int(rng.integers(2, 6))
    names = material.drawn(any_of(rng, ("capitals", "letters", "word")), n, rng)
    n = len(names)
    values = material.drawn("number5", n, rng)
    which = int(rng.integers(len(wordings(FIRST_VALUES, split))))
    head = np.arange(n) % length == 0
    at = np.arange(n)
    first, begin_first = filled(wordings(FIRST_VALUES, split)[which], {"k": names, "v": values}, n)
    previous = names.take(np.maximum(at - 1, 0))
    later, begin_later = filled(wordings(NEXT_VALUES, split)[which], {"k": names, "v": previous}, n)
    both = stacked([first, later])
    units = both.take(np.where(head, at, at + n))
    begin = np.where(head, begin_first["k"], begin_later["k"])
    mixed, unit_of = among(material, rng, units, size, "prose")
    asked_heads, order = ask_all(wordings(ASK_VARIABLE, split), values, at[head], rng, "v")
    asked_later, order_later = ask_renamed_values(wordings(ASK_VARIABLE, split), values, at // length * length, rng)
    found = names.take(at[order_later])
    questions = stacked([asked_heads, join([asked_later, found])[0]])
    splits = np.concatenate([asked_heads.lengths, asked_later.lengths])
    following = order_later + 1
    following = np.where((following < n) & (following % length != 0), following, 2 * n)
    target = np.concatenate([order, following])
    line = np.concatenate([unit_of, np.full(n + 1, len(mixed))])
    begins = np.zeros(len(mixed), np.int64)
    lengths = np.ones(len(mixed), np.int64)
    begins[unit_of], lengths[unit_of] = begin, names.lengths
    made = placed(mixed, begins, lengths, questions, line[target], size, len(mixed))
    return with_split(made, splits, questions).limited(size.questions, rng)


def ask_renamed_values(
    asked: Sequence[str], values: Ragged, about: Ints, rng: np.random.Generator
) -> tuple[Ragged, Ints]:
    """Questions about values[about[i]]; (n,) which i each is."""
    return ask_all(asked, values.take(about), np.arange(len(about)), rng, "v")


def needles(material: Material, rng: np.random.Generator, size: Size, split: Split = "train") -> Haystack:
    """Needles in prose or in code, at uniform depths, as RULER's single and multikey kinds."""
    code = rng.random() < 0.4
    lines, questions = (CODE_NEEDLES, ASK_CODE) if code else (NEEDLES, ASK_NEEDLE)
    few = rng.random() < 0.3
    n = max(1, min(size.questions, int(size.pages * (0.3 if few else 2.0)) + 1))
    key = any_of(rng, ("letters", "capitals", "word") if code else ("pair", "word", "pair", "uuid", "letters"))
    value = any_of(rng, ("number", "number", "uuid", "word", "number5"))
    if size.page_tokens < 80:
        key, value = ("pair" if key == "uuid" else key), ("number" if value == "uuid" else value)
    n_absent = max(1, int(n * ABSENT))
    keys = material.drawn(key, n + n_absent, rng)
    values = material.drawn(value, n, rng)
    which = rng.integers(0, len(wordings(lines, split)), n)
    parts, begin, order = [], [], []
    for w, wording in enumerate(wordings(lines, split)):
        mine = np.flatnonzero(which == w)
        if len(mine):
            rows, begins = filled(wording, {"k": keys.take(mine), "v": values.take(mine)}, len(mine))
            parts.append(rows)
            begin.append(begins["v"])
            order.append(mine)
    units, where = stacked(parts), np.concatenate(order)
    mixed, unit_of = among(material, rng, units, size, "code" if code else "prose")
    line = np.full(n + n_absent, len(mixed))
    line[where] = unit_of
    begins_of, lengths_of = np.zeros(len(mixed), np.int64), np.ones(len(mixed), np.int64)
    begins_of[unit_of], lengths_of[unit_of] = np.concatenate(begin), values.lengths[where]
    asked, which_key = ask_all(wordings(questions, split), keys, np.arange(n + n_absent), rng)
    made = placed(mixed, begins_of, lengths_of, asked, line[which_key], size, len(mixed))
    return made.limited(size.questions, rng)


def among(material: Material, rng: np.random.Generator, units: Ragged, size: Size, kind: str) -> tuple[Ragged, Ints]:
    """The units at random places between rows of prose or code that fill the pages; (n,) where each came to stand."""
    source = material.code if kind == "code" else material.prose
    left = size.pages * size.page_tokens - int(units.lengths.sum()) - len(units)
    mean = float(source.lengths.mean()) + 1
    n_rows = max(0, int(0.93 * left / mean))
    start = int(rng.integers(0, max(1, len(source) - n_rows)))
    rows = source.take((start + np.arange(n_rows)) % len(source))
    key = np.concatenate([rng.random(len(units)) * max(1, n_rows), np.arange(n_rows) + 0.5])
    order = np.argsort(key, kind="stable")
    both = stacked([units, rows]).take(order)
    return both, np.argsort(order, kind="stable")[: len(units)]
