"""What single files state about names, and that no input makes reading them fail."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfroute.memory.base import Document
from selfroute.memory.chunking import chunk_document
from selfroute.memory.chunking.grammars import GRAMMARS
from selfroute.memory.graph.facts import BINDS, CALLS, DEFINES, DOCUMENTS, IMPORTS, INHERITS, REFERENCES, RETURNS, Fact


def facts(text: str, language: str = "python", path: str = "a.py") -> tuple[Fact, ...]:
    return chunk_document(Document(path, text, language)).facts


def of(relation: str, text: str, language: str = "python") -> list[tuple[int, str, str]]:
    """(line, scope, expr) of the facts of one relation."""
    return [(fact.line, fact.scope, fact.expr) for fact in facts(text, language) if fact.relation == relation]


def defined(text: str) -> list[tuple[str, str, int, int]]:
    """(qualified name, kind and decorators, first line, last line)."""
    return [
        (f"{fact.scope}.{fact.name}".strip("."), fact.expr, fact.line, fact.end_line)
        for fact in facts(text)
        if fact.relation == DEFINES
    ]


# Python


def test_definitions_reach_from_their_decorators_to_their_end() -> None:
    text = (
        "@app.route('/')\n@cached\ndef top(a, *, b=1):\n    def inner():\n        pass\n\n"
        "class A:\n    LIMIT = 3\n    def m(self):\n        pass\n"
    )
    assert defined(text) == [
        ("top", "function @app.route @cached", 1, 5),
        ("top.inner", "function", 4, 5),
        ("A", "class", 7, 10),
        ("A.LIMIT", "attribute", 8, 8),
        ("A.m", "method", 9, 10),
    ]


def test_a_definition_knows_its_parameters() -> None:
    text = "def f(a, b: int, *args, c=1, d: str = '', **kw):\n    pass\n"
    assert [fact.alias for fact in facts(text) if fact.relation == DEFINES] == ["a b args c d kw"]


def test_a_hundred_parameters_are_known_whole() -> None:
    names = [f"parameter_number_{n}" for n in range(100)]
    (found,) = [fact for fact in facts(f"def f({', '.join(names)}): pass\n") if fact.relation == DEFINES]
    assert found.alias.split() == names


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import json", [("json", "json", "")]),
        ("import os.path", [("path", "os.path", "")]),
        ("import numpy as np", [("numpy", "numpy", "np")]),
        ("import a, b.c as d", [("a", "a", ""), ("c", "b.c", "d")]),
        ("from x import y", [("x", "x", "-"), ("y", "x.y", "y")]),
        ("from x import y as z", [("x", "x", "-"), ("y", "x.y", "z")]),
        ("from . import y", [("y", ".y", "y")]),
        ("from ..p.q import y", [("q", "..p.q", "-"), ("y", "..p.q.y", "y")]),
        ("from x import *", [("x", "x", "-"), ("*", "x", "*")]),
        ("from x import (\n    y,\n    z,\n)", [("x", "x", "-"), ("y", "x.y", "y"), ("z", "x.z", "z")]),
    ],
)
def test_an_import_names_what_and_as_what(line: str, expected: list[tuple[str, str, str]]) -> None:
    found = [(fact.name, fact.expr, fact.alias) for fact in facts(line + "\n") if fact.relation == IMPORTS]
    assert found == expected


@pytest.mark.parametrize(
    ("line", "expr"),
    [
        ("get()", "get"),
        ("self.session.get(1)", "self.session.get"),
        ("Flask(a).env.get(b)", "Flask().env.get"),
        ("a[0].get()", "a[].get"),
        ("(await a.b()).get()", "a.b().get"),
        ("(given or Default()).get()", "Default().get"),
        ("'x'.get()", "str().get"),
        ("(a + b).get()", "?.get"),
        ("super().get()", "super().get"),
    ],
)
def test_a_call_is_written_as_names_calls_and_items(line: str, expr: str) -> None:
    assert (1, "", expr) in of(CALLS, line + "\n")


def test_a_call_over_lines_stands_where_its_last_name_does() -> None:
    assert of(CALLS, "def f():\n    (a\n        .b()\n        .c())\n") == [(4, "f", "a.b().c"), (3, "f", "a.b")]


def test_bases_are_those_written_without_keywords() -> None:
    text = "class A(b.Base, Generic[T], metaclass=Meta):\n    pass\n"
    assert of(INHERITS, text) == [(1, "A", "b.Base"), (1, "A", "Generic[]")]


def test_references_are_names_passed_on_decorating_or_annotating() -> None:
    text = "@deco\ndef f(x: Session, y):\n    g(handler, key=other, z=y)\n    return [first, second]\n"
    assert [expr for _, _, expr in of(REFERENCES, text)] == ["deco", "Session", "handler", "other", "first", "second"]


def test_bindings_hold_values_types_and_attributes() -> None:
    text = (
        "APP = Flask()\n"
        "class A:\n"
        "    kind: Kind\n"
        "    def __init__(self, s: Session):\n"
        "        self.s = s\n"
        "        with opened() as o:\n"
        "            pass\n"
        "        if (n := make()):\n"
        "            pass\n"
    )
    found = [(fact.scope, fact.name, fact.expr, fact.alias) for fact in facts(text) if fact.relation == BINDS]
    assert found == [
        ("", "APP", "Flask()", ""),
        ("A", "kind", "@Kind", ""),
        ("A.__init__", "s", "@Session", ""),
        ("A", "s", "s", "A.__init__"),
        ("A.__init__", "o", "opened()>", ""),
        ("A.__init__", "n", "make()", ""),
    ]


def test_returns_are_the_annotation_or_what_is_seen_to_be_returned() -> None:
    assert of(RETURNS, "def f() -> 'Session':\n    return other()\n") == [(1, "f", "@'Session'")]
    assert of(RETURNS, "def f():\n    if x:\n        return A()\n    return B()\n") == [
        (3, "f", "A()"),
        (4, "f", "B()"),
    ]
    assert of(RETURNS, "def f():\n    yield A()\n") == [(2, "f", "A()")]


def test_a_long_annotated_keeps_its_first_argument() -> None:
    text = f"def f(x: Annotated[Session, Doc('{'long ' * 100}')]): pass\n"
    assert of(BINDS, text) == [(1, "f", "@Annotated[Session]")]


@pytest.mark.parametrize(
    "body",
    [
        "for run in jobs:\n        run()",
        "run, other = jobs\n    run()",
        "(other, [run, *rest]) = jobs\n    run()",
        "run = jobs[0] + jobs[1]\n    run()",
        "with jobs as (run, other):\n        run()",
        "match jobs:\n        case [run, *_]:\n            run()",
        "return [run() for run in jobs]",
        "return {run(): 1 for other in jobs for run in other}",
        "return lambda run: run()",
        "return lambda *run: run()",
    ],
)
def test_a_name_given_by_the_code_around_is_not_the_one_of_the_module(body: str) -> None:
    found = facts(f"def run(): pass\ndef f(jobs):\n    {body}\n")
    calls = [fact for fact in found if fact.relation == CALLS]
    hidden = any(fact.relation == BINDS and (fact.scope, fact.name) == ("f", "run") for fact in found)
    assert not calls or hidden


def test_a_name_longer_than_any_person_writes_is_left_out() -> None:
    long = "a" * 10_000
    text = f"def {long}(): {long}()\nclass X({long}): pass\nimport {long}\nx.{long} = y.{long}\n"
    assert all(len(part) <= 300 for fact in facts(text) for part in (fact.name, fact.expr, fact.scope))


def test_of_a_chain_that_is_too_long_the_end_is_kept() -> None:
    assert of(CALLS, f"{'a.' * 200}last()\n") == [(1, "", "?" + ".a" * 12 + ".last")]


# other languages

PROGRAMS = {
    "javascript": (
        "import { a } from './b.js';\nclass C extends D {\n  m() { return this.n(x).o(); }\n}\nnew C();\n",
        ["imports 1 ./b.js", "imports 1 a", "inherits 2 D", "calls 3 this.n().o", "calls 3 this.n", "calls 5 C"],
    ),
    "typescript": (
        "import type { A } from './b';\nclass C<T> extends D<T> implements E, F.G<T> {\n"
        "  m(): T { return f<T>(1); }\n}\n",
        ["imports 1 ./b", "imports 1 A", "inherits 2 D", "inherits 2 E", "inherits 2 F.G", "calls 3 f"],
    ),
    "tsx": ("const A = () => <B.C x={f()}><D /></B.C>;\n", ["calls 1 B.C", "calls 1 D", "calls 1 f"]),
    "go": (
        'package p\nimport "x.org/a/b"\ntype C struct {\n\tb.D\n\tE int\n}\nfunc (c *C) M() { b.F(c.g()) }\n',
        ["imports 2 x.org/a/b", "inherits 4 b.D", "calls 7 b.F", "calls 7 c.g"],
    ),
    "rust": (
        "mod m;\nuse crate::a::{b, c as d};\nimpl<T> fmt::Display for E<T> {\n"
        "    fn f(&self) { self.g().h(); E::new(); p!(1); }\n}\n",
        [
            "imports 1 m", "imports 2 crate::a::b", "imports 2 crate::a::c", "inherits 3 fmt.Display",
            "calls 4 self.g().h", "calls 4 self.g", "calls 4 E.new", "calls 4 p",
        ],
    ),
    "java": (
        "import a.b.C;\nclass D extends E<F> implements G, H<I> {\n  void m() { new J<K>().n(); this.o(); }\n}\n",
        [
            "imports 1 a.b.C", "inherits 2 E", "inherits 2 G", "inherits 2 H",
            "calls 3 J", "calls 3 J().n", "calls 3 this.o",
        ],
    ),
    "c": ('#include "a.h"\n#include <stdio.h>\nint f(void) { return g(s->h(1)); }\n',
          ["imports 1 a.h", "imports 2 stdio.h", "calls 3 g", "calls 3 s.h"]),
    "cpp": ('#include "a.hpp"\nclass C : public n::D<int>, private E {\n  int m() { return n::f<int>(1); }\n};\n',
            ["imports 1 a.hpp", "inherits 2 n.D", "inherits 2 E", "calls 3 n.f"]),
    "csharp": ("using A.B;\nclass C : D<int>, E {\n  void M() { this.N(); new F<G>(); x?.O(); }\n}\n",
               ["imports 1 A.B", "inherits 2 D", "inherits 2 E", "calls 3 this.N", "calls 3 F"]),
    "ruby": ("require_relative 'a/b'\nclass C < D::E\n  include F\n  def m\n    g(1).h\n  end\nend\n",
             ["imports 1 a/b", "inherits 2 D.E", "inherits 3 F", "calls 5 g().h", "calls 5 g"]),
    "php": (
        "<?php\nuse A\\B;\nrequire_once __DIR__ . '/c.php';\nclass C extends D implements E {\n  use F;\n"
        "  function m() { $this->g(); H::i(); new J(); k(); }\n}\n",
        [
            "imports 2 A\\B", "imports 3 c.php", "inherits 4 D", "inherits 4 E", "inherits 5 F",
            "calls 6 this.g", "calls 6 H.i", "calls 6 J", "calls 6 k",
        ],
    ),
    "kotlin": ("import a.b.C\nclass D : E(1), F {\n  fun m() { g(1).h() }\n}\n",
               ["imports 1 a.b.C", "inherits 2 E", "inherits 2 F", "calls 3 g().h", "calls 3 g"]),
    "swift": ("import A\nclass B: C, D {\n  func m() { self.e().f() }\n}\n",
              ["imports 1 A", "inherits 2 C", "inherits 2 D", "calls 3 self.e().f", "calls 3 self.e"]),
    "bash": ("source lib/a.sh\nf() {\n  g x | h\n}\n", ["imports 1 lib/a.sh", "calls 3 g", "calls 3 h"]),
}  # fmt: skip


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_program_states_its_imports_bases_and_calls(language: str) -> None:
    text, expected = PROGRAMS[language]
    found = {f"{fact.relation} {fact.line} {fact.expr}" for fact in facts(text, language)}
    assert set(expected) <= found


def test_every_language_with_a_grammar_is_read() -> None:
    assert set(PROGRAMS) | {"python"} == set(GRAMMARS)


def test_a_long_receiver_does_not_hide_the_name_that_is_called() -> None:
    text = f"fetch({'1, ' * 2000}2).then(done)\n"
    assert "then" in {fact.name for fact in facts(text, "javascript") if fact.relation == CALLS}


def test_prose_mentions_what_it_puts_in_backquotes() -> None:
    text = "# T\n\nUse `Session.get()` and `get`, not ``raw`` words.\n"
    assert [(fact.line, fact.expr) for fact in facts(text, "markdown") if fact.relation == DOCUMENTS] == [
        (3, "Session.get"),
        (3, "get"),
        (3, "raw"),
    ]


# any input

SAMPLE = """@app.route("/", methods=[GET, POST])
async def view(request: Request, *, limit: int = settings.LIMIT) -> Response | None:
    with open(request.path) as file, lock:
        body = [line.strip() for line in file if keep(line)]
    try:
        return Response(body[0], status=Status.OK, headers={"a": header})
    except (ValueError, errors.Missing) as error:
        raise Problem(error) from error


