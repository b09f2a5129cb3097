"""What names in Python files are found to mean, told by who calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from selfroute.memory.graph.nodes import CERTAIN
from selfroute.memory.index import Index
from selfroute.models.hashing import HashingEmbedder

EMBEDDER = HashingEmbedder(16)
OTHERS = "class Other:\n    def get(self): pass\nclass Another:\n    def get(self): pass\n"  # more things called get
Opened = Callable[[Mapping[str, str]], Index]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens an index of files that are written first."""
    indexes: list[Index] = []

    def write(files: Mapping[str, str]) -> Index:
        root = tmp_path / f"corpus_{len(indexes)}" / "work"
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        indexes.append(Index.open(root, directory=tmp_path / f"index_{len(indexes)}", embedder=EMBEDDER))
        return indexes[-1]

    yield write
    for index in indexes:
        index.close()


def certain(index: Index, question: str) -> list[str]:
    """`path:line` of the edges that are certain, in order of place."""
    found = index.related(question)
    assert found is not None, question
    return sorted(f"{edge.path}:{edge.line}" for edge in found.edges if edge.certainty == CERTAIN)


def callers(opened: Opened, name: str, text: str, **more: str) -> list[int]:
    """The lines of a.py that are certain to call a name."""
    files = {"a.py": text, "others.py": OTHERS} | {
        path.replace("__", "/") + ".py": other for path, other in more.items()
    }
    found = certain(opened(files), f"Who calls `{name}`?")
    return [int(place.partition(":")[2]) for place in found if place.startswith("a.py:")]


