"""The cases of long_context.py: pages as tokens, and questions whose answers are tokens of those pages."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np

from selfroute.models.span_windows import read_question, read_text
from selfroute.models.tokenizer import wordpiece
from selfroute.models.training.code_package import Package
from selfroute.models.training.code_questions import ask
from selfroute.models.training.paged_material import Material, spelled, tokens
from selfroute.models.training.paged_ragged import Ragged, pack, stacked
from selfroute.models.training.paged_tasks_keys import NEWLINE, Size, among, filled, whole_words
from selfroute.types import Chunk

Ids = tuple[int, ...]
PAGE = 250  # tokens of a page's text at most
NOISE = ("the grass is green.", "the sky is blue.", "the sun is yellow.", "here we go.", "there and back again.")
NEEDLE = "one of the special magic numbers for {k} is: {v}."
ASKED = "what is the special magic number for {k} mentioned in the provided text?"


@dataclass(frozen=True, slots=True)
class Question:
    """asked: its tokens. answers: for each thing to be found the ways to write it, in tokens. steps: how often it is
    asked, each time with what was found before; 0: until nothing more is found. depth: of its first answer, 0 to 1.
    text, ways: the question and the ways to write each answer, in letters, for the qa tasks.
    """

    asked: Ids
    answers: tuple[frozenset[Ids], ...]
    steps: int = 1
    depth: float = 0.0
    text: str = ""
    ways: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """pages: the tokens of their texts. pairs: what the haystack holds of keys, facts, needles or questions.

    texts: of the qa tasks, the pages as chunks; put away until the pointer has chosen.
    """

    pages: list[Ids]
    questions: list[Question]
    pairs: int
    texts: list[Chunk] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wanted:
    """tokens: of the haystack, special tokens included. n: questions of one haystack. data: of the qa tasks."""

    tokens: int
    n: int
    hops: int
    data: Path | None
    material: Material


def case(task: str, wanted: Wanted, seed: int) -> Case:
    """One fresh haystack. Raises KeyError for a task that there is not."""
    return MAKERS[task](wanted, np.random.default_rng([seed, 77]), seed)


def _names(wanted: Wanted, kind: str, n: int, seed: int) -> Ragged:
    """n different names that no other haystack has."""
    found = wanted.material
    found.renew(seed + 1_000_003, (kind,), n + n // 20 + 16)
    return found.names[kind].take(np.arange(n))


def _case(units: Ragged, n_tokens: int, ask_of: Callable[[np.ndarray, int], list[Question]], pairs: int) -> Case:
    """The units in pages. ask_of: the questions, given the page of each unit and the number of pages."""
    pages, page, _ = pack(units, PAGE, NEWLINE)
    rows = [tuple(pages[i].tolist()) for i in range(len(pages))]
    return Case(rows, ask_of(page, len(rows)), pairs)


def kv(wanted: Wanted, rng: np.random.Generator, seed: int, kind: str = "letters", line: str = "{k}: {v}") -> Case:
    """Random keys, a value each."""
    length = {"letters": 12.4, "uuid": 61.5}[kind]
    n = int(wanted.tokens * 0.98 / length)
    names = _names(wanted, kind, 2 * n, seed)
    units, _ = filled(line, {"k": names.take(np.arange(n)), "v": names.take(np.arange(n, 2 * n))}, n)

    def asked(page: np.ndarray, n_pages: int) -> list[Question]:
        question = "{k}" if kind == "letters" else 'extract the value corresponding to the key "{k}".'
        chosen = rng.choice(n, min(n, wanted.n), replace=False)
        return [
            Question(_filled(question, names, int(i)), (frozenset({_ids(names, n + int(i))}),), 1, page[i] / n_pages)
            for i in chosen
        ]

    return _case(units, wanted.tokens, asked, n)


def kv_json(wanted: Wanted, rng: np.random.Generator, seed: int) -> Case:
    """UUIDs in JSON."""
    return kv(wanted, rng, seed, "uuid", '"{k}": "{v}",')


def hashhop(wanted: Wanted, rng: np.random.Generator, seed: int) -> Case:
    """Chains of hashes, their links shuffled; a chain is followed for `hops` steps."""
    n = int(wanted.tokens * 0.98 / 13.4)
    length = wanted.hops + 1
    names = _names(wanted, "letters", n // wanted.hops * length, seed)
    at = np.arange(len(names))
    source = rng.permutation(at[at % length != length - 1])
    units, _ = filled("{k} -> {v}", {"k": names.take(source), "v": names.take(source + 1)}, len(source))
    line = np.zeros(len(names), np.int64)
    line[source] = np.arange(len(source))

    def asked(page: np.ndarray, n_pages: int) -> list[Question]:
        heads = rng.permutation(at[at % length == 0])[: wanted.n]
        return [
            Question(
                _filled("{k} ->", names, int(i)),
                (frozenset({_ids(names, int(i) + wanted.hops)}),),
                wanted.hops,
                page[line[i]] / n_pages,
            )
            for i in heads
        ]

    return _case(units, wanted.tokens, asked, len(source))


def needles(
    wanted: Wanted,
    rng: np.random.Generator,
    *,
    n_needles: int,
    value: str,
    key: str = "pair",
    noise: bool = False,
    values: int = 1,
    keys_asked: int = 1,
) -> Case:
    """RULER's needles (Hsieh et al. 2024) in prose, in noise, or, with n_needles 0, with nothing between them."""
    material = wanted.material
    long = 65 if value == "uuid" else 18
    n = n_needles or int(wanted.tokens * 0.98 / long)
    keys = material.drawn(key, n, rng) if key != "uuid" else _names(wanted, "uuid", n, int(rng.integers(1 << 30)))
    n = len(keys)
    owner = np.concatenate([np.arange(n), np.zeros(values - 1, np.int64)])
    given = Ragged.of([spelled(_random(value, rng)) for _ in range(len(owner))])
    units, _ = filled(NEEDLE, {"k": keys.take(owner), "v": given}, len(owner))
    where = np.arange(len(units))
    if n_needles:
        size = Size(max(1, wanted.tokens // (PAGE + 2)), PAGE, 1)
        source = Material(material.words, Ragged.of([tokens(x) for x in NOISE]), material.code) if noise else material
        units, where = among(source, rng, units, size, "prose")

    def asked(page: np.ndarray, n_pages: int) -> list[Question]:
        found = []
        for i in rng.permutation(n)[: wanted.n].tolist() if keys_asked == 1 and values == 1 else [0]:
            wants = list(range(keys_asked)) if keys_asked > 1 else [i]
            text: list[int] = []
            for j in wants:
                text += [*_filled("{k},", keys, j)] if keys_asked > 1 else [*_ids(keys, j)]
            answers = tuple(frozenset({_ids(given, u)}) for u in range(len(owner)) if owner[u] in wants)
            question = filled(ASKED, {"k": Ragged.of([text])}, 1)[0]
            found.append(Question(_ids(question, 0), answers, 1, page[where[wants[0]]] / n_pages))
        return found

    return _case(units, wanted.tokens, asked, len(owner))


def vt(wanted: Wanted, rng: np.random.Generator, seed: int) -> Case:
    """Variable tracking: one chain of five variables in prose."""
    names = _names(wanted, "capitals", 5, seed)
    value = Ragged.of([spelled(str(rng.integers(10_000, 99_999)))])
    first, _ = filled("var {k} = {v}", {"k": names.take(np.arange(1)), "v": value}, 1)
    later, _ = filled("var {k} = var {v}", {"k": names.take(np.arange(1, 5)), "v": names.take(np.arange(4))}, 4)
    units = stacked([first, later])
    size = Size(max(1, wanted.tokens // (PAGE + 2)), PAGE, 1)
    mixed, where = among(wanted.material, rng, units, size, "prose")
    question = filled("find all variables that are assigned the value {v} in the text above.", {"v": value}, 1)[0]
    answers = tuple(frozenset({_ids(names, i)}) for i in range(5))
    return _case(
        mixed,
        wanted.tokens,
        lambda page, n_pages: [Question(_ids(question, 0), answers, 0, page[where[0]] / n_pages)],
        5,
    )


def words(wanted: Wanted, rng: np.random.Generator, frequent: bool) -> Case:
    """RULER's common words (ten occur 30 times, the others 3 times) and frequent words (Zipf, the first three)."""
    n = int(wanted.tokens / 2.5)
    if frequent:
        made = _names(wanted, "letters", 1000, int(rng.integers(1 << 30)))
        row = np.minimum(rng.zipf(2.0, n // 3) - 1, len(made) - 1)
        question, best = (
            "what are the three most frequently appeared words in the text?",
            np.argsort(-np.bincount(row))[:3],
        )
    else:
        known = dict.fromkeys([*map(tuple, wanted.material.words), *((i,) for i in map(_id_of, whole_words()))])
        size = min(len(known), max(20, (n - 300) // 3))  # of which none is drawn twice, or it would be common, too
        made = Ragged.of(list(known)).take(rng.choice(len(known), size, replace=False))
        row = rng.permutation(np.concatenate([np.repeat(np.arange(10), 30), np.repeat(np.arange(10, len(made)), 3)]))
        question, best = "what are the 10 most common words in the list?", np.arange(10)
    units = made.take(row)
    asked = tuple(read_question(wordpiece(), question))
    answers = tuple(frozenset({_ids(made, int(i))}) for i in best)
    return _case(units, wanted.tokens, lambda page, n_pages: [Question(asked, answers)], len(units))


def squad(wanted: Wanted, rng: np.random.Generator, seed: int) -> Case:
    """Paragraphs of SQuAD's articles as far as they fit, and questions about them. data: its json or json.gz."""
    assert wanted.data is not None
    with gzip.open(wanted.data, "rt") if wanted.data.suffix == ".gz" else wanted.data.open() as file:
        articles = json.load(file)["data"]
    paragraphs = [p for i in rng.permutation(len(articles)) for p in articles[i]["paragraphs"]]
    pages: list[Ids] = []
    texts: list[Chunk] = []
    questions = []
    total = 0
    for paragraph in paragraphs:
        ids = tuple(read_text(wordpiece(), paragraph["context"]).ids)[:510]
        if total + len(ids) + 2 > wanted.tokens:
            break
        total += len(ids) + 2
        for qa in paragraph["qas"]:
            ways = frozenset(tuple(wordpiece().pieces(a["text"])[0]) for a in qa["answers"])
            if ways:
                spelt = tuple(dict.fromkeys(a["text"] for a in qa["answers"]))
                questions.append((qa["question"].strip(), ways, spelt, len(pages)))
        texts.append(_chunk(len(pages), paragraph["context"]))
        pages.append(ids)
    found = []
    for i in rng.permutation(len(questions))[: wanted.n].tolist():
        question, ways, spelt, page = questions[i]
        asked = tuple(read_question(wordpiece(), question))
        found.append(Question(asked, (ways,), 1, page / len(pages), question, (spelt,)))
    return Case(pages, found, len(questions), texts)


def hotpot(wanted: Wanted, rng: np.random.Generator, seed: int) -> Case:
    """RULER's qa_2: HotpotQA's questions, both of their paragraphs each, and others of its paragraphs between them.

    Of the half that nothing was tuned on (an odd first byte of sha256(id)), each once before any is asked again. data:
    a folder with dev250.jsonl and corpus.jsonl. No page may hold an answer to be quoted: "yes" and "no".
    """
    assert wanted.data is not None
    rows = [json.loads(line) for line in (wanted.data / "dev250.jsonl").open(encoding="utf-8")]
    rows = [row for row in rows if sha256(row["id"].encode()).digest()[0] % 2]
    corpus = {row["title"]: row["text"] for row in map(json.loads, (wanted.data / "corpus.jsonl").open())}
    run, haystack = divmod(seed, 100_000)
    order = np.random.default_rng([run, 78]).permutation(len(rows)).tolist()
    rows = [rows[order[(haystack * wanted.n + i) % len(order)]] for i in range(min(wanted.n, len(order)))]
    gold = {title for row in rows for title in row["gold_titles"]}
    titles = sorted(corpus)
    others = [titles[i] for i in rng.permutation(len(titles)).tolist() if titles[i] not in gold]
    taken: list[tuple[str, Ids]] = []
    total = 0
    for title in (*sorted(gold), *others):
        ids = tuple(read_text(wordpiece(), f"{title}\n{corpus[title]}").ids)[:510]
        if title not in gold and total + len(ids) + 2 > wanted.tokens:
            break
        total += len(ids) + 2
        taken.append((title, ids))
    taken = [taken[i] for i in rng.permutation(len(taken)).tolist()]
    place = {title: n for n, (title, _) in enumerate(taken)}
    found = []
    for row in rows:
        asked = tuple(read_question(wordpiece(), row["question"].strip()))
        ways = frozenset({tuple(wordpiece().pieces(row["answer"])[0])})
        depth = place[row["gold_titles"][0]] / len(taken)
        found.append(Question(asked, (ways,), 1, depth, row["question"].strip(), ((row["answer"],),)))
    texts = [_chunk(n, f"{title}\n{corpus[title]}", symbol=title) for n, (title, _) in enumerate(taken)]
    return Case([ids for _, ids in taken], found, len(rows), texts)


def code(wanted: Wanted, rng: np.random.Generator, seed: int) -> Case:
    """A package's files, in pages of whole lines, and questions with wordings of testing. data: its folder."""
    assert wanted.data is not None
    texts = {
        path.relative_to(wanted.data).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(wanted.data.rglob("*.py"))
    }
    package = Package.of(texts)
    pages: list[Ids] = []
    shown: list[Chunk] = []
    page_of: dict[tuple[str, int], int] = {}
    total = 0
    for path, text in texts.items():
        for first, lines in _pieces(text):
            ids = tuple(read_text(wordpiece(), "\n".join(lines)).ids)[:510]
            if not ids or total + len(ids) + 2 > wanted.tokens:
                continue
            total += len(ids) + 2
            for n in range(len(lines)):
                page_of[path, first + n] = len(pages)
            shown.append(_chunk(len(pages), "\n".join(lines), path, "lines"))
            pages.append(ids)
    questions = []
    for path in texts:
        for fact in package.facts(path):
            for question in ask(fact, package, path, split="test", seed=seed):
                line = texts[path].count("\n", 0, question.start) + 1
                if (path, line) in page_of:
                    ways = [frozenset({tuple(wordpiece().pieces(a)[0])}) for a in question.answers]
                    answers = tuple(ways) if question.match == "all" else (frozenset().union(*ways),)
                    asked = tuple(read_question(wordpiece(), question.question))
                    spelt = tuple((a,) for a in question.answers)
                    spelt = spelt if question.match == "all" else (question.answers,)
                    depth = page_of[path, line] / len(pages)
                    questions.append(Question(asked, answers, 1, depth, question.question, spelt))
    chosen = [questions[i] for i in rng.permutation(len(questions))[: wanted.n].tolist()]
    return Case(pages, chosen, len(questions), shown)


def babi(wanted: Wanted, rng: np.random.Generator, seed: int) -> Case:
    """A bAbI story (one supporting fact) with its sentences spread in prose. data: the archive."""
    assert wanted.data is not None
    with tarfile.open(wanted.data) as archive:
        wanted_name = "en/qa1_single-supporting-fact_test.txt"
        name = next(n for n in archive.getnames() if n.endswith(wanted_name))
        content = archive.extractfile(name)
        assert content is not None
        rows = content.read().decode().lower().splitlines()
    starts = [i for i, row in enumerate(rows) if row.startswith("1 ")]
    begin = int(rng.choice(starts))
    story: list[str] = []
    for row in rows[begin:]:
        _, _, rest = row.partition(" ")
        if "\t" in rest:
            question, answer, _ = rest.split("\t")
            break
        story.append(rest)
    units = Ragged.of([wordpiece().pieces(line)[0] for line in story])
    size = Size(max(1, wanted.tokens // (PAGE + 2)), PAGE, 1)
    mixed, where = among(wanted.material, rng, units, size, "prose")
    ordered = np.sort(where)  # facts in their order
    moved = np.arange(len(mixed))
    moved[ordered] = where
    asked = tuple(read_question(wordpiece(), question.strip()))
    ways = frozenset({tuple(wordpiece().pieces(answer)[0])})
    return _case(
        mixed.take(moved),
        wanted.tokens,
        lambda page, n_pages: [Question(asked, (ways,), 1, page[ordered[-1]] / n_pages)],
        len(story),
    )


MAKERS: dict[str, Callable[[Wanted, np.random.Generator, int], Case]] = {
    "kv": kv,
    "kv_json": kv_json,
    "hashhop": hashhop,
    "niah_single_1": lambda w, r, s: needles(w, r, n_needles=1, value="number", noise=True),
    "niah_single_2": lambda w, r, s: needles(w, r, n_needles=1, value="number"),
    "niah_single_3": lambda w, r, s: needles(w, r, n_needles=1, value="uuid"),
    "niah_multikey_1": lambda w, r, s: needles(w, r, n_needles=4, value="number"),
    "niah_multikey_2": lambda w, r, s: needles(w, r, n_needles=0, value="number"),
    "niah_multikey_3": lambda w, r, s: needles(w, r, n_needles=0, value="uuid", key="uuid"),
    "niah_multivalue": lambda w, r, s: needles(w, r, n_needles=1, value="number", values=4),
    "niah_multiquery": lambda w, r, s: needles(w, r, n_needles=4, value="number", keys_asked=4),
    "vt": vt,
    "cwe": lambda w, r, s: words(w, r, False),
    "fwe": lambda w, r, s: words(w, r, True),
    "qa_squad": squad,
    "qa_hotpot": hotpot,
    "qa_code": code,
    "babi": babi,
}
UNSEEN = ("niah_multivalue", "niah_multiquery")


def _chunk(n: int, text: str, path: str = "", kind: str = "text", symbol: str = "") -> Chunk:
    return Chunk(str(n), str(n), path, 1, 1 + text.count("\n"), text, symbol, kind)


def _random(kind: str, rng: np.random.Generator) -> str:
    import uuid

    if kind == "uuid":
        return str(uuid.UUID(bytes=rng.bytes(16), version=4))
    return str(rng.integers(1_000_000, 10_000_000))


def _id_of(word: str) -> int:
    return tokens(word)[0]


def _ids(rows: Ragged, i: int) -> Ids:
    return tuple(rows[i].tolist())


def _filled(wording: str, names: Ragged, i: int) -> Ids:
    return _ids(filled(wording, {"k": names.take(np.array([i]))}, 1)[0], 0)


def _pieces(text: str) -> list[tuple[int, list[str]]]:
    """Runs of lines of at most PAGE tokens: the number of the first, from 1, and the lines."""
    found: list[tuple[int, list[str]]] = []
    size = PAGE
    for number, (line, n) in enumerate(zip(text.split("\n"), wordpiece().line_counts(text), strict=True), start=1):
        if size + n + 1 > PAGE:
            found.append((number, []))
            size = 0
        found[-1][1].append(line)
        size += n + 1
    return found
