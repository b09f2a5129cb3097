"""The chart of growth.py: well-formed, and where its points are to be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.model import PagedReader
from selfroute.models.training import paged_init

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
LINES = """
{"tokens": 100000, "read_dense_seconds": 0.1, "read_seconds": 0.1, "ask_seconds": 1.0, "device": "cpu, x, 2 threads"}
not a line
{"tokens": 1000000, "read_dense_seconds": 1.0, "read_seconds": 0.2, "ask_seconds": 2.0, "device": "cpu, x, 2 threads"}
{"tokens": 1000000, "ask_seconds": 0.05, "device": "A <card>"}
"""


def plot(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "rows.jsonl").write_text(text)
    command = [
        sys.executable,
        str(BENCHMARKS / "growth.py"),
        "--plot",
        str(folder / "out.svg"),
        str(folder / "rows.jsonl"),
    ]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    assert plot(tmp_path, LINES).returncode == 0
    text = (tmp_path / "out.svg").read_text()
    names = [e.text for e in ElementTree.fromstring(text).iter() if e.tag.endswith("text")]
    assert {"tokens", "seconds", "linear growth", "100K", "1M", "a question (A <card>)"} <= set(names)
    lines = {e.get("points") for e in ElementTree.fromstring(text).iter() if e.tag.endswith("polyline")}
    assert len(lines) == 4
    dense = next(line for line in lines if line and line.count(" ") == 1)
    assert all(0 <= float(number) <= 640 for point in dense.split() for number in point.split(","))


@pytest.mark.parametrize("text", ["", '{"tokens": 5}'])
def test_nothing_to_draw_is_an_error(tmp_path: Path, text: str) -> None:
    assert plot(tmp_path, text).returncode != 0


def test_a_size_is_measured_in_torch(tmp_path: Path) -> None:
    config = PagedConfig(layers=1, heads=2, inner=32, conv_layers=1, head_dim=16, global_inner=32, pointer=16, page=24)
    paged_init.write(PagedReader(config, torch.zeros(8, config.width)), tmp_path)
    command = [sys.executable, str(BENCHMARKS / "growth.py"), "--device", "torch-cpu", "--asks", "1"]
    command += ["--weights", str(tmp_path), "--tokens", "2000", "6000"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["tokens"] for row in rows] == [2016, 6048] and all(row["ask_seconds"] > 0 for row in rows)
    assert all({"encode_seconds", "bytes", "device"} <= set(row) for row in rows)
