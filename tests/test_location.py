"""Where an index is kept, and what marks the folder as a cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfroute.errors import ConfigError, CorpusError
from selfroute.memory import location


def test_the_index_of_a_tree_is_in_the_tree(tmp_path: Path) -> None:
    assert location.locate(tmp_path) == tmp_path / ".selfroute"


def test_a_named_folder_is_used(tmp_path: Path) -> None:
    assert location.locate(tmp_path, tmp_path / "elsewhere") == tmp_path / "elsewhere"


def test_locating_makes_nothing(tmp_path: Path) -> None:
    location.locate(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_is_marked_as_a_cache(tmp_path: Path) -> None:
    folder = tmp_path / "a" / ".selfroute"
    location.prepare(folder)
    location.prepare(folder)
    assert (folder / ".gitignore").read_text() == "*\n"
    assert (folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


def test_a_folder_with_other_things_gets_no_gitignore(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    location.prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_index_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as raised:
        location.prepare(tmp_path / "file")
    assert raised.value.hint == "name another folder: --index-dir DIR"


def test_a_missing_root_is_a_clear_error(tmp_path: Path) -> None:
    for missing in (tmp_path / "none", "null\0byte", "~nobody-of-that-name/code"):
        with pytest.raises(CorpusError, match="no such folder"):
            location.resolve_root(missing)


def test_a_root_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    with pytest.raises(CorpusError, match="is a file"):
        location.resolve_root(tmp_path / "a.py")


def test_a_root_behind_a_link_is_the_folder_itself(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert location.resolve_root(tmp_path / "link") == (tmp_path / "real").resolve()


AS_NOBODY = """
import os, sys
from pathlib import Path
from selfroute.memory import location
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(location.locate(Path(sys.argv[1])))
"""


def located_without_rights(root: Path, environment: dict[str, str]) -> Path:
    """What locate() says to a user who may read the tree but not write it."""
    command = [sys.executable, "-c", AS_NOBODY, str(root)]
    run = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return Path(run.stdout.strip())


@pytest.fixture
def read_only_tree(tmp_path: Path) -> Path:
    for parent in (tmp_path, *tmp_path.parents):  # pytest's own folders, which are closed to others
        if "pytest-of-" in str(parent):
            parent.chmod(0o755)
    root = tmp_path / "tree"
    root.mkdir()
    root.chmod(0o555)
    return root


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
def test_a_read_only_tree_has_its_index_in_the_users_cache(read_only_tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    found = located_without_rights(read_only_tree, {"XDG_CACHE_HOME": str(cache), "PATH": os.environ["PATH"]})
    assert found.parent == cache / "selfroute"
    assert found.name.startswith("tree-")
    other = located_without_rights(tmp_path, {"XDG_CACHE_HOME": str(cache), "PATH": os.environ["PATH"]})
    assert other.name != found.name


def test_a_user_without_a_home_has_the_index_in_the_temporary_folder(read_only_tree: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    temporary.chmod(0o777)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    closed.chmod(0o000)
    for home in ("/nonexistent", str(closed)):
        environment = {"HOME": home, "TMPDIR": str(temporary), "PATH": os.environ["PATH"]}
        found = located_without_rights(read_only_tree, environment)
        assert found.parent.parent == temporary
        assert found.parent.name.startswith("selfroute-")
    closed.chmod(0o700)