class Items(Base[Item], Mixin, metaclass=Meta):
    item: "Item" = None

    @property
    def first(self) -> Annotated[Item, Doc("the first")]:
        self.seen, other = self.items[0], lambda x, *y: x(y)
        return (found := self.find()) or super().first
"""


@pytest.mark.parametrize(
    "text", ["f:\nif():", "f: ", "a.", "f(a.)", "raise", "@\ndef f(): ...", "import", "from . import"]
)
def test_a_name_that_is_missing_is_no_error(text: str) -> None:
    assert "" not in [fact.expr for fact in facts(text) if fact.relation in (REFERENCES, CALLS, INHERITS)]


def broken(text: str, pick: random.Random) -> str:
    """The text with a few characters gone, put in, doubled or moved."""
    for _ in range(pick.randrange(1, 8)):
        at, n = pick.randrange(len(text) + 1), pick.randrange(1, 20)
        pieces = ("", pick.choice('()[]{}:"\\\n@.,*= \0é') * pick.randrange(1, 4), text[at : at + n] * 2)
        text = text[:at] + pick.choice(pieces) + text[at + n * pick.randrange(2) :]
    return text


@pytest.mark.parametrize("seed", range(6))
def test_code_that_is_being_written_is_read_without_an_error(seed: int) -> None:
    pick = random.Random(seed)
    for _ in range(60):
        text = broken(SAMPLE, pick)
        assert all(1 <= fact.line <= fact.end_line <= text.count("\n") + 1 for fact in facts(text))


DEEP = {
    "calls": "f(" * 5_000 + ")" * 5_000,
    "attributes": "a" + ".b" * 5_000 + "()",
    "chains": "a" + ".b()" * 2_000,
    "calls of calls": "a" + "()" * 5_000,
    "items": "a" + "[0]" * 5_000 + "()",
    "parentheses": "(" * 5_000 + "a" + ")" * 5_000 + "()",
    "lambdas": "lambda x: " * 2_000 + "x",
    "comprehensions": "[" * 500 + "x" + " for x in y]" * 500,
    "assignments": "a = " * 5_000 + "b",
    "targets": "(" * 2_000 + "a" + ",)" * 2_000 + " = b",
    "or": "x = " + "a or " * 20_000 + "b",
    "conditions": "x = " + "a if b else " * 5_000 + "c",
    "definitions": "".join(f"{' ' * n}def f{n}():\n" for n in range(300)) + " " * 300 + "pass",
    "decorators": "@d\n" * 5_000 + "def f(): pass",
    "one line": "f(x);" * 20_000,
}


@pytest.mark.parametrize("shape", DEEP)
def test_deep_and_long_code_is_read_to_its_end(shape: str) -> None:
    assert all(fact.line >= 1 for fact in facts(f"def first(): pass\n{DEEP[shape]}\n"))


@pytest.mark.parametrize("language", [name for name in GRAMMARS if name != "python"])
def test_deep_code_of_every_language_is_read_to_its_end(language: str) -> None:
    for text in (
        "a" + ".b()" * 500 + ";",
        "(" * 300 + "a" + ")()" * 300 + ";",
        "a.b(" * 300 + "x" + ").c()" * 300 + ";",
    ):
        facts(text, language)


TOKENS = st.sampled_from(
    "def class import from as with for in if else return yield lambda async await match case : ( ) [ ] { } , . * ** @ ="
    ' := -> self cls super f g X Y \'a\' """ # \\ \n \n\n    \t ; 1 ~ é \x00 \ufeff struct fn impl use func $x <?php =>'
    " :: < > & ! ? ` new extends implements".split(" ")
)


@settings(max_examples=120, deadline=None)
@given(st.lists(TOKENS, max_size=60), st.sampled_from(sorted(GRAMMARS)))
def test_broken_code_is_read_without_an_error(tokens: list[str], language: str) -> None:
    text = " ".join(tokens)
    n_lines = text.count("\n") + 1
    for fact in facts(text, language):
        assert 1 <= fact.line <= fact.end_line <= n_lines


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200), st.sampled_from(sorted(GRAMMARS)))
def test_any_text_is_read_without_an_error(text: str, language: str) -> None:
    facts(text, language)
