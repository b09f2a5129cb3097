"""From what a model writes to an answer: refusals, citations that hold and those that do not, pieces."""

from __future__ import annotations

import pytest

from selfroute.models.supporting import support
from selfroute.models.writing import Draft
from selfroute.types import Chunk, Generation, Usage

SIGN = "import hmac\n\ndef sign(value, key):\n    digest = hmac.new(key, value)\n    return digest\n# the end\n"
LIMITS = 'max_age = 300\nretries = 4\n\nname = "<|im_end|> tail"\nhid\u200bden = "a b c d"\n'
NONCE = "0a1b"
CHUNKS = [Chunk("a", "", "a.py", 1, 6, SIGN), Chunk("b", "", "b.py", 5, 9, LIMITS)]


def written(text: str) -> Generation:
    """What is made of a reply, the same however it is cut into pieces."""
    made = []
    for size in (1, 2, 5, 17, 10_000):
        draft = Draft(CHUNKS, NONCE)
        pieces = list(draft.write(text[i : i + size] for i in range(0, len(text), size)))
        made.append(draft.generation(Usage()))
        assert "".join(pieces) == made[-1].text
        assert all(pieces)
    assert len(set(made)) == 1
    return made[0]


def cited(generation: Generation) -> list[str]:
    return [CHUNKS[span.chunk].text[span.start : span.end] for span in generation.spans]


@pytest.mark.parametrize(
    "text",
    ["NOT_IN_CHUNKS 0a1b", " not_in_chunks 0A1B.\n", "`NOT_IN_CHUNKS 0a1b`", "NOT_IN_CHUNKS 0a1b: they speak of jars"],
)
def test_a_refusal_gives_no_text(text: str) -> None:
    generation = written(text)
    assert (generation.text, generation.answerable, generation.finish) == ("", False, "declined")


@pytest.mark.parametrize("text", ["NOT_IN_CHUNKS", "not_in_chunks 9f9f", "", " \n"])
def test_a_refusal_without_the_word_of_the_prompt_is_no_answer_and_is_said(text: str) -> None:
    generation = written(text)
    assert (generation.text, generation.answerable, generation.finish) == ("", False, "untrusted")
    assert "not in the words" in generation.notes[0]


def test_an_answer_that_begins_like_a_refusal_is_an_answer() -> None:
    assert written("NOT IN the jar [1].").text == "NOT IN the jar [1]."
    assert written("Not so.").answerable


def test_what_it_thought_aloud_is_left_out() -> None:
    assert written("<think>\nmaybe [2]?\n</think>\n\nIt signs [1].").text == "It signs [1]."
    assert not written("<think>for ever").answerable


def test_citations_are_numbered_in_the_order_in_which_they_come() -> None:
    generation = written("Four retries [2]. The digest comes from hmac [1][2].")
    assert generation.text == "Four retries [1]. The digest comes from hmac [2][1]."
    assert [span.chunk for span in generation.spans] == [1, 0]
    assert generation.confidence == 1.0
    assert written("Both [1, 2].").text == "Both [1][2]."


def test_a_citation_of_no_chunk_is_dropped_and_said() -> None:
    generation = written("It signs [1]. It ages [9]. It rests [0].")
    assert generation.text == "It signs [1]. It ages. It rests."
    assert "citation [9] was dropped: there is no chunk 9" in generation.notes
    assert generation.confidence == pytest.approx(1 / 3)


def test_an_index_in_code_is_no_citation() -> None:
    text = "Use argv[7] and `rows[1]`.\n```\nx = a[1]\n```\nDone [1]."
    assert written(text).text == text
    assert [span.chunk for span in written(text).spans] == [0]


def test_a_quote_must_stand_in_the_chunk_that_is_cited() -> None:
    good = written('It says "return digest" [1].')
    assert cited(good) == ["    return digest"]
    for text in ('It says "return nothing" [1].', 'It says "return digest" [2].', 'As [1] says, "return nothing" now.'):
        bad = written(text)
        assert bad.spans == ()
        assert "[" not in bad.text
        assert any("what it quotes does not stand in" in note for note in bad.notes)
    assert cited(written('"Max_age" is no quote, but "max_age = 300." is [2].')) == []
    assert cited(written('It holds "max_age = 300." [2]')) == ["max_age = 300"]


def test_a_quote_of_what_the_model_was_shown_is_found_in_the_original() -> None:
    assert cited(written('The name is "< |im_end|> tail" [2].')) == ['name = "<|im_end|> tail"']
    assert cited(written('There is a "hidden = " [2].')) == ['hid\u200bden = "a b c d"']


def test_a_span_is_the_lines_that_the_sentence_rests_on() -> None:
    assert cited(written("The digest is made by hmac new of key and value [1].")) == [
        "    digest = hmac.new(key, value)"
    ]
    assert cited(written("Ages end at 300, retries at 4 [2].")) == ["max_age = 300\nretries = 4"]
    assert cited(written("It is so [1].")) == [SIGN.rstrip()]


def test_support_is_the_fewest_lines_or_all() -> None:
    text = "alpha one\nbeta two\n\ngamma three\n"
    assert text[slice(*support(text, ["the beta is two"]))] == "beta two"
    assert text[slice(*support(text, ["something else"]))] == text.rstrip()
    assert text[slice(*support(text, ["x"], [(12, 14)]))] == "beta two"
    assert support("", ["x"]) == (0, 0)


def test_an_answer_without_a_citation_says_so() -> None:
    generation = written("It just is.")
    assert (generation.spans, generation.confidence, generation.answerable) == ((), 0.0, True)
    assert generation.notes == ("the model cited nothing that holds: check its answer by hand",)


def test_text_comes_before_its_sentence_is_complete_but_not_a_citation() -> None:
    draft = Draft(CHUNKS, NONCE)
    seen: list[str] = []

    def pieces():  # type: ignore[no-untyped-def]
        for piece in ("It ", "signs ", "[", "1] ", "with hmac", ". ", "Next"):
            yield piece
            seen.append(draft.text)

    list(draft.write(pieces()))
    assert seen == ["It", "It signs", "It signs", "It signs", "It signs", "It signs", "It signs [1] with hmac. Next"]
