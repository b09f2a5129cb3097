"""What the graph answers to each relation, with the lines that show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from selfroute.memory.graph.nodes import BY_NAME, POSSIBLE
from selfroute.memory.index import Index
from selfroute.models.hashing import HashingEmbedder

EMBEDDER = HashingEmbedder(16)
Opened = Callable[[Mapping[str, str]], Index]

SHOP = {
    "shop/__init__.py": "from .models import Item\n",
    "shop/models.py": (
        "import json\n"
        "from typing import Generic, TypeVar\n"
        "T = TypeVar('T')\n"
        "class Model:\n"
        "    def save(self):\n"
        "        return json.dumps(self.dump())\n"
        "    def dump(self):\n"
        "        raise ValueError('no')\n"
        "class Box(Model, Generic[T]):\n"
        "    def dump(self):\n"
        "        return {}\n"
        "class Item(Box[int]):\n"
        "    SIZE = 3\n"
        "    def dump(self):\n"
        "        return super().dump()\n"
        "class Wrong(ValueError):\n"
        "    pass\n"
    ),
    "shop/cart.py": (
        "from shop import Item\n"
        "from .models import Model, Wrong\n"
        "def checkout(item: Item, log=print):\n"
        "    item.save()\n"
        "    store(item)\n"
        "def store(model: Model):\n"
        "    model.save()\n"
        "    if not model:\n"
        "        raise Wrong()\n"
        "HANDLERS = {'checkout': checkout}\n"
        "def lonely():\n"
        "    pass\n"
    ),
    "tests/test_cart.py": "from shop.cart import checkout\ndef test_checkout():\n    checkout(None)\n",
    "README.md": "# Shop\n\nCall `checkout` with an `Item`.\n",
}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens an index of files that are written first."""
    indexes: list[Index] = []

    def write(files: Mapping[str, str]) -> Index:
        root = tmp_path / f"corpus_{len(indexes)}"
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        indexes.append(Index.open(root, directory=tmp_path / f"index_{len(indexes)}", embedder=EMBEDDER))
        return indexes[-1]

    yield write
    for index in indexes:
        index.close()


def told(index: Index, question: str) -> list[str]:
    """`path:line` of what the graph answers, in its order."""
    found = index.related(question)
    assert found is not None, question
    return [f"{edge.path}:{edge.line}" for edge in found.edges]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Who calls Model.save?", ["shop/cart.py:4", "shop/cart.py:7"]),
        ("Who calls checkout?", ["tests/test_cart.py:3", "shop/cart.py:10"]),
        ("Who calls `store`?", ["shop/cart.py:5"]),
        ("Who calls Wrong?", ["shop/cart.py:9"]),
        ("Who calls lonely?", []),
        ("Who calls `json.dumps`?", ["shop/models.py:6"]),
        ("Where is ValueError raised?", ["shop/models.py:8"]),
        ("What does checkout call?", ["shop/cart.py:4", "shop/cart.py:5"]),
        ("What does Item.dump call?", ["shop/models.py:15"]),
        ("What does lonely call?", []),
        ("Which classes inherit from Model?", ["shop/models.py:9"]),
        ("Which classes inherit from Box?", ["shop/models.py:12"]),
        ("Which classes inherit from ValueError?", ["shop/models.py:16"]),
        ("Which classes inherit from Generic?", ["shop/models.py:9"]),
        ("Which classes inherit from Item?", []),
        ("What does Box inherit from?", ["shop/models.py:9", "shop/models.py:9"]),
        ("What are the base classes of Item?", ["shop/models.py:12"]),
        ("Who overrides Model.dump?", ["shop/models.py:10", "shop/models.py:14"]),
        ("Who overrides Model.save?", []),
        ("What methods does Model have?", ["shop/models.py:5", "shop/models.py:7"]),
        ("Who imports Item?", ["shop/__init__.py:1", "shop/cart.py:1"]),
        ("Who imports Model?", ["shop/cart.py:2"]),
        ("Which files import shop.models?", ["shop/__init__.py:1", "shop/cart.py:2"]),
        ("Which files import shop/cart.py?", ["tests/test_cart.py:1"]),
        ("Which files import json?", ["shop/models.py:1"]),
        ("What does shop/cart.py import?", ["shop/cart.py:1", "shop/cart.py:2"]),
        ("How does checkout reach Model.dump?", ["shop/cart.py:4", "shop/models.py:6"]),
        ("How does test_checkout reach store?", ["tests/test_cart.py:3", "shop/cart.py:5"]),
        ("How does store reach checkout?", []),
        ("What breaks if I change Box.dump?", ["shop/models.py:14", "shop/models.py:15", "shop/models.py:6"]),
    ],
)
def test_a_question_is_answered_by_its_lines(opened: Opened, question: str, expected: list[str]) -> None:
    assert sorted(told(opened(SHOP), question)) == sorted(expected)