S = "class S:\n    def get(self): pass\n"  # two lines, so what follows begins on line 3


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("S().get()", 3),
        ("s = S()\ns.get()", 4),
        ("s = t = S()\nt.get()", 4),
        ("def f(s: S):\n    s.get()", 4),
        ("def f(s: 'S'):\n    s.get()", 4),
        ("def f(s: S | None):\n    s.get()", 4),
        ("def f(s: None | 'S' = None):\n    s.get()", 4),
        ("def f(s: Optional[S]):\n    s.get()", 4),
        ("def f(s: 'Optional[S]'):\n    s.get()", 4),
        ("def f(s: typing.Union[None, S]):\n    s.get()", 4),
        ("def f(s: Annotated[S, Doc('x')]):\n    s.get()", 4),
        ("def f(s: type[S]):\n    s().get()", 4),
        ("def f(s: Type['S']):\n    s.get(1)", 4),
        ("def f() -> S: ...\nf().get()", 4),
        ("async def f() -> S: ...\nasync def g():\n    (await f()).get()", 5),
        ("def f():\n    return S()\nf().get()", 5),
        ("def f(x):\n    if x:\n        return None\n    return S()\nf().get()", 7),
        ("def f(s=None):\n    s = s or S()\n    s.get()", 5),
        ("def f(x):\n    s = S() if x else None\n    s.get()", 5),
        ("def f():\n    if (s := S()):\n        s.get()", 5),
        ("def f():\n    s: S = make()\n    s.get()", 5),
        ("with S() as s:\n    s.get()", 4),
        ("def f():\n    def inner():\n        return S()\n    inner().get()", 6),
        ("def f():\n    s = S()\n    def inner():\n        s.get()", 6),
        ("def f():\n    s = S()\n    return [s.get() for x in y]", 5),
        ("def f():\n    s = S()\n    return lambda: s.get()", 5),
        ("T = S\nT().get()", 4),
        ("s = {'a': 1}.get('a')\nS.get(s)", 4),
        ("if x:\n    s = S()\nelse:\n    s = None\ns.get()", 7),
        ("try:\n    s = S()\nexcept E:\n    s = None\ns.get()", 7),
        ("class U(S):\n    def m(self):\n        self.get()", 5),
        ("class U(S):\n    def m(me):\n        me.get()", 5),
        ("class U(S):\n    def m(self):\n        super().get()", 5),
        ("class U(S):\n    def get(self):\n        super().get()", 5),
        ("class U(S):\n    @classmethod\n    def m(cls):\n        cls().get()", 6),
        ("class U(S):\n    @staticmethod\n    def m(s: S):\n        s.get()", 6),
        ("class U(S):\n    def m(self):\n        def inner():\n            self.get()", 6),
        ("class U(S, Generic[T]): pass\nU().get()", 4),
        ("class U(S[int]): pass\nU[int]().get()", 4),
        ("class U:\n    s = S()\n    def m(self):\n        self.s.get()", 6),
        ("class U:\n    s: S\n    def m(self):\n        self.s.get()", 6),
        ("class U:\n    def __init__(self):\n        self.s = S()\n    def m(self):\n        self.s.get()", 7),
        ("class U:\n    def __init__(self, s: S):\n        self.s = s\n    def m(self):\n        self.s.get()", 7),
        (
            "class U:\n    def __init__(self):\n        self.s: S | None = None\n"
            "    def m(self):\n        self.s.get()",
            7,
        ),
        (
            "class U:\n    def __init__(self, s: S):\n        self.s = s\nclass V(U):\n"
            "    def m(self):\n        self.s.get()",
            8,
        ),
        ("class U:\n    def __init__(self, s: S):\n        self.s = s\nU(1).s.get()", 6),
        ("class U:\n    @property\n    def s(self) -> S: ...\nU().s.get()", 6),
        (
            "class U:\n    @property\n    def s(self):\n        return S()\n    @s.setter\n"
            "    def s(self, x): ...\nU().s.get()",
            9,
        ),
        ("class U:\n    @functools.cached_property\n    def s(self) -> S: ...\nU().s.get()", 6),
        ("class U:\n    def __call__(self) -> S: ...\nu = U()\nu().get()", 6),
        ("class U:\n    class V(S): ...\n    v: V\n    def m(self):\n        self.v.get()", 7),
        ("class U:\n    def __enter__(self) -> S: ...\nwith U() as s:\n    s.get()", 6),
        ("@contextmanager\ndef f() -> Iterator[S]: ...\nwith f() as s:\n    s.get()", 6),
        ("@contextmanager\ndef f():\n    yield S()\nwith f() as s:\n    s.get()", 7),
        (
            "class U:\n    async def __aenter__(self) -> S: ...\nasync def f():\n"
            "    async with U() as s:\n        s.get()",
            7,
        ),
        ("class B:\n    def me(self) -> Self: ...\nclass U(S, B): ...\nU().me().get()", 6),
        ("class B:\n    def me(self):\n        return self\nclass U(S, B): ...\nU().me().me().get()", 7),
        ("class B:\n    @classmethod\n    def make(cls):\n        return cls()\nclass U(S, B): ...\nU.make().get()", 8),
        ("T = TypeVar('T')\nclass B:\n    def me(self: T) -> T: ...\nclass U(S, B): ...\nU().me().get()", 7),
        (
            "@overload\ndef f(x: int) -> None: ...\n@overload\ndef f(x: str) -> None: ...\n"
            "def f(x):\n    return S()\nf(1).get()",
            9,
        ),
        ("if x:\n    def f():\n        return S()\nelse:\n    def f():\n        return S()\nf().get()", 9),
        ("def f(x: Annotated[S, Doc('" + "long " * 100 + "')]):\n    x.get()", 4),
    ],
)
def test_a_method_is_known_by_what_it_is_called_on(opened: Opened, code: str, line: int) -> None:
    assert callers(opened, "S.get", f"{S}{code}\n") == [line]


