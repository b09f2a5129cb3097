"""Which wordings ask for a relation and of what, and which questions ask for none."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfroute.memory.graph.hint import may_be_relational
from selfroute.memory.graph.question import MAX_CHARACTERS, parse
from selfroute.memory.graph.ways import (
    BASES,
    CALLEES,
    CALLERS,
    IMPACT,
    IMPORTERS,
    IMPORTS,
    MEMBERS,
    OVERRIDES,
    PATH,
    SUBCLASSES,
)

# What a corpus defines; some are words of the language, as names often are.
KNOWN = frozenset(
    "Session Request FastAPI Flask Depends Field Model Exception get run send open load make render session request"
    " url_for routing utils main json prepare update test path query order response template help error config".split()
)


def known(word: str) -> bool:
    return word in KNOWN


def asked(question: str) -> tuple[str, ...] | None:
    """The relation, the name, and what it is within or leads to when that is said."""
    found = parse(question, known)
    return None if found is None else tuple(filter(None, (found.relation, found.name, found.within, found.other)))


ASKED = {
    "Who calls url_for?": (CALLERS, "url_for"),
    "who calls `send`": (CALLERS, "send"),
    "Who calls run?": (CALLERS, "run"),
    "Who calls the run method?": (CALLERS, "run"),
    "who uses get": (CALLERS, "get"),
    "Which functions call url_for?": (CALLERS, "url_for"),
    "What calls Session.send?": (CALLERS, "Session.send"),
    "Where is url_for called?": (CALLERS, "url_for"),
    "Where does url_for get called?": (CALLERS, "url_for"),
    "If I rename url_for, which calls break?": (CALLERS, "url_for"),
    "where do we call prepare_request": (CALLERS, "prepare_request"),
    "callers of url_for": (CALLERS, "url_for"),
    "url_for callers": (CALLERS, "url_for"),
    "usages of Session.send": (CALLERS, "Session.send"),
    "Find all call sites of url_for": (CALLERS, "url_for"),
    "Show me every place that calls url_for.": (CALLERS, "url_for"),
    "List everything that uses url_for": (CALLERS, "url_for"),
    "Where is Session instantiated?": (CALLERS, "Session"),
    "Where is ValueError raised?": (CALLERS, "ValueError"),
    "By which functions is url_for() called?": (CALLERS, "url_for()"),
    "Who calls the send method of Session?": (CALLERS, "send", "Session"),
    "Who calls Session's send method?": (CALLERS, "send", "Session"),
    "Who calls `send` in src/pkg/api.py?": (CALLERS, "send", "src/pkg/api.py"),
    "Who calls send in src/pkg/api.py?": (CALLERS, "send", "src/pkg/api.py"),
    "Who calls get in src/pkg/api.py?": (CALLERS, "get", "src/pkg/api.py"),
    "Could you please tell me who calls url_for?": (CALLERS, "url_for"),
    "Who calls Base::open?": (CALLERS, "Base::open"),
    "I want to change the signature of url_for; which calls would I have to update?": (CALLERS, "url_for"),
    "What does url_for call?": (CALLEES, "url_for"),
    "What does main call?": (CALLEES, "main"),
    "Which functions does Session.send call?": (CALLEES, "Session.send"),
    "callees of url_for": (CALLEES, "url_for"),
    "List everything that url_for calls": (CALLEES, "url_for"),
    "Which functions does url_for use?": (CALLEES, "url_for"),
    "Which helper methods does url_for use?": (CALLEES, "url_for"),
    "What is called by url_for?": (CALLEES, "url_for"),
    "Show the functions invoked inside url_for.": (CALLEES, "url_for"),
    "url_for: what does it call?": (CALLEES, "url_for"),
    "Which classes inherit from Session?": (SUBCLASSES, "Session"),
    "Which classes inherit from Exception?": (SUBCLASSES, "Exception"),
    "subclasses of Model": (SUBCLASSES, "Model"),
    "What extends BaseModel?": (SUBCLASSES, "BaseModel"),
    "Who implements `Loader`?": (SUBCLASSES, "Loader"),
    "Find the classes derived from Session": (SUBCLASSES, "Session"),
    "Is Session subclassed anywhere?": (SUBCLASSES, "Session"),
    "Which classes have Session as a base class?": (SUBCLASSES, "Session"),
    "What embeds store.Base?": (SUBCLASSES, "store.Base"),
    "What does Session inherit from?": (BASES, "Session"),
    "What are the base classes of Session?": (BASES, "Session"),
    "parents of Session": (BASES, "Session"),
    "Which class does Session extend?": (BASES, "Session"),
    "What is Session derived from?": (BASES, "Session"),
    "Who overrides Session.send?": (OVERRIDES, "Session.send"),
    "Which subclasses override the send method of Session?": (OVERRIDES, "send", "Session"),
    "Where is Session.send overridden?": (OVERRIDES, "Session.send"),
    "What methods does Session have?": (MEMBERS, "Session"),
    "methods of Session": (MEMBERS, "Session"),
    "Which functions are defined in src/pkg/api.py?": (MEMBERS, "src/pkg/api.py"),
    "Who imports url_for?": (IMPORTERS, "url_for"),
    "Which files import json?": (IMPORTERS, "json"),
    "Where is flask.sessions imported?": (IMPORTERS, "flask.sessions"),
    "importers of routing": (IMPORTERS, "routing"),
    "Which modules depend on utils through an import?": (IMPORTERS, "utils"),
    "Which files include store.h?": (IMPORTERS, "store.h"),
    "What does src/pkg/api.py import?": (IMPORTS, "src/pkg/api.py"),
    "Which modules are imported by routing?": (IMPORTS, "routing"),
    "What breaks if I change url_for?": (IMPACT, "url_for"),
    "What is affected if I rename Session.send?": (IMPACT, "Session.send"),
    "If I delete url_for, what would break?": (IMPACT, "url_for"),
    "What depends on Session?": (IMPACT, "Session"),
    "Is it safe to remove url_for?": (IMPACT, "url_for"),
    "blast radius of url_for": (IMPACT, "url_for"),
    "How does Flask.run reach url_for?": (PATH, "Flask.run", "url_for"),
    "path from Flask.run to url_for": (PATH, "Flask.run", "url_for"),
    "call chain between Session.send and url_for": (PATH, "Session.send", "url_for"),
}
NOT_ASKED = (
    "What happens when url_for is called outside a request?",
    "What happens if Session.send is called twice?",
    "How does FastAPI run sync route functions?",
    "how do I use Session",
    "How do I call url_for with a query string?",
    "How can I extend Session?",
    "How should I subclass Model?",
    "How to import Session?",
    "how to call the test client",
    "Why does url_for call abort?",
    "Why is Session imported lazily?",
    "Where is url_for defined?",
    "What is Session?",
    "What does url_for return?",
    "What does FastAPI do with Depends?",
    "explain Session.send",
    "url_for",
    "Session",
    "Session.send",
    "How are cookies signed?",
    "How does Flask find templates?",
    "Which license is used?",
    "What is the default timeout of a Session?",
    "When was the Treaty of Versailles signed?",
    "Who wrote Hamlet?",
    "Which rivers flow through Germany?",
    "Who called the first meeting of the United Nations?",
    "What does the Model of the World Bank predict?",
    "Where are errors logged?",
    "how many routes are there",
    "Is the cache thread safe?",
    "What is used to parse JSON?",
    "how is a request routed to a view function",
    "Does Session support retries?",
    "",
    "?",
    "who calls",
    "who calls it?",
    "what does this function call?",
    "Who implements Loader?",  # which the corpus does not know
    "What is Depends used for?",
    "Which Python versions does Flask run on?",
    "What does Session use to store cookies?",
    "Which library does Flask use for templates?",
    "What does it mean to override Depends?",
    "Where can I import Session from?",
    "Which import do I need for Session?",
    "What happens before Session.send is called?",
)


@pytest.mark.parametrize("question", ASKED)
def test_a_relational_question_says_its_relation_and_name(question: str) -> None:
    assert asked(question) == ASKED[question]


@pytest.mark.parametrize("question", NOT_ASKED)
def test_any_other_question_asks_for_no_relation(question: str) -> None:
    assert asked(question) is None


@pytest.mark.parametrize(
    "question",
    [
        "What does path default to when calling url_for?",
        "What is the default of timeout when Session.send is called?",
        "What does the constructor of Session set self.adapters to?",
        "From which module is url_for imported in src/pkg/api.py?",
        "What does src/pkg/api.py import url_for from?",
        "Which salt does Session use?",
    ],
)
def test_a_value_or_the_source_of_a_name_is_no_relation(question: str) -> None:
    assert asked(question) is None


@pytest.mark.parametrize("ending", ["", "?", " ?", ".", "!", "\n", "  "])
def test_endings_and_spaces_change_nothing(ending: str) -> None:
    assert asked(f"  Who   calls url_for{ending}") == (CALLERS, "url_for")


@pytest.mark.parametrize("name", ["`url_for`", "'url_for'", '"url_for"', "“url_for”", "url_for()", "`url_for()`"])
def test_a_name_may_be_quoted_or_called(name: str) -> None:
    found = asked(f"Who calls {name}?")
    assert found is not None
    assert found[1].removesuffix("()") == "url_for"


def test_a_question_that_tells_a_story_is_not_relational() -> None:
    assert asked("Who calls url_for? " + "word " * MAX_CHARACTERS) is None


def test_plain_words_are_names_in_short_questions_alone() -> None:
    assert asked("Who calls render?") == (CALLERS, "render")
    assert asked("We have a page that is slow and I would like to know who calls render in the evening") is None


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=MAX_CHARACTERS))
def test_any_text_is_parsed_without_an_error(text: str) -> None:
    asked(text)


PARTS = (
    "who calls X.y what does import imports from of the in is called by that which inherit extends `a` b_c D.e"
    " functions if i change breaks how reach to path where get gets really ever also even directly class method"
    " - , ; : ? ' ( )"
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PARTS.split(" ")), max_size=80))
def test_words_of_relations_in_any_order_are_parsed_without_an_error(parts: list[str]) -> None:
    asked(" ".join(parts))


@pytest.mark.parametrize("seed", range(5))
def test_a_name_is_found_whatever_it_is(seed: int) -> None:
    pick = random.Random(seed)
    name = f"{pick.choice('abc')}_{pick.randrange(10**9)}.{pick.choice('XYZ')}y"
    assert asked(f"Who calls {name}?") == (CALLERS, name)


@pytest.mark.parametrize("question", ASKED)
def test_a_relational_question_passes_the_first_look(question: str) -> None:
    assert may_be_relational(question)


def test_a_question_of_another_kind_need_not_load_the_graph() -> None:
    assert not may_be_relational("Where is the session cookie signed?")
