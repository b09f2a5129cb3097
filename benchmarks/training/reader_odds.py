"""What the span reader's scores come to when its chunks were searched: the data that its calibration is fitted on.

    python benchmarks/training/reader_odds.py --data DIR --weights DIR --package NAME ... --out FILE

Code: questions about packages that were neither trained on nor are evaluated, in wordings held out from training, and
questions about what these packages do not hold. Prose: questions about the articles that reader_data held out of SQuAD
1.1 train and of dev-v2.0.train10, over a corpus of these and others; without an answer are questions about two held-out
articles that are left out of the corpus, and those that people wrote to look answerable. Each is searched as `ask`
searches; --whole of every sort are asked of the whole corpus as well, which is slow. Writes lines of {odds, n, prose,
answerable, right}, n the chunks compared: right is whether the best span is the answer (for code: exactly, or one of a
list; for prose: F1 of at least 0.5). Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from code_cases import copy_package, generated, normalised
from open_qa import write_corpus

from selfroute import SelfRouter
from selfroute.backends.context import choose
from selfroute.backends.relations import from_graph
from selfroute.backends.retrieval import TOP_K
from selfroute.models.calibration import Calibration, Curve
from selfroute.models.explaining import asks_to_explain
from selfroute.models.sentences import PROSE_KINDS
from selfroute.models.span_reader import SpanReader
from selfroute.models.training.reader_data import HELD_HUMAN, N_HELD_ARTICLES
from selfroute.models.training.squad_scores import Case, cases, f1
from selfroute.types import DEFAULT_BUDGET_TOKENS

RIGHT = 0.5  # F1 of a right answer in prose
N_LEFT_OUT, N_FILLERS = 2, 10  # articles


def looked_up(router: SelfRouter, reader: SpanReader, question: str, whole: bool) -> Iterator[dict[str, Any]]:
    """The best span that `ask` would read, and that of everything; none where the graph or a card answers."""
    if from_graph(question, router.index) is not None or asks_to_explain(question):
        return
    searched = choose(router.index.search(question, top_k=TOP_K), DEFAULT_BUDGET_TOKENS, router.index)
    for chunks in (searched, list(router.index.chunks()) if whole else []):
        found = reader.choice(question, chunks, 1)
        if found.spans:
            chunk = chunks[found.spans[0].chunk]
            text = chunk.text[found.spans[0].start : found.spans[0].end]
            yield {"odds": round(found.odds, 3), "n": len(chunks), "prose": chunk.kind in PROSE_KINDS, "text": text}


def of_code(
    packages: list[str], reader: SpanReader, per_kind: int, n_absent: int, n_whole: int
) -> Iterator[dict[str, Any]]:
    """Rows of the packages' questions."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = {Path(name).name: Path(scratch) / Path(name).name for name in packages}
        corpora = {name: folder for name, folder in folders.items() if copy_package(name, folder)}
        asked = generated(corpora, per_kind=per_kind, n_absent=n_absent, seed=7)
        for name, folder in corpora.items():
            with tempfile.TemporaryDirectory() as store, SelfRouter.from_path(folder, index_dir=store) as router:
                mine = [case for case in asked if case.package == name]
                whole = _some(mine, n_whole // len(corpora), lambda case: bool(case.answers))
                for case in mine:
                    for row in looked_up(router, reader, case.question, case.id in whole):
                        right = normalised(row.pop("text")) in map(normalised, case.answers)
                        yield {**row, "answerable": bool(case.answers), "right": right}


def of_prose(data: Path, reader: SpanReader, n: int, n_whole: int) -> Iterator[dict[str, Any]]:
    """Rows of questions about held-out articles."""
    squad = list(cases(data / "squad" / "train-v1.1.json.gz"))
    people = [c for c in cases(data / "squad" / "dev-v2.0.train10.json.gz") if c.title in HELD_HUMAN]
    titles = sorted({case.title for case in squad}, key=lambda title: hashlib.sha256(title.encode()).hexdigest())
    left_out, kept = set(titles[:N_LEFT_OUT]), set(titles[N_LEFT_OUT:N_HELD_ARTICLES])
    fillers = set(titles[N_HELD_ARTICLES : N_HELD_ARTICLES + N_FILLERS])
    rng = random.Random(0)
    about = rng.sample([case for case in squad if case.title in kept], n)
    absent = rng.sample([case for case in squad if case.title in left_out], n // 2)
    asked = [(case, bool(case.answers)) for case in [*about, *people]] + [(case, False) for case in absent]
    with tempfile.TemporaryDirectory() as corpus, tempfile.TemporaryDirectory() as store:
        write_corpus([*(case for case in squad if case.title in kept | fillers), *people], Path(corpus))
        with SelfRouter.from_path(corpus, index_dir=store) as router:
            whole = _some([Asked(*pair) for pair in asked], n_whole, lambda pair: pair.answerable)
            for case, answerable in asked:
                for row in looked_up(router, reader, case.question, case.question in whole):
                    right = answerable and f1(row["text"], case.answers) >= RIGHT
                    trap = not answerable and case.title in HELD_HUMAN
                    yield {**row, "answerable": answerable, "right": right, "trap": trap}


class Asked(NamedTuple):
    """A question, and whether the corpus answers it."""

    case: Case
    answerable: bool

    @property
    def id(self) -> str:
        """What names it."""
        return self.case.question


def _some(asked: Sequence[Any], n: int, answerable: Callable[[Any], bool]) -> set[str]:
    """The ids of n with and n without an answer, evenly drawn."""
    sorts = ([a for a in asked if answerable(a)], [a for a in asked if not answerable(a)])
    return {sort[i * len(sort) // n].id for sort in sorts if sort for i in range(n)}


def main() -> None:
    """Parses the options, asks, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with squad")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--package", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--per-kind", type=int, default=16)
    parser.add_argument("--absent", type=int, default=200)
    parser.add_argument("--n", type=int, default=250, help="answerable questions about prose")
    parser.add_argument("--whole", type=int, default=0, help="of each sort, asked of the whole corpus too")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    reader = SpanReader(folder=options.weights, calibration=Calibration.alike(Curve(threshold=0.0)))
    rows = [*of_prose(options.data, reader, options.n, options.whole)]
    rows += of_code(options.package, reader, options.per_kind, options.absent, options.whole)
    for row in rows:
        row.pop("text", None)
    options.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prose = sum(row["prose"] for row in rows)
    print(json.dumps({"n": len(rows), "prose": prose, "right": sum(row["right"] for row in rows)}))


if __name__ == "__main__":
    main()
