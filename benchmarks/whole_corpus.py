"""What each way to find chunks is worth to the joint reader: SQuAD's dev paragraphs as one context, five ways at once.

    python benchmarks/whole_corpus.py --squad dev-v1.1.json [--limit 200] [--index-dir DIR]

The questions, the corpus and the scores are those of open_qa.py. Ways: the global read's own quote (quote); the joint
reader over the 16 best pages (pages), over these and 12 hits of search (pages_search), as the long-context route does,
over the 5 best hits (search_5), over the 20 best (search_20). Each of the reader's is given twice: chunks read apart,
and with linked ones read together (linked), as both routes do. A decline is wrong. gold_read: a chunk of the paragraph
was read; of quote, that it is the best page. difference: of F1 to search_20 with linked chunks, question by question.
95% intervals: 2,000 bootstrap samples of the questions. A chunk is scored once a question for all ways, so no times are
given: open_qa.py has them. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from multi_place import percent
from open_qa import holds, write_corpus
from reader import evenly
from two_hop import bootstrap

from selfroute import SelfRouter
from selfroute.backends import linked
from selfroute.backends.paging import Pages
from selfroute.models.paged.runtime import PagedRuntime
from selfroute.models.span_choice import Scored
from selfroute.models.span_reader import SpanReader
from selfroute.models.training.squad_scores import cases, exact_match, f1
from selfroute.types import Chunk

N_PAGES, N_BESIDE = 16, 12


class Remembering(SpanReader):
    """The trained reader, which scores a chunk once for the question that it was asked last."""

    _asked = ""

    def windows(self, question: str, chunks: Sequence[Chunk]) -> list[Scored]:
        """The windows of the chunks, in the order of the chunks: that is of no account."""
        if question != self._asked:
            self._asked, self._known = question, dict[tuple[str, str], list[Scored]]()
        new = list({(c.id, c.text): c for c in chunks if (c.id, c.text) not in self._known}.values())
        scored = super().windows(question, new)
        for n, chunk in enumerate(new):
            self._known[chunk.id, chunk.text] = [window for window in scored if window.chunk == n]
        return [
            replace(window, chunk=n) for n, chunk in enumerate(chunks) for window in self._known[chunk.id, chunk.text]
        ]


class Ways:
    """An index, its pages, and the reader."""

    def __init__(self, router: SelfRouter, weights: Path | None) -> None:
        self.index, self.reader = router.index, Remembering()
        self.model = PagedRuntime(weights) if weights else PagedRuntime()
        self.pages = Pages(self.index, self.model)
        self.resident = self.pages.encode_all()
        self.arrays = self.resident.arrays()
        self.chunk_of = {chunk.content_hash: chunk for chunk in self.index.chunks()}

    def ask(self, question: str) -> dict[str, tuple[str, Sequence[Chunk]]]:
        """Of each way the answer and what was read for it."""
        reading = self.model.ask(question, self.resident.lengths, self.arrays)
        chosen = [self.chunk_of[self.resident.hashes[page]] for page in reading.best_pages(N_PAGES)]
        hits = [hit.chunk for hit in self.index.search(question, top_k=20)]
        found: dict[str, tuple[str, Sequence[Chunk]]] = {}
        quote = ""
        if reading.spans:
            span = reading.spans[0]
            text = self.chunk_of[self.resident.hashes[span.page]].text
            start, end = self.model.quote(text, span.first, span.last)
            quote = text[start:end]
        found["quote"] = quote, chosen[:1]
        both = list({chunk.id: chunk for chunk in (*chosen, *hits[:N_BESIDE])}.values())
        for name, read in {"pages": chosen, "pages_search": both, "search_5": hits[:5], "search_20": hits}.items():
            found[name] = self.reader.read(question, read).text, read
            found[f"{name}_linked"] = linked.read(self.reader, question, read).text, read
        return found


def main() -> int:
    """Parses the options, builds the corpus, asks; 2 when the file is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200, help="questions")
    parser.add_argument("--weights", type=Path, help="the folder of the paged weights, if not those shipped")
    parser.add_argument("--index-dir", type=Path, help="where index and pages are kept between runs")
    args = parser.parse_args()
    if not args.squad.is_file():
        print(f"there is no file {args.squad}", file=sys.stderr)
        return 2
    everything = list(cases(args.squad))
    asked = evenly([case for case in everything if case.answers], args.limit)
    rows: dict[str, list[tuple[float, float, bool, bool]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        places = write_corpus(everything, folder)
        store = args.index_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways = Ways(stack.enter_context(SelfRouter.from_path(folder, index_dir=store)), args.weights)
        stack.callback(ways.pages.close)
        for case in asked:
            for name, (text, read) in ways.ask(case.question).items():
                gold = any(holds(chunk, places[case.context]) for chunk in read)
                row = exact_match(text, case.answers), f1(text, case.answers), not text, gold
                rows.setdefault(name, []).append(row)
    base = [row[1] for row in rows["search_20_linked"]]
    told: dict[str, Any] = {}
    for name, found in rows.items():
        differences = [row[1] - other for row, other in zip(found, base, strict=True)]
        told[name] = {
            "em": percent([row[0] for row in found]),
            "f1": percent([row[1] for row in found]),
            "f1_ci95": bootstrap([row[1] for row in found]),
            "difference": percent(differences),
            "difference_ci95": bootstrap(differences),
            "declined": percent([float(row[2]) for row in found]),
            "gold_read": percent([float(row[3]) for row in found]),
        }
    print(json.dumps({"ways": told, "n": len(base)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
