"""Cited files: of what a reference answer names, how much is among the top hits, and in the answers themselves?

    python benchmarks/cited_files.py --swe-qa FILE.jsonl [FILE.jsonl ...] --corpus DIR [DIR ...] [--top-k 10]

FILE holds {question, answer} a line, and the DIR at the same place its sources. A file counts as cited when its path,
or an ending of it of at least two parts (or a name that only one file of the corpus has), stands in the answer; cases
whose answer cites no file of the corpus are left out of figures about files, and counted.

hits: files of the top hits, every question. answers: questions that begin with how, why or what, by the retrieval
route: `evidence` (the reader alone) and `cards` (as shipped), declines counting as nothing; `as_long` is the reader's
best lines, its threshold left out, until they take as many tokens. `on_cards`: the same on those questions that got
a card, where the three can be compared; `undeclined` is the reader's quotes there, its threshold left out.
cited_file_recall: files that the reference names, among the answer's citations. token_recall: distinct identifiers and
words of four letters or more of the reference that stand in the answer; places count as text for all. tokens:
WordPiece, places included. Intervals: 95%, bootstrap over questions. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from selfroute import SelfRouter
from selfroute.backends.retrieval import RetrievalBackend
from selfroute.memory.index import Index
from selfroute.models.evidence import EvidenceReader, Reading
from selfroute.models.explaining import about
from selfroute.models.lexing import STOPWORDS
from selfroute.models.question import parse
from selfroute.models.quoting import quote
from selfroute.models.tokenizer import wordpiece
from selfroute.types import Attempt, Chunk, Query

N_BOOTSTRAP = 2_000
CARD_NOTE = "a card made of quotes"
_PATH = re.compile(
    r"[\w.-]+(?:/[\w.-]+)*\.(?:py|pyx|js|ts|go|rs|java|c|h|cpp|md|rst|toml|cfg|ini|yaml|yml|json|html|css)\b"
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MORE_STOPWORDS = frozenset(
    """about above after again also although always another because been before being below between both cannot could
    does doing done down during each either ensure ensures even every first following further given gives have having
    here however instead into itself just like made make makes many might more most much must need needs never none only
    onto other over same several should since some still such than that their them then there therefore these they this
    those through thus under until upon used uses using very well were what when where whether which while whose will
    with within without would your""".split()
)


def cited(answer: str, files: list[str]) -> set[str]:
    """Files of the corpus that the answer names."""
    found = set()
    for mention in set(_PATH.findall(answer)):
        ends = [f for f in files if f == mention or f.endswith("/" + mention) or mention.endswith("/" + f)]
        if len(ends) == 1 or ("/" in mention and ends):
            found.update(ends)
    return found


def content_words(text: str) -> set[str]:
    """Distinct identifiers and words of four letters or more, small, without stop words; a name's parts count too."""
    words = set()
    for name in _WORD.findall(text):
        parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
        words |= {word.lower().strip("_") for word in ([name, *parts] if len(parts) > 1 else [name])}
    return {word for word in words if len(word) >= 4 and word not in STOPWORDS and word not in _MORE_STOPWORDS}


class Shown(NamedTuple):
    """An answer as it is scored: text with its places, the files it cites."""

    text: str
    files: frozenset[str]
    declined: bool

    @property
    def tokens(self) -> int:
        """WordPiece tokens."""
        return wordpiece().count(self.text)


class Case(NamedTuple):
    """A question's arms by name. gold: files of the reference; None for as_long and undeclined without a card."""

    words: set[str]
    gold: set[str]
    arms: dict[str, Shown]
    has_card: bool


def shown(attempt: Attempt) -> Shown:
    """An attempt's answer, with those places that its text does not name already."""
    if not attempt.generation.answerable:
        return Shown("", frozenset(), True)
    places = [c.location for c in attempt.citations if c.location not in attempt.generation.text]
    files = frozenset(c.path.partition("#")[0] for c in attempt.citations)
    return Shown("\n".join([attempt.generation.text, *places]), files, False)


def as_long(question: str, chunks: Sequence[Chunk], index: Index, n_tokens: int) -> Shown:
    """The evidence reader's best lines, each behind its place, until they take at least n_tokens."""
    told: dict[str, str] = {}
    for line in Reading(parse(about(question)), chunks, index.term_weight).best_lines():
        chunk, unit = chunks[line.chunk], line.units[line.unit]
        number = chunk.start_line + chunk.text.count("\n", 0, unit.start)
        text = f"{chunk.path}:{number}: {chunk.text[unit.start : unit.end].strip()}"
        told[text] = chunk.path.partition("#")[0]
        if wordpiece().count("\n".join(told)) >= n_tokens:
            break
    return Shown("\n".join(told), frozenset(told.values()), False)


def undeclined(question: str, chunks: Sequence[Chunk], index: Index) -> Shown:
    """What the evidence reader would quote without its threshold."""
    asked = parse(about(question))
    lines = Reading(asked, chunks, index.term_weight).best_lines()
    spans, text = quote(lines, chunks, asked.kind)
    places = [f"{chunks[s.chunk].path}:{chunks[s.chunk].start_line}" for s in spans]
    return Shown("\n".join([text, *places]), frozenset(chunks[s.chunk].path.partition("#")[0] for s in spans), False)


