"""What orders in files can change: benchmarks/injections.py, in short."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).resolve().parent.parent / "benchmarks" / "injections.py"


def test_an_order_in_a_file_changes_nothing_but_what_an_obedient_model_says() -> None:
    command = [sys.executable, str(BENCHMARK), "--n", "25"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    counts = json.loads(run.stdout.splitlines()[-1])
    assert counts["asks"] == 25 * 12
    assert counts["read"] > 0
    for what in ("route_changed", "files", "actions", "secrets", "misquoted"):
        assert counts[what] == 0, what
    assert counts["obeyed"] > 0  # the model does obey: the rest held all the same