@pytest.mark.parametrize(
    "code",
    [
        "def f(S):\n    S().get()",
        "def f(s):\n    s.get()",
        "def f(*, S=None):\n    S.get()",
        "for S in x:\n    pass\ndef f():\n    for S in x:\n        S().get()",
        "def f():\n    S, other = x\n    S.get()",
        "lambda S: S().get()",
        "[S.get() for S in x]",
        "{}.get(1)",
        "(x + y).get()",
        "import requests as S2\nS2.get()",
        "import os\nos.environ.get('a')",
        "class U(dict):\n    def m(self):\n        self.get(1)",
        "class U(Unknown):\n    def m(self):\n        self.get(1)",
        "def get(): ...\nget()",
        "class U:\n    def get(self): ...\n    def m(self):\n        self.get()",
        "class U(S):\n    def get(self): ...\nU().get()",
        "class U(S):\n    def get(self): ...\n    def m(self):\n        self.get()",
    ],
)
def test_a_method_is_not_certain_where_something_else_is_called(opened: Opened, code: str) -> None:
    assert callers(opened, "S.get", f"{S}{code}\n") == []


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("run()", [2]),
        ("def f(run):\n    run()", []),
        ("def f(run=None):\n    def inner():\n        run()", []),
        ("def f(*run):\n    run()", []),
        ("def f():\n    def run(): ...\n    run()", []),
        ("class A:\n    def run(self): ...\n    def m(self):\n        run()", [5]),
        ("class A:\n    run = None\n    def m(self):\n        run()", [5]),
        ("def f():\n    from elsewhere import run\n    run()", []),
        ("def f():\n    run = make()\n    run()", []),
        ("def f():\n    run = x[0] + 1\n    run()", []),
        ("def f():\n    with x as (run, y):\n        run()", []),
        ("def f():\n    try: ...\n    except E as run:\n        run()", []),
        ("def f():\n    global run\n    run()", [4]),
        ("@run()\ndef f(): ...", [2]),
        ("def f(x=run()): ...", [2]),
        ("[run() for x in y]", [2]),
        ("[run() for run in y]", []),
        ("[run() for x in run()]", [2]),
        ("print(run())", [2]),
        ("f'{run()}'", [2]),
        ("try:\n    run()\nfinally:\n    run()", [3, 5]),
    ],
)
def test_a_function_is_called_where_its_name_is_not_another_s(opened: Opened, code: str, lines: list[int]) -> None:
    files = {"a.py": f"def run(): ...\n{code}\n", "elsewhere.py": "def run(): ...\n"}
    index = opened(files)
    graph = index.from_graph(lambda graph: [edge for node in graph.find("a.run") for edge in graph.callers(node)])
    assert [edge.line for edge in graph if edge.certainty == CERTAIN and edge.path == "a.py"] == lines


# imports

PACKAGE = {
    "src/pkg/__init__.py": "from .core import make\nfrom .core import Thing as Renamed\n__all__ = ['make']\n",
    "src/pkg/core.py": "class Thing:\n    def go_on(self): ...\ndef make() -> Thing: ...\n",
    "src/pkg/sub/__init__.py": "",
}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("src/pkg/user.py", "from .core import make\nmake()"),
        ("src/pkg/user.py", "from . import core\ncore.make()"),
        ("src/pkg/user.py", "from . import make\nmake()"),
        ("src/pkg/user.py", "from .core import *\nmake()"),
        ("src/pkg/user.py", "from pkg import make as m\nm()"),
        ("src/pkg/sub/user.py", "from ..core import make\nmake()"),
        ("src/pkg/sub/user.py", "from .. import make\nmake()"),
        ("src/pkg/sub/user.py", "from .. import core as c\nc.make()"),
        ("tests/test_pkg.py", "import pkg\npkg.make()"),
        ("tests/test_pkg.py", "import pkg as p\np.make()"),
        ("tests/test_pkg.py", "import pkg.core\npkg.core.make()"),
        ("tests/test_pkg.py", "import pkg.core\npkg.make()"),
        ("tests/test_pkg.py", "import pkg.core as c\nc.make()"),
        ("tests/test_pkg.py", "from pkg import *\nmake()"),
        ("tests/test_pkg.py", "from pkg.core import make as m\nm()"),
        ("tests/test_pkg.py", "from src.pkg.core import make\nmake()"),
        ("script.py", "from pkg import core\ncore.make()"),
    ],
)
def test_a_function_is_called_however_it_was_imported(opened: Opened, path: str, code: str) -> None:
    index = opened(PACKAGE | {path: f"{code}\n"})
    assert certain(index, "Who calls make?") == [f"{path}:2"]


def test_a_class_that_a_package_gives_another_name_is_followed(opened: Opened) -> None:
    index = opened(PACKAGE | {"user.py": "from pkg import Renamed, make\nRenamed().go_on()\nmake().go_on()\n"})
    assert certain(index, "Who calls Thing.go_on?") == ["user.py:2", "user.py:3"]


