"""The reader as it is shipped, over a small project: answers that are spans of its files, and an honest no."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from selfroute import SelfRouter
from selfroute.deadline import Deadline
from selfroute.types import Chunk

FILES = {
    "net/link.py": (
        '"""Connections to a server."""\n\nimport os\n\nRETRIES = 7\n\n\n'
        "class LinkError(OSError):\n    pass\n\n\n"
        "def connect(host: str, timeout: float = 30.5, port=8443):\n"
        '    """Opens a connection to a server and says hello.\n\n'
        '    timeout: seconds until the attempt is given up.\n    """\n'
        "    if not host:\n        raise LinkError('a host is needed')\n"
        "    token = os.environ['LINK_TOKEN']\n    return Link(host, port, token)\n\n\n"
        "class Link:\n    def __init__(self, host, port, token):\n        self.host = host\n\n"
        "    def close(self):\n        return self.host\n"
    ),
    "net/files.py": (
        "import json\n\n\ndef load(path, mode='strict'):\n"
        "    with open(path) as file:\n        return json.load(file)\n"
    ),
    "net/read.py": (
        "def parse(text):\n    if not text:\n        raise KeyError(text)\n    if text == '?':\n"
        "        raise ValueError(text)\n    return text\n"
    ),
    "land.txt": (
        "The lighthouse of Varn was built in 1871 by the engineer Ilse Kortmann. It stands on the island of Holm and "
        "is 31 metres high.\n\nIts keeper in the last century was Peder Aas, who wrote three books about birds.\n"
    ),
}


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SelfRouter]:
    root = tmp_path_factory.mktemp("shipped") / "corpus"
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    with SelfRouter.from_path(root, index_dir=root.parent / "index") as opened:
        yield opened


@pytest.mark.parametrize("route", ["retrieval", "long-context"])
@pytest.mark.parametrize(
    ("question", "text", "place"),
    [
        ("What is the default timeout of connect?", "30.5", "net/link.py:12"),
        ("what is port by default in connect", "8443", "net/link.py:12"),
        ("What is RETRIES set to?", "7", "net/link.py:5"),
        ("Which exception does connect raise?", "LinkError", "net/link.py:18"),
        ("Which environment variable does connect read?", "LINK_TOKEN", "net/link.py:19"),
        ("Who built the lighthouse of Varn?", "Ilse Kortmann", "land.txt:1"),
        ("How high is the lighthouse?", "31 metres high", "land.txt:1"),
        ("In which year was the lighthouse of Varn built?", "1871", "land.txt:1"),
    ],
)
def test_a_fact_is_answered_with_its_span(router: SelfRouter, route: str, question: str, text: str, place: str) -> None:
    answer = router.ask(question, route=route)
    assert answer.text == text
    assert place in [citation.location for citation in answer.citations]
    for citation in answer.citations:
        content = FILES[citation.path].encode()
        assert content[citation.start_byte : citation.end_byte].decode() == citation.text
        assert text in citation.text


@pytest.mark.parametrize(
    "question",
    [
        "What is the default timeout of disconnect_all?",
        "What does `Link.reopen` return?",
        "Who painted the ceiling of the cathedral in Ribe?",
        "Which environment variable does load read?",
    ],
)
def test_what_is_not_there_is_declined(router: SelfRouter, question: str) -> None:
    answer = router.ask(question)
    assert not answer.answerable
    assert answer.text == "Not found in this corpus."
    assert answer.confidence < 0.5


@pytest.mark.parametrize("route", ["retrieval", "long-context"])
def test_plain_words_are_answered_by_the_lines_that_hold_them(router: SelfRouter, route: str) -> None:
    answer = router.ask("When is a host needed?", route=route)
    assert "raise LinkError('a host is needed')" in answer.text
    assert answer.citations[0].location == "net/link.py:17-20"


def test_what_no_span_says_is_counted(router: SelfRouter) -> None:
    answer = router.ask("How many exceptions does parse raise?", route="retrieval")
    assert answer.text == "2:\nKeyError\nValueError"
    assert [citation.start_line for citation in answer.citations] == [3, 5]
    assert router.ask("How many metres high is the lighthouse?").text.startswith("31")


def test_the_nearest_lines_stand_beside_a_decline(router: SelfRouter) -> None:
    question = "Which environment variable does load read?"
    nearest = router.nearest(question, router.ask(question))
    assert "net/files.py" in {citation.path for citation in nearest}
    assert all(FILES[c.path].encode()[c.start_byte : c.end_byte].decode() == c.text for c in nearest)


def test_an_answer_says_how_sure_it_is_and_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "corpus" / "a.py"
    path.parent.mkdir()
    path.write_text(
        "def load(path, mode='strict'):\n    return path\n\n\ndef save(path, mode='loose'):\n    return path\n"
    )
    with SelfRouter.from_path(path.parent, index_dir=tmp_path / "index") as router:
        assert router.ask("What is the default mode of save?").text.strip("'") == "loose"
        path.write_text("# new\n" + path.read_text().replace("loose", "eager"))
        answer = router.ask("What is the default mode of save?")
    assert answer.text.strip("'") == "eager"
    assert answer.citations[0].start_line == 6
    assert 0.5 < answer.confidence <= 1


def test_what_was_read_for_a_question_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from selfroute.models.span_reader import SpanReader
    from selfroute.models.span_scores import SpanScores, Window

    read: list[int] = []
    score = SpanScores.score

    def counted(self: SpanScores, windows: Sequence[Window], *rest: Any) -> Any:
        read.append(len(windows))
        return score(self, windows, *rest)

    monkeypatch.setattr(SpanScores, "score", counted)
    texts = [f"The {word} is kept in room {n}.\n" for n, word in enumerate("anchor basil copper dune".split())]
    chunks = [Chunk(str(n), str(n), f"{n}.txt", 1, 1, text, n_tokens=9) for n, text in enumerate(texts)]
    reader, question = SpanReader(), "Where is the copper kept?"
    reader.read(question, chunks[:3])
    second = reader.until(Deadline.after(60)).read(question, chunks)
    assert read == [3, 1]
    assert second == SpanReader().read(question, chunks)
    reader.read("Where is the dune kept?", chunks[:3])
    reader.read(question, chunks)
    reader.forget()
    reader.read(question, chunks)
    assert read == [3, 1, 4, 3, 4, 4]
