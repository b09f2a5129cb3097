"""Names to classes: built in, or from the entry points of installed packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from selfroute.errors import UnknownNameError
from selfroute.registry import BUILT_IN, names, resolve

SCRIPT = """
from selfroute.errors import SelfRouteError
from selfroute.registry import names, resolve
try:
    print("mine" in names("policy"), resolve("policy", "mine").__name__)
except SelfRouteError as error:
    print(error.message)
"""


def with_entry_point(folder: Path, line: str) -> str:
    """What the script prints when a package with this entry point is installed."""
    (folder / "other.py").write_text("class Mine:\n    pass\n")
    (folder / "other-1.dist-info").mkdir()
    (folder / "other-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (folder / "other-1.dist-info" / "entry_points.txt").write_text(f"[selfroute.policy]\n{line}\n")
    script = f"import sys; sys.path.insert(0, {str(folder)!r})\n{SCRIPT}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, entries in BUILT_IN.items() for name in entries])
def test_every_built_in_name_is_a_class(kind: str, name: str) -> None:
    assert isinstance(resolve(kind, name), type)
    assert name in names(kind)


def test_a_name_from_an_entry_point_is_known(tmp_path: Path) -> None:
    assert with_entry_point(tmp_path, "mine = other:Mine") == "True Mine"


def test_a_duplicate_name_is_an_error_that_names_both(tmp_path: Path) -> None:
    message = with_entry_point(tmp_path, "rules = other:Mine")
    assert message == (
        "two policy entries are named 'rules': selfroute.router.policies.rules:RulesPolicy and other:Mine"
    )


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        resolve("policy", "rulez")
    assert caught.value.hint == "did you mean 'rules'?"
    with pytest.raises(UnknownNameError):
        names("nothing")