def test_imports_are_followed_through_several_packages(opened: Opened) -> None:
    files = {
        "p/__init__.py": "from p.a import *\n",
        "p/a/__init__.py": "from .b import thing\n",
        "p/a/b.py": "from ..c import inner as thing\n",
        "p/c.py": "def inner(): ...\n",
        "use.py": "from p import thing\nthing()\n",
    }
    assert certain(opened(files), "Who calls inner?") == ["use.py:2"]


def test_a_script_imports_its_neighbour_rather_than_one_of_that_name(opened: Opened) -> None:
    files = {
        "a/utils.py": "def load(): ...\n",
        "a/run.py": "import utils\nutils.load()\n",
        "b/utils.py": "def load(): ...\n",
        "b/run.py": "from utils import load\nload()\n",
    }
    index = opened(files)
    for folder in "ab":
        assert certain(index, f"Who calls load in {folder}/utils.py?") == [f"{folder}/run.py:2"]
        assert certain(index, f"Who imports {folder}/utils.py?") == [f"{folder}/run.py:1"]


def test_relative_imports_need_no_init_file(opened: Opened) -> None:
    files = {"n/a.py": "def load(): ...\n", "n/b.py": "from .a import load\nload()\n", "a.py": "def load(): ...\n"}
    assert certain(opened(files), "Who calls load in n/a.py?") == ["n/b.py:2"]


def test_a_namespace_package_is_found_by_its_whole_name(opened: Opened) -> None:
    files = {
        "src/ns/pkg/__init__.py": "",
        "src/ns/pkg/m.py": "def load(): ...\n",
        "src/ns/bare.py": "def keep(): ...\n",
        "use.py": "from ns.pkg.m import load\nload()\nimport ns.bare\nns.bare.keep()\n",
    }
    index = opened(files)
    assert certain(index, "Who calls load?") == ["use.py:2"]
    assert certain(index, "Who calls keep?") == ["use.py:4"]


def test_a_root_that_is_a_package_is_known_by_its_own_name(opened: Opened) -> None:
    files = {
        "__init__.py": "from work.core import make\n",
        "core.py": "def make(): ...\n",
        "b.py": "import work\nwork.make()\n",
    }
    index = opened(files)
    assert certain(index, "Who calls make?") == ["b.py:2"]
    assert certain(index, "Who imports work.core?") == ["__init__.py:1"]


def test_a_package_whose_folders_lie_beside_it_is_known(opened: Opened) -> None:
    files = {
        "tool/__init__.py": "",
        "core/__init__.py": "",
        "core/parts.py": "def make(): ...\n",
        "b.py": "from tool.core.parts import make\nmake()\n",
    }
    assert certain(opened(files), "Who calls make?") == ["b.py:2"]


def test_a_relative_import_above_the_root_means_nothing(opened: Opened) -> None:
    files = {"core.py": "def make(): ...\n", "b.py": "from ...core import make\nmake()\n"}
    assert certain(opened(files), "Who calls make?") == []


def test_a_stub_gives_way_to_its_source(opened: Opened) -> None:
    files = {
        "p/__init__.py": "",
        "p/a.pyi": "def make() -> int: ...\n",
        "p/a.py": "def make(): ...\n",
        "b.py": "from p.a import make\nmake()\n",
    }
    assert certain(opened(files), "Who calls make in p/a.py?") == ["b.py:2"]


def test_a_stub_of_overloads_alone_defines_its_function(opened: Opened) -> None:
    stub = "@overload\ndef make(x: int) -> int: ...\n@overload\ndef make(x: str) -> str: ...\n"
    assert certain(opened({"a.pyi": stub, "b.py": "from a import make\nmake(1)\n"}), "Who calls make?") == ["b.py:2"]


def test_a_decorator_that_is_called_overload_something_is_no_overload(opened: Opened) -> None:
    text = "@app.overload_guard\ndef make(): ...\nmake()\n"
    assert certain(opened({"a.py": text}), "Who calls make?") == ["a.py:3"]


# circles and depth


