"""Corpora of 5K to 50K tokens, some of 200K to 1M, and questions over them: what both routes are really run on.

Written as `selfroute eval` reads them: cases.jsonl beside the folders of the corpora. Every corpus is of one half,
train or test, and so is every question: a package, an article, a paper and a HotpotQA question stand in one corpus
alone. A case has the budget that retrieval may pack, drawn by its id: how much a route may read decides much of what it
gets right, and people give it little.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import twin_code

from selfroute.models.tokenizer import wordpiece
from selfroute.models.training.code_absent import absent_questions
from selfroute.models.training.code_package import Package
from selfroute.models.training.code_questions import questions_of
from selfroute.models.training.reader_data import N_HELD_ARTICLES

TRAIN, TEST = "train", "test"
SMALL, LARGE = (5_000, 50_000), (200_000, 1_000_000)
BUDGETS = (256, 512, 1_024, 2_048, 8_000)  # tokens that retrieval may pack: one chunk, three, five, ten, the default
PER_CODE_CORPUS = {
    "look-up": 20, "relational": 10, "comparing": 7, "counting": 7, "listing": 7, "multi-hop": 7, "unanswerable": 9,
}  # fmt: skip
PER_LARGE = {
    "look-up": 4, "relational": 2, "comparing": 2, "counting": 2, "listing": 2, "multi-hop": 2, "unanswerable": 2,
}  # fmt: skip
# By the name that is imported; the reader was trained on none of them, and no other benchmark reads them.
PACKAGES = (
    "agate ariadne arrow astor bandit bs4 cachetools cerberus colander cssselect csvkit dataset diskcache dogpile doit "
    "eve fabric feedparser fire formencode graphene isort jsonpickle lark markdown mido mingus mistune mongoengine "
    "nameko pexpect ply pyflakes pymysql radon serial simpy sqlparse tablib textblob tinydb tomlkit voluptuous w3lib "
    "waitress watchdog wtforms yapf yoyo zeep"
).split()
LARGE_PACKAGES = ("alembic", "celery", "docutils", "kombu")
DISTRIBUTIONS = {"bs4": "beautifulsoup4", "dogpile": "dogpile.cache", "serial": "pyserial", "yoyo": "yoyo-migrations"}
SKIPPED = re.compile(
    r"(^|/)(tests?|testing|docs?|examples?|benchmarks?|_?vendor|vendored)(/|$)|test_|_test\.py|conftest"
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """files: path -> text. sort: code, squad, covid or hotpot."""

    name: str
    sort: str
    half: str
    files: Mapping[str, str]
    cases: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, kind: str, question: str, answers: Sequence[str], scorer: str, *, large: bool = False) -> None:
        """Adds a case; one without answers has none in the corpus."""
        sort = f"large {self.sort}" if large else self.sort
        case = {
            "id": f"{self.name}-{len(self.cases)}",
            "question": question,
            "path": self.name,
            "group": self.name,
            "kind": f"{sort} {kind}",
        }
        found = {"answers": list(answers), "scorer": scorer} if answers else {"unanswerable": True}
        drawn = sha256(f"budget {case['id']}".encode()).digest()[0] % len(BUDGETS)
        self.cases.append({**case, **found, "budget_tokens": BUDGETS[drawn]})


def build(packages: Path, squad_file: Path, covid_file: Path, hotpotqa: Path, seed: int) -> Iterator[Corpus]:
    """All of it. packages: a folder that `pip install --no-deps --target` filled with PACKAGES and LARGE_PACKAGES."""
    for name in PACKAGES:
        yield code(packages / name, seed)
    yield from squad(squad_file, 30, 8, seed)
    yield from covid(covid_file, 22, seed)
    yield from hotpot(hotpotqa, seed)
    for name in LARGE_PACKAGES:
        yield code(packages / name, seed, per_kind=PER_LARGE, large=True)
    yield from large_squad(squad_file, 15, 3, seed)


def write(corpora: Iterable[Corpus], out: Path) -> int:
    """Writes the folders, and cases.jsonl of each half; how many cases."""
    lines: dict[str, list[str]] = {TRAIN: [], TEST: []}
    for corpus in corpora:
        for path, text in corpus.files.items():
            target = out / corpus.half / corpus.name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        lines[corpus.half] += [json.dumps(case, ensure_ascii=False) + "\n" for case in corpus.cases]
    for half, found in lines.items():
        (out / half).mkdir(parents=True, exist_ok=True)
        (out / half / "cases.jsonl").write_text("".join(found), encoding="utf-8")
    return sum(map(len, lines.values()))


def half_of(name: str) -> str:
    """By a hash of the name: what a corpus is made of decides, never what came of it."""
    return TRAIN if sha256(f"twin {name}".encode()).digest()[0] % 2 else TEST


def target_tokens(name: str, bounds: tuple[int, int]) -> int:
    """Drawn evenly over the logarithm of the size, by the name."""
    share = int.from_bytes(sha256(f"size {name}".encode()).digest()[:4], "big") / 2**32
    return round(math.exp(math.log(bounds[0]) + share * (math.log(bounds[1]) - math.log(bounds[0]))))


def code(folder: Path, seed: int, *, per_kind: Mapping[str, int] = PER_CODE_CORPUS, large: bool = False) -> Corpus:
    """A package cut to its target size, whole files from a place that its name draws; held-out wordings."""
    bounds = LARGE if large else SMALL
    name = f"{'large-' if large else ''}code-{folder.name}"
    files = _taken(_python(folder), target_tokens(name, bounds), random.Random(f"{seed} {name}"))
    corpus = Corpus(name, "code", half_of(folder.name), files)
    package = Package.of(files)
    look_ups: dict[str, list[tuple[str, tuple[str, ...], str]]] = {}
    for path in sorted(files):
        for asked in questions_of(files[path], path, package=package, split="heldout", seed=seed):
            scorer = "contained-all" if asked.match == "all" else "contained"
            look_ups.setdefault(asked.kind, []).append((asked.question, asked.answers or (asked.answer,), scorer))
    rng = random.Random(f"{seed} {name} look-up")
    for found in look_ups.values():
        rng.shuffle(found)
    kinds = rng.sample(sorted(look_ups), len(look_ups))
    drawn = [found for turn in range(4) for kind in kinds for found in look_ups[kind][turn : turn + 1]]
    for question, answers, scorer in drawn[: per_kind["look-up"]]:
        corpus.ask("look-up", question, answers, scorer, large=large)
    for kind, found in sorted(twin_code.questions(package, seed).items()):
        for one in _varied(found, per_kind[kind]):
            corpus.ask(kind, one.question, one.answers, "contained-all" if one.several else "contained", large=large)
    for asked in absent_questions(package, per_kind["unanswerable"], split="heldout", seed=seed):
        corpus.ask("unanswerable", asked.question, (), "", large=large)
    return corpus


def squad(file: Path, per_corpus: int, n_absent: int, seed: int) -> Iterator[Corpus]:
    """One article that the reader has not seen, among others of the file, for every such article."""
    articles = json.loads(gzip.decompress(file.read_bytes()))["data"]
    by_hash = sorted(articles, key=lambda a: sha256(a["title"].encode()).hexdigest())
    unseen, others = by_hash[:N_HELD_ARTICLES], by_hash[N_HELD_ARTICLES:]
    for n, article in enumerate(unseen):
        name = f"squad-{article['title']}"
        rng = random.Random(f"{seed} {name}")
        files = {f"{article['title']}.txt": _paragraphs(article)}
        want = target_tokens(name, SMALL)
        for other in rng.sample(others, len(others)):
            if sum(map(wordpiece().count, files.values())) >= want:
                break
            files[f"{other['title']}.txt"] = _paragraphs(other)
        corpus = Corpus(name, "squad", TRAIN if n % 2 else TEST, files)
        for qa in rng.sample(_questions(article), min(per_corpus, len(_questions(article)))):
            corpus.ask("look-up", qa["question"].strip(), sorted({a["text"] for a in qa["answers"]}), "f1")
        elsewhere = [qa for other in others if f"{other['title']}.txt" not in files for qa in _questions(other)]
        for qa in rng.sample(elsewhere, n_absent):
            corpus.ask("unanswerable", qa["question"].strip(), (), "")
        yield corpus


def covid(file: Path, per_corpus: int, seed: int, *, together: int = 3) -> Iterator[Corpus]:
    """Some papers together. Papers 1, 3, 5, ... may be trained on, and were seen by the reader; the rest are tested."""
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    for half, papers in ((TRAIN, articles[1::2]), (TEST, articles[0::2])):
        drawn = random.Random(f"{seed} covid {half}").sample(papers, len(papers))
        for n in range(0, len(drawn), together):
            chosen = drawn[n : n + together]
            files = {f"paper{i}.txt": paper["paragraphs"][0]["context"] for i, paper in enumerate(chosen)}
            corpus = Corpus(f"covid-{half}-{n // together}", "covid", half, files)
            asked = [qa for paper in chosen for qa in _questions(paper)]
            for qa in random.Random(f"{seed} {corpus.name}").sample(asked, min(per_corpus, len(asked))):
                corpus.ask("look-up", qa["question"].strip(), sorted({a["text"].strip() for a in qa["answers"]}), "f1")
            yield corpus


def hotpot(folder: Path, seed: int, *, together: int = 12) -> Iterator[Corpus]:
    """Paragraphs around some questions, one file each; a dev set, so that all of it is of the tested half."""
    lines = (folder / "dev250.jsonl").read_text(encoding="utf-8").splitlines()
    drawn = random.Random(f"{seed} hotpot").sample(lines, len(lines))
    for n in range(0, len(drawn), together):
        chosen = [json.loads(line) for line in drawn[n : n + together]]
        paragraphs = {p["title"]: p["text"] for row in chosen for p in row["context"]}
        files = {f"{_file_name(title)}.txt": f"{title}\n\n{text}\n" for title, text in paragraphs.items()}
        corpus = Corpus(f"hotpot-{n // together}", "hotpot", TEST, files)
        for row in chosen:
            corpus.ask("multi-hop", row["question"], (row["answer"],), "f1")
        yield corpus


def large_squad(file: Path, n_asked: int, n_absent: int, seed: int, n: int = 2) -> Iterator[Corpus]:
    """Many articles; the unseen ones among them are asked about."""
    articles = json.loads(gzip.decompress(file.read_bytes()))["data"]
    by_hash = sorted(articles, key=lambda a: sha256(a["title"].encode()).hexdigest())
    unseen, others = by_hash[:N_HELD_ARTICLES], by_hash[N_HELD_ARTICLES:]
    for i in range(n):
        name, half = f"large-squad-{i}", TRAIN if i % 2 else TEST
        rng = random.Random(f"{seed} {name}")
        mine = unseen[1::2] if half == TRAIN else unseen[0::2]
        want, n_tokens, files = target_tokens(name, LARGE), 0, {}
        for article in (*mine, *rng.sample(others, len(others))):
            if n_tokens >= want:
                break
            files[f"{article['title']}.txt"] = _paragraphs(article)
            n_tokens += wordpiece().count(files[f"{article['title']}.txt"])
        corpus = Corpus(name, "squad", half, files)
        asked = [qa for article in mine for qa in _questions(article)]
        for qa in rng.sample(asked, n_asked):
            corpus.ask("look-up", qa["question"].strip(), sorted({a["text"] for a in qa["answers"]}), "f1", large=True)
        elsewhere = [qa for other in others if f"{other['title']}.txt" not in files for qa in _questions(other)]
        for qa in rng.sample(elsewhere, n_absent):
            corpus.ask("unanswerable", qa["question"].strip(), (), "", large=True)
        yield corpus


def _varied(found: Sequence[twin_code.Asked], n: int) -> list[twin_code.Asked]:
    """The first n, one wording's start at a time, so that no template takes all places."""
    by_start: dict[str, list[twin_code.Asked]] = {}
    for one in found:
        by_start.setdefault(" ".join(one.question.split()[:3]), []).append(one)
    taken: list[twin_code.Asked] = []
    while len(taken) < n and any(by_start.values()):
        taken += [left.pop() for left in by_start.values() if left][: n - len(taken)]
    return taken


def _python(folder: Path) -> dict[str, str]:
    files = {}
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*.py"))
    for path in paths:
        inner = path.relative_to(folder.parent).as_posix()
        if SKIPPED.search(inner):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if text.strip():
            files[inner] = text
    return files


def _taken(files: Mapping[str, str], want: int, rng: random.Random) -> dict[str, str]:
    """Files in their order, from one that is drawn and round to it, until they have enough tokens."""
    paths = list(files)
    start = rng.randrange(len(paths))
    taken: dict[str, str] = {}
    n_tokens = 0
    for path in (*paths[start:], *paths[:start]):
        n = wordpiece().count(files[path])
        if taken and n_tokens + n > 1.25 * want:
            continue
        taken[path] = files[path]
        n_tokens += n
        if n_tokens >= want:
            break
    return dict(sorted(taken.items()))


def _paragraphs(article: Mapping[str, Any]) -> str:
    return "\n\n".join(paragraph["context"] for paragraph in article["paragraphs"]) + "\n"


def _questions(article: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [qa for paragraph in article["paragraphs"] for qa in paragraph["qas"]]


def _file_name(title: str) -> str:
    return re.sub(r"[^\w.-]+", "_", title)[:80]
