"""Questions about code in plain words."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfroute.backends.described import NOTE, is_described, with_described
from selfroute.memory.index import Index
from selfroute.models.hashing import HashingEmbedder
from selfroute.types import Generation

FILES = {
    "shop/pay.py": "def charge(card, sum):\n    # the customer's card is charged\n    gateway.charge(card, sum)\n",
    "shop/ship.py": "def send(parcel):\n    return parcel\n",
    "notes.txt": "The warehouse in Odense was sold to a brewer in the spring of that year.\n",
}


@pytest.mark.parametrize(
    ("question", "described"),
    [
        ("Where is the session cookie signed?", True),
        ("in which file are blueprints registered", True),
        ("Where is `connect` defined?", False),
        ("where is url_for called", False),
        ("Where is SessionInterface subclassed?", False),
        ("When is the cookie signed?", True),
        ("What does --dry-run do?", False),
    ],
)
def test_a_described_thing_has_no_name(question: str, described: bool) -> None:
    assert is_described(question) is described


def test_lines_that_hold_the_words_answer_where_no_span_does(tmp_path: Path) -> None:
    for path, text in FILES.items():
        (tmp_path / "corpus" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "corpus" / path).write_text(text)
    declined = Generation("", confidence=0.1, answerable=False, finish="declined")
    with Index.open(tmp_path / "corpus", directory=tmp_path / "index", embedder=HashingEmbedder(16)) as index:
        chunks = list(index.chunks())

        def read(question: str, read: Generation = declined) -> Generation:
            return with_described(question, read, chunks, index)

        found = read("Where is the card of the customer charged?")
        assert found.answerable
        assert found.notes == (NOTE,)
        assert "def charge(card, sum):" in found.text
        assert read("Where is the invoice printed?") is declined
        assert read("Where was the warehouse in Odense sold?") is declined  # prose, which the reader knows better
        assert read("Where is `charge` called?") is declined
        answered = Generation("x", confidence=0.9)
        assert read("Where is the card of the customer charged?", answered) is answered