def test_sources_come_before_tests_of_the_same_certainty(opened: Opened) -> None:
    files = {"tests/test_a.py": "from z import load\nload()\n", "z.py": "def load(): ...\nload()\n"}
    assert told(opened(files), "Who calls load?") == ["z.py:2", "tests/test_a.py:2"]


def test_a_change_is_noticed_by_callers_importers_subclasses_and_overrides(opened: Opened) -> None:
    index = opened(SHOP)
    assert set(told(index, "What breaks if I change Model?")) == {
        "shop/models.py:9",
        "shop/cart.py:2",
        "shop/cart.py:6",
    }
    assert {"tests/test_cart.py:1", "tests/test_cart.py:3", "shop/cart.py:10"} <= set(
        told(index, "What is affected if I rename checkout?")
    )


def test_what_cannot_be_told_is_known_by_name_and_says_so(opened: Opened) -> None:
    files = {
        "a.py": "class Session:\n    def fetch(self): ...\nclass Cache:\n    def fetch(self): ...\n"
        "class Only:\n    def alone(self): ...\n",
        "b.py": "def f(x, session):\n    x.fetch()\n    session.fetch()\n    x.alone()\n",
    }
    index = opened(files)

    def certainty(question: str) -> dict[int, float]:
        found = index.related(question)
        assert found is not None
        return {edge.line: edge.certainty for edge in found.edges}

    assert certainty("Who calls Session.fetch?") == {3: POSSIBLE, 2: BY_NAME}
    assert certainty("Who calls Cache.fetch?") == {2: BY_NAME, 3: BY_NAME}
    assert certainty("Who calls Only.alone?") == {4: POSSIBLE}


def test_a_call_of_a_base_may_reach_what_overrides_it(opened: Opened) -> None:
    found = opened(SHOP).related("Who calls Item.dump?")
    assert found is not None
    assert {(edge.line, edge.certainty) for edge in found.edges} >= {(6, POSSIBLE)}


def test_a_function_that_calls_itself_is_its_own_caller(opened: Opened) -> None:
    index = opened({"a.py": "def walk(n):\n    return walk(n - 1)\n"})
    assert told(index, "Who calls walk?") == ["a.py:2"]
    assert told(index, "What does walk call?") == ["a.py:2"]


def test_of_two_things_of_one_name_the_one_that_is_asked_about_is_told(opened: Opened) -> None:
    files = {
        "a/one.py": "class Session:\n    def send(self): ...\n",
        "a/two.py": "class Socket:\n    def send(self): ...\n",
        "b.py": "from a.one import Session\nfrom a.two import Socket\nSession().send()\nSocket().send()\n",
    }
    index = opened(files)
    assert told(index, "Who calls Session.send?") == ["b.py:3"]
    assert told(index, "Who calls the send method of Socket?") == ["b.py:4"]
    assert told(index, "Who calls send in a/two.py?") == ["b.py:4"]
    assert told(index, "Who calls `send`?") == ["b.py:3", "b.py:4"]
    assert told(index, "Who calls one.Session?") == ["b.py:3"]


