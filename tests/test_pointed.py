"""Questions that point by their spelling: options of a command line, and what a project's own files state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from selfroute.memory.index import Index
from selfroute.models.hashing import HashingEmbedder

FILLER = "".join(f"def run_{n}(dry, port):\n    return dry_run_port({n})\n\n\n" for n in range(40))
FILES = {
    "tool/cli.py": (
        "import argparse\n\n\ndef parser():\n    made = argparse.ArgumentParser()\n"
        "    made.add_argument('--dry-run', action='store_true', help='change nothing')\n"
        "    made.add_argument('--dry-runner', default='local')\n    return made\n"
    ),
    "tool/work.py": FILLER,
    "tool/more.py": FILLER.replace("run_", "port_"),
    "tests/test_cli.py": "def test_it():\n    assert main(['--dry-run']) == 0\n",
    "README.md": "# Tool\n\nIt runs dry: nothing runs but a dry run of the run.\n\nUse it with Python.\n",
    "pyproject.toml": (
        '[project]\nname = "tool"\nversion = "2.5"\nlicense = "MIT"\nrequires-python = ">=3.10"\n'
        'dependencies = ["left-pad>=1.2,<2"]\n\n[project.scripts]\ntool = "tool.cli:main"\n'
    ),
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    root = tmp_path_factory.mktemp("pointed") / "corpus"
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    with Index.open(root, directory=root.parent / "index", embedder=HashingEmbedder(16)) as opened:
        yield opened


def pointed(index: Index, question: str) -> list[str]:
    """Paths of the hits that the spelling led to."""
    return [hit.chunk.path for hit in index.search(question, top_k=10) if "spelling" in hit.via]


def test_an_option_leads_to_where_it_is_declared_then_to_tests(index: Index) -> None:
    assert pointed(index, "What does --dry-run do?") == ["tool/cli.py", "tests/test_cli.py"]
    assert pointed(index, "What does --dry-runner do?") == ["tool/cli.py"]  # not where only a part of it stands
    assert pointed(index, "What does --dry do?") == []


@pytest.mark.parametrize(
    "question",
    [
        "Which Python version does it need?",
        "what python is required",
        "How is left-pad pinned?",
        "Which version of left-pad does it depend on?",
        "What runs when I type tool?",
        "What is the licence of this package?",
    ],
)
def test_what_a_project_states_is_among_the_first_hits(index: Index, question: str) -> None:
    assert pointed(index, question) == ["pyproject.toml"]
    assert "pyproject.toml" in [hit.chunk.path for hit in index.search(question, top_k=3)]


@pytest.mark.parametrize(
    "question", ["Where is run_3 defined?", "parser", "How does port work?", "the -- of a rule", "--"]
)
def test_other_questions_point_nowhere(index: Index, question: str) -> None:
    assert pointed(index, question) == []


def test_scores_never_rise_along_the_hits(index: Index) -> None:
    for question in ("What does --dry-run do?", "Which Python version does it need?"):
        scores = [hit.score for hit in index.search(question, top_k=10)]
        assert scores == sorted(scores, reverse=True)
        assert len({hit.chunk.id for hit in index.search(question, top_k=10)}) == len(scores)
