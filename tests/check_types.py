"""Checks types in the wheel, as a user gets it: builds it, unpacks it away from the checkout, runs mypy --strict on it.

From the checkout itself mypy would follow the mapping of folders to packages for one file only, and say that all is
well: so the number of files that it checked is compared with the number there is. Run by `make check`.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("selfroute", "models", "memory", "backends", "router")
NEEDED = ("pyproject.toml", "README.md", "LICENSE")


def build(scratch: Path) -> Path:
    """The folder that an installed wheel fills: the wheel is built from a copy, since a build leaves files behind."""
    source, wheels, site = scratch / "source", scratch / "wheels", scratch / "site"
    source.mkdir()
    for name in NEEDED:
        shutil.copy(ROOT / name, source)
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, source / layer, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if int(version("setuptools").split(".")[0]) >= 77:  # else pip fetches one
        command.append("--no-build-isolation")
    subprocess.run([*command, "--wheel-dir", str(wheels), str(source)], check=True)
    with zipfile.ZipFile(next(wheels.glob("selfroute-*.whl"))) as wheel:
        wheel.extractall(site)
    return site


def main() -> int:
    """0 when mypy checked every file of the package and found nothing."""
    expected = [path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        site = build(scratch)
        shipped = list((site / "selfroute").rglob("*.py"))
        tops = sorted(path.name for path in site.iterdir() if not path.name.endswith(".dist-info"))
        if tops != ["selfroute"] or len(shipped) != len(expected):
            print(f"the wheel holds {tops} with {len(shipped)} files, the checkout {len(expected)}", file=sys.stderr)
            return 1
        command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
        command += ["--cache-dir", str(ROOT / ".mypy_cache" / "wheel"), "-p", "selfroute"]
        environment = {**os.environ, "MYPYPATH": str(site)}
        run = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
    print(run.stdout.replace("site/", ""), run.stderr, sep="", end="")
    checked = re.search(r"(?:checked|found in) (\d+) source file", run.stdout)
    if checked is None or int(checked[1]) != len(expected):
        print(f"mypy checked {checked and checked[1]} files of {len(expected)}", file=sys.stderr)
        return 1
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
