"""Citations in what a model wrote: [n] names chunk n; one that does not hold is taken out and a note says so.

It holds when there is a chunk of that number and, where its sentence quotes, when the quote stands in that chunk
character for character. Those that hold are numbered anew in the order in which they come: [1] is the first span.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from selfroute.models.shown import shown
from selfroute.models.supporting import support
from selfroute.types import Chunk, Span

MIN_QUOTE = 3  # characters between quotation marks; fewer are spelled, not quoted

_MARKER = re.compile(r"\[(\d{1,6}(?: ?[,;] ?\d{1,6})*)\]")
_MARKERS = re.compile(rf"{_MARKER.pattern}(?:[ ,]*{_MARKER.pattern})*")
_QUOTE = re.compile(r'"([^"\n]+)"|“([^”\n]+)”')
_CODE = re.compile(r"`[^`\n]*`")
_FENCE = "```"


class Citations:
    """Reads an answer sentence by sentence. chunks: those of the prompt, where number n is chunks[n - 1]."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks
        self._shown = {i: shown(chunk.text) for i, chunk in enumerate(chunks)} if len(chunks) < 64 else {}
        self._statements: dict[int, list[str]] = {}  # cited chunk -> the sentences that cite it; in order of number
        self._quotes: dict[int, list[tuple[int, int]]] = {}  # chunk -> characters that are quoted from it
        self._notes: dict[str, None] = {}
        self._in_code = False
        self._last = ""
        self.n_sentences = self.n_cited = 0

    def check(self, sentence: str) -> str:
        """The sentence with the citations that hold, under their new numbers."""
        if sentence.lstrip().startswith(_FENCE):
            self._in_code = not self._in_code
            return sentence
        if self._in_code:
            return sentence
        words = _MARKERS.sub("", sentence).strip()
        is_statement = any(c.isalnum() for c in words)
        self.n_sentences += is_statement
        code = [found.span() for found in _CODE.finditer(sentence)]
        groups = [g for g in _MARKERS.finditer(sentence) if not any(a <= g.start() < b for a, b in code)]
        quotes = _by_group([q for q in _QUOTE.finditer(sentence) if len(_quoted(q)) >= MIN_QUOTE], groups)
        out, last, holds = "", 0, False
        for group, quoted in zip(groups, quotes, strict=True):
            kept = self._judge(group, sentence, quoted)
            before = sentence[last : group.start()]
            if kept is None:  # an index of something, not a citation
                out += before + group[0]
            else:
                for i in kept:
                    self._statements.setdefault(i, []).append(words if is_statement else self._last)
                numbers = list(self._statements)
                out += before + "".join(f"[{numbers.index(i) + 1}]" for i in kept) if kept else before.rstrip(" ")
                holds = holds or bool(kept)
            last = group.end()
        self.n_cited += holds and (is_statement or self.n_cited < self.n_sentences)
        self._last = words if is_statement else self._last
        return out + sentence[last:]

    def spans(self) -> tuple[Span, ...]:
        """One for each cited chunk, in the order of their new numbers: the lines that its sentences rest on."""
        return tuple(
            Span(i, *support(self._chunks[i].text, statements, self._quotes.get(i, ())), 1.0)
            for i, statements in self._statements.items()
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken out and why, each once."""
        return tuple(self._notes)

    def _judge(self, group: re.Match[str], sentence: str, quotes: Sequence[str]) -> list[int] | None:
        """The chunks of a group of citations that hold; None for what is no citation, like argv[1]."""
        numbers = list(dict.fromkeys(int(n) for n in re.findall(r"\d+", group[0])))
        known = [n - 1 for n in numbers if 1 <= n <= len(self._chunks)]
        if len(known) < len(numbers) and group.start() and sentence[group.start() - 1].isalnum():
            return None
        for n in numbers:
            if n - 1 not in known:
                self._note(f"citation [{n}] was dropped: there is no chunk {n}")
        if not quotes:
            return known
        places = {i: [place for quote in quotes if (place := self._find(i, quote))] for i in known}
        missing = [quote for quote in quotes if not any(self._find(i, quote) for i in known)]
        kept = [i for i in known if places[i] and not missing]
        for i in kept:
            self._quotes.setdefault(i, []).extend(places[i])
        for i in known:
            if i not in kept:
                self._note(
                    f"citation [{i + 1}] was dropped: what it quotes does not stand in {self._chunks[i].location}"
                )
        return kept

    def _find(self, i: int, quote: str) -> tuple[int, int] | None:
        """Where a quote stands in a chunk, as the file has it or as the model was shown it; full stops may be added."""
        if i not in self._shown:
            self._shown[i] = shown(self._chunks[i].text)
        for form in (self._shown[i], shown(self._chunks[i].text, escape=True)):
            for wanted in (quote, quote.rstrip(".,;:!?")):
                at = form.text.find(wanted) if wanted else -1
                if at >= 0:
                    return form.original(at, at + len(wanted))
        return None

    def _note(self, note: str) -> None:
        self._notes[note] = None


def _quoted(found: re.Match[str]) -> str:
    return found[1] or found[2]


def _by_group(quotes: Sequence[re.Match[str]], groups: Sequence[re.Match[str]]) -> list[list[str]]:
    """The quotes that each group of citations vouches for: those before it, the last one also those behind it."""
    of_group: list[list[str]] = [[] for _ in groups]
    for quote in quotes if groups else ():
        place = next((n for n, group in enumerate(groups) if group.start() >= quote.end()), len(groups) - 1)
        of_group[place].append(_quoted(quote))
    return of_group