def test_making_an_instance_calls_its_init(opened: Opened) -> None:
    index = opened({"a.py": "class Session:\n    def __init__(self): ...\nSession()\n"})
    assert told(index, "Who calls Session.__init__?") == ["a.py:3"]
    assert told(index, "Where is Session instantiated?") == ["a.py:3"]


def test_a_way_that_leads_back_through_a_class_comes_to_an_end(opened: Opened) -> None:
    text = (
        "class Engine:\n    def start(self):\n        spin(self)\n"
        "def spin(engine: Engine):\n    engine.start()\n    land()\ndef land(): ...\n"
    )
    assert told(opened({"a.py": text}), "How does Engine reach land?") == ["a.py:3", "a.py:6"]


def test_a_way_to_what_is_not_known_is_no_answer(opened: Opened) -> None:
    assert opened(SHOP).related("How does `checkout` reach `nowhere`?") is None


def test_twenty_thousand_calls_of_one_name_are_counted_up_to_a_bound(opened: Opened) -> None:
    text = "def one_name(): ...\ndef caller():\n" + "    one_name()\n" * 20_000
    found = opened({"a.py": text}).related("Who calls one_name?")
    assert found is not None
    assert 1_000 <= len(found.edges) <= 20_000


# other languages

LANGUAGES: dict[str, tuple[dict[str, str], dict[str, list[str]]]] = {
    "javascript": (
        {
            "lib/store.js": "export class Base {\n  load() { return this.read(); }\n  read() { return 1; }\n}\n"
            "export function openStore() {\n  return new Base();\n}\n",
            "app.js": "import { Base, openStore } from './lib/store.js';\nconst s = require('./lib/store');\n"
            "class Child extends Base {\n  run() { return openStore().load(); }\n}\nconst go = () => openStore();\n",
            "other/lib/store.js": "export const x = 1;\n",
        },
        {
            "Who calls openStore?": ["app.js:4", "app.js:6"],
            "Who calls `load`?": ["app.js:4"],
            "Who calls Base.read?": ["lib/store.js:2"],
            "Where is Base constructed?": ["lib/store.js:6"],
            "What inherits from Base?": ["app.js:3"],
            "Which files import lib/store.js?": ["app.js:1", "app.js:2"],
            "Who imports openStore?": ["app.js:1"],
            "What does Child.run call?": ["app.js:4", "app.js:4"],
        },
    ),
    "typescript": (
        {
            "lib/store.ts": "export interface Loader<T> {\n  load(): T;\n}\n"
            "export abstract class Base<T> implements Loader<T> {\n  load(): T { return this.read(); }\n"
            "  read(): T { return null; }\n}\nexport const openStore = (p: string) => new Base<string>();\n",
            "app.ts": "import { Base, openStore } from './lib/store';\nimport type { Loader } from \"./lib/store\";\n"
            "class Child extends Base<string> implements Loader<string> {\n"
            "  run() { return openStore('x').load(); }\n}\n"
            "interface More extends Loader<number> {}\n",
        },
        {
            "Who calls openStore?": ["app.ts:4"],
            "What extends Base?": ["app.ts:3"],
            "What implements Loader?": ["app.ts:3", "app.ts:6", "lib/store.ts:4"],
            "Which files import lib/store.ts?": ["app.ts:1", "app.ts:2"],
        },
    ),
    "tsx": (
        {
            "ui/Button.tsx": "import React from 'react';\nexport function Button(p: Props) {\n"
            "  return <b>{label(p)}</b>;\n}\nexport const label = (p: Props) => p.text;\n",
            "App.tsx": "import { Button } from './ui/Button';\nclass App extends React.Component<Props> {\n"
            '  render() {\n    return <div><Button text="x" /></div>;\n  }\n}\n',
        },
        {
            "Who uses Button?": ["App.tsx:4"],
            "Who calls `label`?": ["ui/Button.tsx:3"],
            "Which files import ui/Button.tsx?": ["App.tsx:1"],
            "What extends React.Component?": ["App.tsx:2"],
        },
    ),
    "go": (
        {
            "store/base.go": "package store\n\ntype Base struct{ n int }\n\n"
            "func (b *Base) Load() int { return b.read() }\n\nfunc (b *Base) read() int { return b.n }\n\n"
            "func OpenStore(path string) *Base { return &Base{} }\n",
            "main.go": 'package main\n\nimport (\n\t"fmt"\n\t"example.com/app/store"\n)\n\ntype Child struct {\n'
            '\tstore.Base\n\tx int\n}\n\nfunc main() {\n\ts := store.OpenStore("x")\n\tfmt.Println(s.Load())\n}\n',
        },
        {
            "Who calls OpenStore?": ["main.go:14"],
            "Who calls Base.Load?": ["main.go:15"],
            "What embeds Base?": ["main.go:9"],
            "Which files import store/base.go?": ["main.go:5"],
            "Which files import the package store?": ["main.go:5"],
            "What does `main` call?": ["main.go:14", "main.go:15"],
        },
    ),
    "rust": (
        {
            "src/store.rs": "pub trait Loader {\n    fn load_all(&self) -> i32;\n}\npub struct Base { n: i32 }\n"
            "impl Base {\n    pub fn open_it(path: &str) -> Base { Base { n: 1 } }\n"
            "    fn read_it(&self) -> i32 { self.n }\n}\nimpl Loader for Base {\n"
            "    fn load_all(&self) -> i32 { self.read_it() }\n}\n",
            "src/main.rs": "mod store;\nuse crate::store::{Base, Loader};\n\nfn main() {\n"
            '    let b = Base::open_it("x");\n    let n = b.read_it();\n}\n',
        },
        {
            "Who calls Base::open_it?": ["src/main.rs:5"],
            "Who calls read_it?": ["src/main.rs:6", "src/store.rs:10"],
            "What implements Loader?": ["src/store.rs:9"],
            "Who imports Base?": ["src/main.rs:2"],
            "Which files import src/store.rs?": ["src/main.rs:1", "src/main.rs:2"],
        },
    ),
    "java": (
        {
            "com/acme/Base.java": "package com.acme;\n\npublic class Base<T> implements Loader<T> {\n"
            "    public T load() { return read(); }\n    protected T read() { return null; }\n"
            "    public static Base open(String p) { return new Base<String>(); }\n}\n",
            "com/app/Child.java": "package com.app;\n\nimport com.acme.Base;\nimport java.util.List;\n\n"
            "public class Child extends Base<String> implements Runnable {\n    public void run() {\n"
            '        Base.open("x").load();\n        super.read();\n        this.help();\n'
            "    }\n    void help() {}\n}\n",
        },
        {
            "Who calls Base.open?": ["com/app/Child.java:8"],
            "Who calls Base.load?": ["com/app/Child.java:8"],
            "Who calls Child.help?": ["com/app/Child.java:10"],
            "What extends Base?": ["com/app/Child.java:6"],
            "What implements Runnable?": ["com/app/Child.java:6"],
            "Who imports Base?": ["com/app/Child.java:3"],
            "Which files import com/acme/Base.java?": ["com/app/Child.java:3"],
        },
    ),
    "c": (
        {
            "store.h": "struct base { int n; };\nint store_open(const char *path);\n",
            "store.c": '#include "store.h"\n#include <stdio.h>\nstatic int helper_one(int x) { return x; }\n'
            "int store_open(const char *path) {\n    return helper_one(1);\n}\n",
            "main.c": '#include "store.h"\nint main(void) {\n    printf("%d", store_open("x"));\n    return 0;\n}\n',
        },
        {
            "Who calls store_open?": ["main.c:3"],
            "Who calls helper_one?": ["store.c:5"],
            "Which files include store.h?": ["main.c:1", "store.c:1"],
        },
    ),
    "cpp": (
        {
            "store.hpp": "namespace app {\ntemplate <class T> class Base {\n public:\n"
            "  virtual int load() { return this->read(); }\n  int read() { return 1; }\n};\n}\n",
            "main.cpp": '#include "store.hpp"\n#include <vector>\nclass Child : public app::Base<int> {\n public:\n'
            "  int run() { return read(); }\n};\nint main() {\n  Child c;\n  return c.load();\n}\n",
        },
        {
            "Who calls Base.load?": ["main.cpp:9"],
            "Who calls Base.read?": ["main.cpp:5", "store.hpp:4"],
            "What inherits from Base?": ["main.cpp:3"],
            "Which files include store.hpp?": ["main.cpp:1"],
        },
    ),
    "csharp": (
        {
            "Store/Base.cs": "namespace Acme.Store {\n  public interface ILoader { int Load(); }\n"
            "  public class Base<T> : ILoader {\n    public int Load() { return this.Read(); }\n"
            "    public int Read() => 1;\n    public static Base<int> Open(string p) { return new Base<int>(); }\n"
            "  }\n}\n",
            "App/Child.cs": "using Acme.Store;\nnamespace App {\n  public class Child : Base<int>, IDisposable {\n"
            '    public void Run() {\n      var b = Base<int>.Open("x");\n      b?.Read();\n    }\n  }\n}\n',
        },
        {
            "Who calls Base.Open?": ["App/Child.cs:5"],
            "Who calls Base.Read?": ["App/Child.cs:6", "Store/Base.cs:4"],
            "What inherits from Base?": ["App/Child.cs:3"],
            "What implements ILoader?": ["Store/Base.cs:3"],
            "Which files import Acme.Store?": ["App/Child.cs:1"],
            "Which files import Store/Base.cs?": ["App/Child.cs:1"],
        },
    ),
    "ruby": (
        {
            "lib/store.rb": "module Acme\n  class Base\n    def self.open(path)\n      new(path)\n    end\n"
            "    def load_all\n      read_it(1)\n    end\n    def read_it(n) = n\n  end\nend\n",
            "app.rb": "require_relative 'lib/store'\nrequire 'json'\nclass Child < Acme::Base\n  include Comparable\n"
            "  def run\n    Acme::Base.open('x').load_all\n  end\nend\n",
        },
        {
            "Who calls Base.open?": ["app.rb:6"],
            "Who calls load_all?": ["app.rb:6"],
            "Who calls read_it?": ["lib/store.rb:7"],
            "What inherits from Base?": ["app.rb:3"],
            "Who extends Comparable?": ["app.rb:4"],
            "Which files require lib/store.rb?": ["app.rb:1"],
        },
    ),
    "php": (
        {
            "src/Base.php": "<?php\nnamespace Acme;\n\nabstract class Base implements Loader\n{\n"
            "    public function load() { return $this->read(); }\n"
            "    protected function read() { return helper_one(1); }\n"
            "    public static function open($p) { return new Child(); }\n}\nfunction helper_one($x) { return $x; }\n",
            "app/Child.php": "<?php\nnamespace App;\n\nuse Acme\\Base;\nrequire_once __DIR__ . '/../src/Base.php';\n\n"
            "class Child extends Base\n{\n    use Sharing;\n"
            "    public function run() { return Base::open('x')->load(); }\n}\n",
        },
        {
            "Who calls Base::open?": ["app/Child.php:10"],
            "Who calls Base.load?": ["app/Child.php:10"],
            "Who calls Base.read?": ["src/Base.php:6"],
            "Who calls helper_one?": ["src/Base.php:7"],
            "Where is Child constructed?": ["src/Base.php:8"],
            "What extends Base?": ["app/Child.php:7"],
            "What implements Loader?": ["src/Base.php:4"],
            "Who imports Base?": ["app/Child.php:4", "app/Child.php:5"],
            "Which files import src/Base.php?": ["app/Child.php:4", "app/Child.php:5"],
        },
    ),
    "kotlin": (
        {
            "store/Base.kt": "package acme.store\n\ninterface Loader { fun loadAll(): Int }\n\n"
            "open class Base(val n: Int) : Loader {\n    override fun loadAll(): Int = this.readIt()\n"
            "    open fun readIt(): Int = n\n}\n\nfun openStore(path: String): Base = Base(1)\n",
            "Main.kt": "import acme.store.Base\nimport acme.store.openStore\n\nclass Child : Base(2), Runnable {\n"
            '    override fun run() {\n        openStore("x").readIt()\n    }\n}\n',
        },
        {
            "Who calls openStore?": ["Main.kt:6"],
            "Who calls readIt?": ["Main.kt:6", "store/Base.kt:6"],
            "What inherits from Base?": ["Main.kt:4"],
            "What implements Loader?": ["store/Base.kt:5"],
            "Who imports openStore?": ["Main.kt:2"],
            "Which files import store/Base.kt?": ["Main.kt:1", "Main.kt:2"],
        },
    ),
    "swift": (
        {
            "Store/Base.swift": "protocol Loader {\n    func loadAll() -> Int\n}\nclass Base: Loader {\n"
            "    func loadAll() -> Int { return self.readIt() }\n    func readIt() -> Int { return 1 }\n}\n"
            "func openStore(_ path: String) -> Base { return Base() }\n",
            "App/Child.swift": "import Foundation\nimport Store\nclass Child: Base, Codable {\n    func run() {\n"
            '        openStore("x").readIt()\n    }\n}\nextension Child: Loader {}\n',
        },
        {
            "Who calls openStore?": ["App/Child.swift:5"],
            "Who calls readIt?": ["App/Child.swift:5", "Store/Base.swift:5"],
            "What inherits from Base?": ["App/Child.swift:3"],
            "What conforms to Loader?": ["App/Child.swift:8", "Store/Base.swift:4"],
            "Who imports Foundation?": ["App/Child.swift:1"],
            "Which files import Store/Base.swift?": ["App/Child.swift:2"],
        },
    ),
    "bash": (
        {
            "lib/store.sh": 'open_store() {\n  read_it "$1"\n}\nfunction read_it {\n  echo 1\n}\n',
            "run.sh": "#!/bin/bash\nsource lib/store.sh\n. ./lib/store.sh\nopen_store x | cat\nx=$(read_it y)\n",
        },
        {
            "Who calls open_store?": ["run.sh:4"],
            "Who calls read_it?": ["lib/store.sh:2", "run.sh:5"],
            "Which files source lib/store.sh?": ["run.sh:2", "run.sh:3"],
        },
    ),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_two_files_of_a_language_are_related(opened: Opened, language: str) -> None:
    files, expected = LANGUAGES[language]
    index = opened(files)
    assert {question: sorted(told(index, question)) for question in expected} == expected


@pytest.mark.parametrize(
    ("importer", "written", "imported"),
    [
        ("a/x.c", '#include "config.h"', "a/config.h"),
        ("b/x.c", '#include "config.h"', "b/config.h"),
        ("b/x.c", '#include "a/config.h"', "a/config.h"),
        ("b/x.c", '#include "../a/config.h"', "a/config.h"),
    ],
)
def test_of_several_files_of_a_name_the_nearest_is_included(
    opened: Opened, importer: str, written: str, imported: str
) -> None:
    files = {"a/config.h": "int a_one;\n", "b/config.h": "int b_one;\n", importer: f"{written}\nint x;\n"}
    index = opened(files)
    for path in ("a/config.h", "b/config.h"):
        assert told(index, f"Which files include {path}?") == ([f"{importer}:1"] if path == imported else [])


def test_a_call_means_the_function_of_the_file_that_is_imported(opened: Opened) -> None:
    files = {f"lib/{name}.js": "export function load() {}\n" for name in ("one", "two")}
    files["app.js"] = "import { load } from './lib/two';\nload();\n"
    index = opened(files)
    assert told(index, "Who calls load in lib/two.js?") == ["app.js:2"]
    assert told(index, "Who calls load in lib/one.js?") == []
