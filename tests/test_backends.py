"""The two routes over a real index of a small folder: what they read, what it costs, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from selfroute.backends.base import Backend
from selfroute.backends.long_context import LongContextBackend
from selfroute.backends.retrieval import RetrievalBackend
from selfroute.errors import ContextOverflowError
from selfroute.memory.index import Index
from selfroute.models.evidence import EvidenceReader
from selfroute.models.hashing import HashingEmbedder
from selfroute.types import Attempt, Chunk, Generation, Limits, Query, Span

CELLS = [
    {"cell_type": "markdown", "metadata": {}, "source": ["# Prices\n"]},
    {"cell_type": "code", "metadata": {}, "outputs": [], "source": ["rebate_percent = 12\n", "rebate_percent"]},
]
FILES = {
    "shop/cart.py": '''\
"""Carts hold what a customer is about to buy."""


class Cart:
    """The things one customer wants."""

    max_items = 40

    def __init__(self, owner, currency="EUR"):
        self.owner = owner
        self.currency = currency
        self.lines = []

    def add(self, product, count=1):
        """Put a product into the cart."""
        if len(self.lines) >= self.max_items:
            raise CartFull(f"more than {self.max_items} lines")
        self.lines.append((product, count))

    def total(self):
        """Sum of all lines, with the voucher taken off."""
        return sum(product.price * count for product, count in self.lines) - self.voucher()
''',
    "shop/tokens.py": '''\
import hmac

SALT = b"cart-token"


def sign_token(secret, payload):
    """Sign a token so that nobody can forge it."""
    return hmac.new(secret + SALT, payload, "sha256").hexdigest()


def verify_token(secret, payload, signature):
    """Check a token in constant time."""
    return hmac.compare_digest(sign_token(secret, payload), signature)
''',
    "shop/windows.py": "import os\r\n\r\nSPOOL_FOLDER = 'C:/spool'\r\n\r\n\r\n"
    "def spool(name):\r\n    return os.path.join(SPOOL_FOLDER, name)\r\n",
    "docs/delivery.md": "# Delivery\n\nParcels leave the warehouse at noon. Naïve carriers wait until five.\n\n"
    "## Returns\n\nA parcel can be sent back within thirty days.\n",
    "tests/test_cart.py": "def test_a_full_cart():\n    with pytest.raises(CartFull):\n        cart.add(product)\n",
    "notes.ipynb": json.dumps({"cells": CELLS, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}),
}
SIGNED = "Where is a token signed?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    write(root)
    return root


@pytest.fixture(scope="module")
def index(folder: Path) -> Iterator[Index]:
    with Index.open(folder, embedder=HashingEmbedder()) as opened:
        yield opened


@pytest.fixture(params=[RetrievalBackend, LongContextBackend])
def backend(request: pytest.FixtureRequest, index: Index) -> Backend:
    made = request.param(index, EvidenceReader(index.term_weight))
    assert isinstance(made, Backend)
    return made


def write(root: Path) -> None:
    for path, text in FILES.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(text.encode())


class Listener:
    """A reader that keeps what it is given and quotes the whole first chunk."""

    def __init__(self) -> None:
        self.given: list[list[Chunk]] = []

    def read(self, question: str, chunks: list[Chunk]) -> Generation:
        self.given.append(list(chunks))
        return Generation(chunks[0].text, (Span(0, 0, len(chunks[0].text), 1.0),), 1.0)


@pytest.mark.parametrize(
    ("question", "location", "quote"),
    [
        (SIGNED, "shop/tokens.py:6", "def sign_token(secret, payload):"),
        ("What is the default currency of a cart?", "shop/cart.py:9", 'currency="EUR"'),
        ("Which error is raised when the cart has more than its lines?", "shop/cart.py:17", "raise CartFull("),
        ("What is the spool folder?", "shop/windows.py:3", "SPOOL_FOLDER = 'C:/spool'"),
        ("When do naïve carriers leave?", "docs/delivery.md:3", "Naïve carriers wait until five."),
        ("What is the value of rebate_percent?", "notes.ipynb#cell-2:1", "rebate_percent = 12"),
    ],
)
def test_both_routes_answer_with_the_same_cited_line(
    backend: Backend, folder: Path, question: str, location: str, quote: str
) -> None:
    attempt = backend.answer(Query(question))

    assert attempt.route == backend.name
    assert attempt.generation.answerable
    assert quote in attempt.generation.text
    citation = next(c for c in attempt.citations if quote in c.text)
    assert citation.location.partition("-")[0].startswith(location.partition("-")[0])
    assert not citation.stale
    if "#" not in citation.path:
        data = (folder / citation.path).read_bytes()
        assert data[citation.start_byte : citation.end_byte].decode() == citation.text


def test_spans_point_into_the_chunks_of_the_attempt(backend: Backend) -> None:
    attempt = backend.answer(Query(SIGNED))

    assert [attempt.chunks[s.chunk].text[s.start : s.end] for s in attempt.generation.spans] == [
        citation.text for citation in attempt.citations
    ]


@pytest.mark.parametrize("question", ["How does the kubernetes operator reconcile its pods?", "", "?!"])
def test_what_is_not_there_is_declined_without_a_quote(backend: Backend, question: str) -> None:
    attempt = backend.answer(Query(question))

    assert not attempt.generation.answerable
    assert attempt.generation.finish == "declined"
    assert (attempt.generation.text, attempt.citations) == ("", ())


def test_the_cost_is_measured(backend: Backend) -> None:
    usage = backend.answer(Query(SIGNED)).usage

    assert usage.prompt_tokens > 0
    assert usage.cached_tokens == 0
    assert usage.new_tokens > 0
    assert 0 < usage.seconds < 5
    assert usage.peak_bytes > 1_000_000


def test_progress_ends_where_it_said(index: Index) -> None:
    for made in (RetrievalBackend, LongContextBackend):
        seen: list[tuple[str, int, int]] = []
        made(index, EvidenceReader(), progress=lambda *step: seen.append(step)).answer(Query(SIGNED))  # noqa: B023
        assert [step[0] for step in seen] == sorted((step[0] for step in seen), reverse=True)
        assert seen[-1][1] == seen[-1][2] > 0


def test_retrieval_reads_within_the_smaller_of_budget_and_limit(index: Index) -> None:
    backend = RetrievalBackend(index, EvidenceReader(index.term_weight))
    for query in (Query("cart", budget_tokens=120), Query("cart", limits=Limits(max_tokens=120))):
        assert 0 < backend.answer(query).usage.prompt_tokens <= 120
        assert backend.estimate(query).tokens == 120


def test_retrieval_without_room_says_so_and_declines(index: Index) -> None:
    attempt = RetrievalBackend(index, EvidenceReader()).answer(Query(SIGNED, budget_tokens=3))

    assert (attempt.chunks, attempt.usage.prompt_tokens, attempt.generation.answerable) == ((), 0, False)
    assert any("beyond the budget of 3 tokens" in note for note in attempt.notes)


def test_retrieval_names_the_best_hits_that_it_had_no_room_for(index: Index) -> None:
    backend = RetrievalBackend(index, EvidenceReader())
    hits = [hit.chunk for hit in index.search(SIGNED, top_k=24)][:10]

    assert backend.answer(Query(SIGNED)).left_out == ()
    assert backend.answer(Query(SIGNED, budget_tokens=3)).left_out == tuple(hits)
    some = backend.answer(Query(SIGNED, budget_tokens=150))
    assert some.left_out == tuple(chunk for chunk in hits if chunk not in some.chunks) != ()


def test_retrieval_gives_the_reader_the_best_hit_first(index: Index) -> None:
    reader = Listener()
    attempt = RetrievalBackend(index, reader).answer(Query(SIGNED))

    assert reader.given[0][0] == index.search(SIGNED, top_k=24)[0].chunk
    assert attempt.chunks == tuple(reader.given[0])


def test_chunks_of_an_earlier_attempt_are_read_again_as_cached(index: Index) -> None:
    backend = RetrievalBackend(index, EvidenceReader(index.term_weight), top_k=1)
    fresh = backend.answer(Query(SIGNED))
    windows = next(chunk for chunk in index.chunks() if chunk.path == "shop/windows.py")
    earlier = replace(fresh, chunks=(windows, fresh.chunks[0]))
    again = backend.answer(Query(SIGNED), after=earlier)

    assert windows in again.chunks and windows not in fresh.chunks
    assert again.chunks[0] == fresh.chunks[0]
    assert again.usage.cached_tokens == windows.n_tokens + fresh.chunks[0].n_tokens
    assert again.usage.prompt_tokens > again.usage.cached_tokens


def test_long_context_reads_everything_once(index: Index) -> None:
    reader = Listener()
    attempt = LongContextBackend(index, reader).answer(Query(SIGNED))

    assert reader.given[0] == list(index.chunks())
    assert attempt.usage.prompt_tokens == index.stats.tokens
    assert LongContextBackend(index, reader).estimate(Query(SIGNED)).tokens == index.stats.tokens


def test_long_context_gives_the_same_answer_in_small_blocks(index: Index) -> None:
    reader = EvidenceReader(index.term_weight)
    whole = LongContextBackend(index, reader).answer(Query(SIGNED))
    pieces = LongContextBackend(index, reader, block_chunks=2).answer(Query(SIGNED))

    assert pieces.generation.text == whole.generation.text
    assert pieces.citations == whole.citations
    assert pieces.usage.prompt_tokens == whole.usage.prompt_tokens


def test_long_context_holds_one_block_at_a_time(index: Index) -> None:
    reader = Listener()
    LongContextBackend(index, reader, block_chunks=2).answer(Query(SIGNED))

    *blocks, last = reader.given
    assert max(map(len, blocks)) == 2
    assert last == [block[0] for block in blocks]


def test_a_corpus_beyond_the_limit_is_refused_not_cut(index: Index) -> None:
    reader = Listener()
    n_tokens = index.stats.tokens
    with pytest.raises(ContextOverflowError) as refused:
        LongContextBackend(index, reader).answer(Query(SIGNED, limits=Limits(max_tokens=n_tokens - 1)))

    assert (refused.value.n_tokens, refused.value.limit) == (n_tokens, n_tokens - 1)
    assert "--route retrieval" in refused.value.hint
    assert f"--max-tokens {n_tokens}" in refused.value.hint
    assert reader.given == []
    LongContextBackend(index, reader).answer(Query(SIGNED, limits=Limits(max_tokens=n_tokens)))


def test_the_budget_of_retrieval_does_not_bind_long_context(index: Index) -> None:
    attempt = LongContextBackend(index, EvidenceReader()).answer(Query(SIGNED, budget_tokens=1))

    assert attempt.usage.prompt_tokens == index.stats.tokens


def test_long_context_counts_what_retrieval_has_read_as_cached(index: Index) -> None:
    reader = EvidenceReader(index.term_weight)
    first = RetrievalBackend(index, reader).answer(Query(SIGNED, budget_tokens=150))
    second = LongContextBackend(index, reader).answer(Query(SIGNED), after=first)

    assert second.usage.cached_tokens == sum(chunk.n_tokens for chunk in first.chunks) > 0


def test_files_that_changed_are_cited_as_they_are_and_said_to_be_stale(tmp_path: Path) -> None:
    write(tmp_path)
    with Index.open(tmp_path, embedder=HashingEmbedder()) as index:
        tokens = tmp_path / "shop/tokens.py"
        tokens.write_text("# moved down\n# by two lines\n" + FILES["shop/tokens.py"])
        attempt = RetrievalBackend(index, EvidenceReader(index.term_weight)).answer(Query(SIGNED))
        long = LongContextBackend(index, EvidenceReader(index.term_weight)).answer(Query(SIGNED))

    assert (attempt.citations[0].path, attempt.citations[0].start_line, attempt.citations[0].stale) == (
        "shop/tokens.py",
        8,
        True,
    )
    assert any("changed since they were indexed" in note for note in attempt.notes)
    assert long.citations[0] == attempt.citations[0]


def test_an_attempt_is_an_attempt(backend: Backend) -> None:
    attempt = backend.answer(Query(SIGNED))

    assert isinstance(attempt, Attempt)
    assert attempt.notes and all(attempt.notes)
