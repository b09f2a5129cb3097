"""Entities of prose: what is a name by its form, what it is looked up by, and where it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfroute.memory.base import Document
from selfroute.memory.chunking import chunk_document
from selfroute.memory.graph.entities import Entity, entities, key_of, title_keys
from selfroute.memory.graph.mentions import mentions_of
from selfroute.types import Chunk


def keys(text: str, title: str = "") -> list[str]:
    return [entity.key for entity in entities(text, title)]


def test_a_run_of_capitals_inside_a_sentence_is_a_name() -> None:
    assert keys("The lamp was built by Ada Quill and sold to Harbour Glass.") == ["ada quill", "harbour glass"]


def test_a_word_that_only_opens_a_sentence_is_no_name() -> None:
    assert keys("Lamps are lit at dusk. Nobody knows why. However, they burn.") == []


def test_a_word_that_opens_a_sentence_is_a_name_when_it_is_one_elsewhere() -> None:
    assert keys("Velden is small. We went to Velden by boat.") == ["velden", "velden"]


def test_stop_words_before_a_name_at_the_beginning_are_dropped() -> None:
    assert entities("In Velden it rains.") == [Entity("velden", "Velden", 3, 9)]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("it was drawn by Dr. R. H. Moore in ink", "dr r h moore"),
        ("it was drawn by Ludwig van den Berg in ink", "ludwig van den berg"),
        ("it was drawn by Mary O’Neil in ink", "mary oneil"),
        ("it was drawn for AC/DC in ink", "ac dc"),
        ("it was drawn for Lamp\nWorks in ink", "lamp works"),
        ("it was drawn for Örebro in ink", "orebro"),
    ],
)
def test_initials_particles_apostrophes_and_line_breaks_stay_inside_a_name(text: str, key: str) -> None:
    assert keys(text) == [key]


def test_a_possessive_ends_a_name() -> None:
    assert keys("we read Ada Quill's Lamps at night") == ["ada quill", "lamps"]


def test_names_joined_by_of_or_and_are_one_name_and_several() -> None:
    assert keys("paid by the Bank of Velden") == ["bank of velden", "bank", "velden"]


def test_many_joined_names_are_not_one_name() -> None:
    assert keys("by Ada Quill and Bo Reed and Cy Marsh and Di Fenn") == ["ada quill", "bo reed", "cy marsh", "di fenn"]


def test_dates_are_left_out() -> None:
    assert keys("born on March 3, 1931, wed in May 1950, buried on Sunday in October") == []


def test_a_number_or_a_year_beside_a_name_may_belong_to_it() -> None:
    assert keys("they watched Lamp Race 7 and then the 1957 Lamp Race") == [
        "lamp race 7",
        "lamp race",
        "1957 lamp race",
        "lamp race",
    ]


def test_quotes_and_backticks_hold_names_of_any_form() -> None:
    found = entities("she wrote “Nine lamps from nowhere”, and `lamp-ctl` reads lamp_table")
    assert [(e.key, e.kind) for e in found] == [
        ("nine lamps from nowhere", "quote"),
        ("nine", "name"),
        ("lamp ctl", "code"),
        ("lamp_table", "code"),
    ]


def test_a_last_name_stands_for_the_whole_name_once_that_was_met() -> None:
    assert keys("We met Ada Quill there. Later Quill left.") == ["ada quill", "ada quill"]


def test_an_acronym_stands_for_the_name_that_explains_it() -> None:
    found = keys("It joined the North Lamp Union (NLU) early, and left NLU late.")
    assert found == ["north lamp union", "north lamp union", "north lamp union"]


def test_letters_in_parentheses_that_do_not_fit_explain_nothing() -> None:
    assert keys("It joined the North Lamp Union (XQ) early.") == ["north lamp union", "xq"]


def test_a_title_names_itself_with_and_without_what_tells_it_apart() -> None:
    assert title_keys("The Lamp (film)") == ["lamp film", "lamp"]
    assert title_keys("Velden, Ohio") == ["velden ohio", "velden"]
    assert title_keys("C#") == ["c#"]


def test_a_title_that_is_given_stands_at_the_beginning_and_is_a_name_in_the_text() -> None:
    assert entities("Lamp is a play.", "Lamp (play)") == [
        Entity("lamp play", "Lamp (play)", 0, 0, "title"),
        Entity("lamp", "Lamp (play)", 0, 0, "title"),
        Entity("lamp", "Lamp", 0, 4, "name"),
    ]
    assert {e.kind for e in entities("", "Lamp", continued=True)} == {"part"}


def test_a_heading_is_a_title_where_it_stands() -> None:
    assert entities("# Ada Quill ##\n\nA painter.\n") == [Entity("ada quill", "Ada Quill", 2, 11, "title")]


def test_fenced_code_names_nothing() -> None:
    assert keys("see\n```\nclass Lamp(Base Thing):\n# Not A Title\n```\nby Ada Quill") == ["ada quill"]


def test_keys_drop_case_accents_articles_and_punctuation() -> None:
    assert key_of("The Café Rénée’s") == key_of("cafe renee") == "cafe renee"
    assert key_of("?!") == ""
    assert key_of("x" * 81) == ""


@given(st.lists(st.sampled_from(["Ada", "Quill", "lamp", "of", "the", "The", ". ", "\n", "# ", '"', "`", "7", "1957",
                                 "A.", "(", ")", "’s", "-", "é", "É", "_", "```\n", "May"]), max_size=30))  # fmt: skip
def test_every_mention_stands_where_it_says(words: list[str]) -> None:
    text = " ".join(words)
    found = entities(text)
    assert [e.start for e in found] == sorted(e.start for e in found)
    for entity in found:
        assert text[entity.start : entity.end] == entity.surface
        assert entity.key


def test_long_runs_of_anything_take_linear_time() -> None:
    for text in (
        "A." * 50_000,
        "# " + " " * 50_000 + "x",
        "```\n" * 20_000,
        "Ab-" * 50_000,
        '"A' * 50_000,
        "((" * 50_000,
    ):
        entities(text, text)


def chunks(path: str, text: str, language: str) -> list[Chunk]:
    return list(chunk_document(Document(path, text, language)).chunks)


def test_chunks_below_one_heading_are_parts_of_it_after_the_first() -> None:
    long = "\n\n".join(f"Paragraph number {n} tells of lamps and of glass and of little else. " * 6 for n in range(8))
    found = mentions_of(chunks("guide.md", f"# Harbour Glass\n\n{long}\n", "markdown"))
    assert len(found) > 1
    titles = [[e.kind for e in mentions if e.key == "harbour glass"] for mentions in found]
    assert "title" in titles[0]
    assert titles[1:] == [["part"]] * (len(found) - 1)


def test_a_text_without_headings_has_the_name_of_its_file() -> None:
    [mentions] = mentions_of(chunks("people/ada_quill.txt", "She painted lamps.\n", "text"))
    assert mentions == [Entity("ada quill", "ada quill", 0, 0, "title")]


def test_code_names_nothing() -> None:
    found = mentions_of(chunks("lamp.py", 'class Lamp:\n    """Made by Ada Quill."""\n', "python"))
    assert found == [[]]