def test_circles_of_imports_and_bases_come_to_an_end(opened: Opened) -> None:
    files = {
        "a.py": "from b import *\nfrom b import thing\nthing()\nnothing()\nclass A(B): ...\nA().m()\n",
        "b.py": "from c import *\nfrom a import thing\nclass B(C): ...\n",
        "c.py": "from a import *\nfrom b import thing\nclass C(A):\n    def m(self):\n        self.m()\n",
        "d.py": "class D(D): ...\nclass E(E.F): ...\nx = x\ny = z\nz = y\ny.m()\nx.m()\nD().m()\nE().m()\n",
    }
    index = opened(files)
    assert certain(index, "Who calls C.m?") == ["a.py:6", "c.py:5"]
    assert index.related("What inherits from D?") is not None


def test_values_that_are_made_of_each_other_come_to_an_end(opened: Opened) -> None:
    n = 24
    text = "".join(
        f"def f{i}(x):\n" + "".join(f"    if x: return f{(i + step) % n}(x)\n" for step in (1, 2, 5, 7))
        for i in range(n)
    )
    text += "def t(x):\n    x = x.y.get()\n    x = x.get().y\n    for x in x.get(): x.get()\n    return f0(1).get()\n"
    index = opened({"a.py": text, "s.py": S, "others.py": OTHERS})
    found = index.related("Who calls S.get?")
    assert found is not None
    assert len(found.edges) == 4  # lines


def test_files_that_all_import_each_other_with_stars_come_to_an_end(opened: Opened) -> None:
    n = 12
    files = {f"m{i}.py": "".join(f"from m{j} import *\n" for j in range(n) if j != i) for i in range(n)}
    index = opened(files | {"u.py": "from m0 import *\nmissing()\n", "d.py": "def missing(): ...\n"})
    assert certain(index, "Who calls missing?") == []


def test_an_import_through_hundreds_of_files_is_no_error(opened: Opened) -> None:
    files = {f"r{i}.py": f"from r{i + 1} import load_it\n" for i in range(300)} | {"r300.py": "def load_it(): ...\n"}
    index = opened(
        files | {"u.py": "from r0 import load_it\nload_it()\n", "v.py": "from r280 import load_it\nload_it()\n"}
    )
    assert certain(index, "Who calls load_it?") == ["v.py:2"]  # a chain that no person follows is given up


def test_deep_families_are_no_error(opened: Opened) -> None:
    text = "".join(f"class K{i}(K{i + 1}): ...\n" for i in range(300)) + "class K300:\n    def m(self): ...\n"
    index = opened({"a.py": text + "K290().m()\nK0().m()\n"})
    assert certain(index, "Who calls K300.m?") == ["a.py:303"]
    assert len(certain(index, "Which classes inherit from K300?")) == 1


@pytest.mark.parametrize(
    "annotation",
    [
        "'" * 50,
        "(" * 90,
        "'(('",
        "X[",
        "1 + 1",
        "lambda: 0",
        "'\\d'",
        "''",
        "X['" + "[" * 60 + "']",
        "*X",
        "x := 1",
        "🐍",
    ],
)
def test_an_annotation_that_is_none_is_no_error(opened: Opened, annotation: str) -> None:
    index = opened({"a.py": f"{S}def f(s: {annotation}) -> {annotation}:\n    s.get()\n", "others.py": OTHERS})
    assert index.related("Who calls S.get?") is not None


def test_the_cells_of_a_notebook_share_their_names(opened: Opened) -> None:
    notebook = (
        '{"nbformat": 4, "metadata": {}, "cells": ['
        '{"cell_type": "code", "source": ["from a import S\\n", "def load():\\n", "    return S()\\n"]},'
        '{"cell_type": "code", "source": "x = load()\\nx.get()\\n"},'
        '{"cell_type": "markdown", "source": "Here `load` is told of."}]}'
    )
    index = opened({"work/nb.ipynb": notebook, "work/a.py": S, "others.py": OTHERS})
    assert certain(index, "Who calls load?") == ["work/nb.ipynb#cell-2:1"]
    assert certain(index, "Who calls S.get?") == ["work/nb.ipynb#cell-2:2"]
    assert certain(index, "Who imports work/a.py?") == ["work/nb.ipynb#cell-1:1"]
