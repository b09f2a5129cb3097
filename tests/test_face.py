"""`import selfroute` is light, and everything that it promises is there."""

import subprocess
import sys

import selfroute

HEAVY = ("torch", "faiss", "numpy", "transformers", "langchain_core", "tree_sitter", "typer", "rich", "sqlite3")


def loaded_by(statement: str) -> set[str]:
    """The heavy modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_face_loads_nothing_heavy() -> None:
    assert loaded_by("import selfroute") == set()


def test_the_router_loads_no_model_library() -> None:
    assert loaded_by("from selfroute import SelfRouter") & {"torch", "transformers", "langchain_core", "faiss"} == set()


def test_the_command_line_loads_typer_alone() -> None:
    assert loaded_by("import selfroute.router.cli") <= {"typer"}


def test_all_names_are_sorted_and_importable() -> None:
    assert list(selfroute.__all__) == sorted(selfroute.__all__)
    assert [name for name in selfroute.__all__ if not hasattr(selfroute, name)] == []
    assert set(dir(selfroute)) == set(selfroute.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(selfroute, "SelfRoute")
