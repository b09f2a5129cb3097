"""Imports point left only, are absolute, and never take the folders' bare names; the wheel forgets no folder."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("selfroute", "models", "memory", "backends", "router")
SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
IDS = [path.relative_to(ROOT).as_posix() for path in SOURCES]

# Packages that cost time or memory to load -> where they may be loaded with the file; elsewhere only inside functions.
HEAVY = {
    "torch": ("models/training/", "models/kv/", "models/paged/"),
    "transformers": ("models/kv/",),
    "sentence_transformers": (),
    "tokenizers": (),
    "networkx": (),
    "faiss": ("memory/vectors.py",),
    "rich": (),
    "langchain_core": ("router/langchain/",),
    "langchain_openai": (),
    "openai": (),
    "huggingface_hub": (),
    "pydantic": ("router/langchain/",),
    "tree_sitter": ("memory/chunking/", "memory/graph/python.py", "memory/graph/others.py"),
    "typer": ("router/cli", "router/options.py"),
    "pyarrow": (),
    "ray": (),
    "sklearn": (),
    "safetensors": ("models/",),
    "onnx": (),
    "onnxruntime": (),
}


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(module, line) of every absolute import, `from a import b` as a.b; a relative one as "."."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield ".", node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def loaded_with_the_file(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the file is imported: not those in functions, not those for type checkers only."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from loaded_with_the_file(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            for part in ("body", "orelse", "finalbody"):
                yield from loaded_with_the_file(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from loaded_with_the_file(handler.body)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def layer_of(module: str) -> str:
    """`memory` for selfroute.memory.x, `selfroute` for the ground floor."""
    second = module.split(".")[1] if "." in module else ""
    return second if second in LAYERS else "selfroute"


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_imports_point_left_and_are_absolute(path: Path) -> None:
    own = LAYERS.index(path.relative_to(ROOT).parts[0])
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = []
    for module, line in imports(tree):
        top = module.partition(".")[0]
        if module == "." or top in LAYERS[1:]:
            wrong.append(f"{line}: {module}: write selfroute.{module}")
        elif top == "selfroute" and LAYERS.index(layer_of(module)) > own and not is_lazy_face(path, module):
            wrong.append(f"{line}: {module} is to the right of {LAYERS[own]}")
    assert wrong == []


def is_lazy_face(path: Path, module: str) -> bool:
    """The face names SelfRouter for type checkers, and loads it when it is asked for."""
    return path == ROOT / "selfroute" / "__init__.py" and module == "selfroute.router.router.SelfRouter"


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_heavy_packages_are_imported_where_they_are_needed(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = [
        f"{line}: {module}"
        for statement in loaded_with_the_file(tree.body)
        for module, line in imports(statement)
        for heavy, allowed in HEAVY.items()
        if (module + ".").startswith((heavy + ".", heavy + "_")) and not name.startswith(tuple(allowed) or ("-",))
    ]
    assert wrong == []


def test_the_ground_floor_needs_only_the_standard_library() -> None:
    for path in (ROOT / "selfroute").glob("*.py"):
        for statement in loaded_with_the_file(ast.parse(path.read_text(encoding="utf-8")).body):
            tops = {module.partition(".")[0] for module, _ in imports(statement)}
            assert tops <= {"selfroute", *sys.stdlib_module_names}, path.name


def test_no_import_cycle() -> None:
    modules = {"selfroute." + ".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in SOURCES}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = set()
        for statement in loaded_with_the_file(ast.parse(path.read_text(encoding="utf-8")).body):
            for module, _ in imports(statement):
                full = (
                    module if layer_of(module) != "selfroute" else module.replace("selfroute.", "selfroute.selfroute.")
                )
                found |= {known for known in (full, full.rpartition(".")[0]) if known in modules and known != name}
        graph[name] = found
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_wheel_holds_every_folder_with_an_init() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT).parts for path in SOURCES if path.name == "__init__.py"}
    expected = sorted(".".join(parts if parts[0] == "selfroute" else ("selfroute", *parts)) for parts in folders)
    assert listed == expected
    assert {path.parent for path in SOURCES} == {ROOT.joinpath(*parts) for parts in folders}


def test_the_bare_names_of_the_folders_are_never_loaded() -> None:
    import selfroute.router.build  # noqa: F401 (loads all layers)

    assert [name for name in LAYERS[1:] if name in sys.modules] == []