def answer_all(questions: list[dict[str, str]], router: SelfRouter, files: list[str]) -> list[Case]:
    """Every how, why and what question by each arm."""
    index = router.index
    reader = EvidenceReader(index.term_weight)
    plain, shipped = RetrievalBackend(index, reader, cards=False), RetrievalBackend(index, reader)
    cases = []
    for asked in questions:
        text = asked["question"]
        if not re.match(r"\W*(how|why|what)\b", text, re.IGNORECASE):
            continue
        without, with_card = plain.answer(Query(text)), shipped.answer(Query(text))
        arms = {"evidence": shown(without), "cards": shown(with_card)}
        has_card = any(note.startswith(CARD_NOTE) for note in with_card.notes)
        if has_card:
            arms["as_long"] = as_long(text, without.chunks, index, arms["cards"].tokens)
            arms["undeclined"] = undeclined(text, without.chunks, index)
        cases.append(Case(content_words(asked["answer"]), cited(asked["answer"], files), arms, has_card))
    return cases


def mean(values: Sequence[float]) -> dict[str, float | list[float] | int | None]:
    """Mean, 95% bootstrap interval, n."""
    if not values:
        return {"mean": None, "n": 0}
    draw = random.Random(0)
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(N_BOOTSTRAP))
    low, high = means[int(0.025 * N_BOOTSTRAP)], means[int(0.975 * N_BOOTSTRAP)]
    return {"mean": round(statistics.fmean(values), 4), "95%": [round(low, 4), round(high, 4)], "n": len(values)}


def figures(cases: Sequence[Case], arms: Sequence[str]) -> dict[str, object]:
    """Each arm's figures, and cards less each other arm."""

    def files(case: Case, arm: str) -> float:
        return len(case.gold & case.arms[arm].files) / len(case.gold)

    def words(case: Case, arm: str) -> float:
        return len(case.words & content_words(case.arms[arm].text)) / len(case.words)

    found: dict[str, object] = {}
    citing = [case for case in cases if case.gold]
    for arm in arms:
        found[arm] = {
            "cited_file_recall": mean([files(case, arm) for case in citing]),
            "token_recall": mean([words(case, arm) for case in cases]),
            "tokens": mean([case.arms[arm].tokens for case in cases]),
            "declined": round(statistics.fmean(case.arms[arm].declined for case in cases), 4) if cases else None,
        }
        if arm != "cards":
            found[f"cards - {arm}"] = {
                "cited_file_recall": mean([files(case, "cards") - files(case, arm) for case in citing]),
                "token_recall": mean([words(case, "cards") - words(case, arm) for case in cases]),
            }
    return found


def hits(questions: list[dict[str, str]], router: SelfRouter, files: list[str], top_k: int) -> dict[str, object]:
    """The figure over the files of the top hits."""
    recalls, any_found, uncited = [], 0, 0
    for asked in questions:
        gold = cited(asked["answer"], files)
        if not gold:
            uncited += 1
            continue
        top = {hit.chunk.path.partition("#")[0] for hit in router.search(asked["question"], top_k=top_k)}
        recalls.append(len(gold & top) / len(gold))
        any_found += bool(gold & top)
    n = len(recalls)
    return {
        "cited_file_recall": round(statistics.mean(recalls), 4) if n else None,
        "any_cited_found": round(any_found / n, 4) if n else None,
        "n": n,
        "cites_no_file": uncited,
        "top_k": top_k,
    }


def main() -> None:
    """Measures and prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swe-qa", type=Path, nargs="+", required=True)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--index-dir", type=Path, help="keeps the indexes here; made anew otherwise")
    parser.add_argument("--top-k", type=int, default=10)
    args = parser.parse_args()
    absent = [str(path) for path in (*args.swe_qa, *args.corpus) if not path.exists()]
    if absent or len(args.swe_qa) != len(args.corpus):
        print(f"skipped: {', '.join(absent) or 'as many corpora as files are needed'}", file=sys.stderr)
        print(json.dumps({}))
        return
    every: list[Case] = []
    result: dict[str, object] = {}
    for file, corpus in zip(args.swe_qa, args.corpus, strict=True):
        questions = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
        with tempfile.TemporaryDirectory() as store:
            directory = args.index_dir / file.stem if args.index_dir else Path(store)
            with SelfRouter.from_path(corpus, index_dir=directory) as router:
                files = sorted({chunk.path.partition("#")[0] for chunk in router.index.chunks()})
                found = hits(questions, router, files, args.top_k)
                cases = answer_all(questions, router, files)
        every += cases
        result[file.stem] = {"hits": found, **summary(cases)}
        print(f"{file.stem}: {json.dumps(result[file.stem])}", file=sys.stderr)
    print(json.dumps({**result, "all": summary(every)} if len(args.corpus) > 1 else result))


def summary(cases: list[Case]) -> dict[str, object]:
    """All how, why and what questions, and those of them that got a card."""
    return {
        "answers": figures(cases, ("evidence", "cards")),
        "on_cards": figures([case for case in cases if case.has_card], ("undeclined", "as_long", "cards")),
    }


if __name__ == "__main__":
    main()
