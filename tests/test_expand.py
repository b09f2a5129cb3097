"""The second hop: what hits name comes up, what is not prose stays where it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfroute.memory.graph.expand import EXPANSION, Expanded, expand
from selfroute.memory.graph.mentions import EntityTable
from selfroute.types import Chunk

PAGES = {
    "Lamp Hour": "Lamp Hour is a weekly show about light. Its host is Ada Quill.",
    "Ada Quill": "Ada Quill (born 1950) played for the Velden Rovers for nine years.",
    "Light Week": "Light Week is another weekly show about light.",
    "Weekly shows": "Many weekly shows about light have a host.",
    "Glass Night": "Glass Night is a weekly show about glass. Bo Reed was its host.",
    "Wick Street": "A street of lamps. The show Lamp Hour was filmed there.",
    "Bo Reed": "Bo Reed sang.",
}
QUESTION = "Which team did the host of the weekly show Lamp Hour play for?"


def page(title: str, text: str, kind: str = "section") -> Chunk:
    path = f"{title.replace(' ', '_')}.md"
    return Chunk(path, path, path, 1, 3, f"# {title}\n\n{text}", title if kind == "section" else "", kind)


def table(pages: dict[str, str]) -> tuple[EntityTable, list[str]]:
    """The pages in the order of their paths, as an index has them, and the row of each by its place."""
    titles = sorted(pages)
    return EntityTable(page(title, pages[title]) for title in titles), titles


def ranked(
    question: str, found: list[str], pages: dict[str, str] = PAGES, top_k: int = 10, step: float = 0.1
) -> list[str]:
    """The titles after the second hop, of a first search that found these, each `step` below the one before."""
    index, titles = table(pages)
    hits = [(titles.index(title), 1.0 - step * i) for i, title in enumerate(found)]
    return [titles[hit.row] for hit in expand(question, hits, index, top_k=top_k)]


def test_a_page_that_a_hit_names_comes_up() -> None:
    found = ["Lamp Hour", "Light Week", "Weekly shows", "Glass Night", "Ada Quill"]
    assert ranked(QUESTION, found, top_k=3) == ["Lamp Hour", "Light Week", "Ada Quill"]


def test_a_page_that_a_hit_names_is_brought_in_when_the_search_missed_it() -> None:
    assert "Ada Quill" in ranked(QUESTION, ["Lamp Hour", "Light Week", "Weekly shows", "Glass Night"])


def test_a_page_that_names_what_a_hit_is_about_comes_up() -> None:
    assert "Wick Street" in ranked("Where was the show filmed?", ["Lamp Hour", "Light Week", "Weekly shows"])


def test_the_name_that_led_there_is_told() -> None:
    index, titles = table(PAGES)
    hits = [(titles.index(title), 1.0) for title in ("Lamp Hour", "Light Week")]
    bridges = {titles[hit.row]: hit.bridge for hit in expand(QUESTION, hits, index, top_k=10)}
    assert bridges["Ada Quill"] == "ada quill"
    assert bridges["Light Week"] == ""


def test_what_the_question_names_is_raised_and_is_no_bridge() -> None:
    index, titles = table(PAGES)
    found = {"Lamp Hour": 1.0, "Light Week": 0.9, "Weekly shows": 0.7, "Ada Quill": 0.6, "Wick Street": 0.1}
    hits = [(titles.index(title), score) for title, score in found.items()]
    result = expand("Was Ada Quill the host of the show?", hits, index, top_k=10)
    assert [titles[hit.row] for hit in result][2] == "Ada Quill"
    assert "ada quill" not in {hit.bridge for hit in result}


def test_both_sides_of_a_comparison_come_up() -> None:
    found = ["Weekly shows", "Light Week", "Glass Night", "Lamp Hour", "Ada Quill", "Bo Reed"]
    assert ranked("Who is older, Ada Quill or Bo Reed?", found, top_k=4, step=0.05)[2:] == ["Ada Quill", "Bo Reed"]


def test_a_title_is_a_name_in_a_question_without_capitals() -> None:
    pages = {"Ada Quill": "She played.", "Old age": "It comes.", "Young age": "It goes.", "Mid age": "It stays."}
    found = ["Old age", "Young age", "Mid age", "Ada Quill"]
    assert ranked("how old is ada quill", found, pages, step=0.05)[2:] == ["Ada Quill", "Mid age"]


def test_the_first_hits_stay_where_they_are() -> None:
    found = ["Weekly shows", "Light Week", "Lamp Hour", "Ada Quill"]
    assert ranked(QUESTION, found)[: EXPANSION.n_kept] == found[: EXPANSION.n_kept]


def test_a_title_of_many_pages_names_nothing() -> None:
    def section(title: str, text: str, path: str) -> Chunk:
        return Chunk(path, path, path, 1, 1, text, title, "section")

    places = range(EXPANSION.max_titled + 1)
    old = [section(f"Place {i}", "It is old, see History.", f"{i}.md") for i in places]
    index = EntityTable([*old, *(section("History", "It was founded long ago.", f"{i}-history.md") for i in places)])
    assert [hit.row for hit in expand("Is it old?", [(0, 1.0), (2, 0.9)], index, top_k=10)] == [0, 2]


def test_hits_that_name_nothing_stay_as_they_are() -> None:
    pages = {"One": "nothing is named", "Two": "nor here", "Three": "nor there"}
    assert ranked("what is it", ["Two", "One", "Three"], pages) == ["Two", "One", "Three"]


def mixed() -> EntityTable:
    """Rows 0 to 2 are prose, of which 0 names 2; rows 3 to 5 are code."""
    prose = [page(title, PAGES[title]) for title in ("Lamp Hour", "Light Week", "Ada Quill")]
    return EntityTable([*prose, *(page(f"code{i}", "Ada Quill", "function") for i in range(3))])


def test_nothing_changes_when_the_first_hit_is_code() -> None:
    hits = [(3, 1.0), (0, 0.9), (1, 0.8), (2, 0.1)]
    assert expand(QUESTION, hits, mixed(), top_k=4) == [Expanded(row, score) for row, score in hits]


def test_nothing_changes_when_most_hits_are_code() -> None:
    hits = [(0, 1.0), (3, 0.9), (4, 0.8), (5, 0.7), (1, 0.6)]
    assert expand(QUESTION, hits, mixed(), top_k=5) == [Expanded(row, score) for row, score in hits]


def test_code_keeps_its_rank_among_prose() -> None:
    rows = [hit.row for hit in expand(QUESTION, [(0, 1.0), (3, 0.9), (1, 0.8)], mixed(), top_k=10)]
    assert rows == [0, 3, 1, 2]


def test_no_hits_give_none() -> None:
    assert expand(QUESTION, [], mixed(), top_k=10) == []


def test_a_top_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        expand(QUESTION, [(0, 1.0)], mixed(), top_k=0)


@given(st.permutations(range(7)), st.integers(1, 12), st.sampled_from([QUESTION, "", "Ada Quill?", "lamps"]))
def test_every_hit_stays_once_and_scores_never_rise(rows: list[int], top_k: int, question: str) -> None:
    index, _ = table(PAGES)
    hits = [(row, 1.0 / (i + 1)) for i, row in enumerate(rows[:5])]
    result = expand(question, hits, index, top_k=12)
    assert len({hit.row for hit in result}) == len(result) >= len(hits)
    assert {row for row, _ in hits} <= {hit.row for hit in result}
    scores = [hit.score for hit in result]
    assert scores == sorted(scores, reverse=True)
    assert expand(question, hits, index, top_k=top_k) == result[:top_k]
