"""What things take on this machine: learned from use, kept in one file, and never trusted blindly."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from selfroute.memory.rates import FILE, N_KEPT, Rates


def test_a_guess_is_corrected_by_what_it_really_took() -> None:
    rates = Rates()
    assert rates.expect("read", 2.0) == 2.0
    assert rates.at_most("read", 2.0) > 4.0
    for _ in range(N_KEPT):
        rates.learn("read", 1.0, 3.0)
    assert rates.expect("read", 2.0) == pytest.approx(6.0, rel=0.01)
    assert rates.at_most("read", 2.0) == pytest.approx(6.0, rel=0.01)
    assert rates.expect("write", 2.0) == 2.0


def test_one_slow_time_moves_the_most_and_not_the_median() -> None:
    rates = Rates()
    for seconds in [1.0] * 20 + [9.0]:
        rates.learn("read", 1.0, seconds)
    assert rates.expect("read", 1.0) == pytest.approx(1.0)
    assert rates.at_most("read", 1.0) > 9.0


def test_what_cannot_be_meant_is_not_learned() -> None:
    rates = Rates()
    for guess, real in ((0.0, 1.0), (1.0, 0.0), (1.0, -1.0), (1.0, float("inf")), (1e-9, 1e9)):
        rates.learn("read", guess, real)
    assert rates.n_seen("read") == 0
    still = Rates(learns=False)
    still.learn("read", 1.0, 5.0)
    assert still.expect("read", 1.0) == 1.0


def test_it_is_kept_and_shared_by_processes(tmp_path: Path) -> None:
    path = tmp_path / "cache" / FILE
    one, other = Rates(path), Rates(path)
    for rates, kind in ((one, "read"), (other, "write")):
        for _ in range(9):
            rates.learn(kind, 1.0, 2.0)
        rates.save()
    again = Rates(path)
    assert (again.n_seen("read"), again.n_seen("write")) == (9, 9)
    assert [entry.name for entry in path.parent.iterdir()] == [FILE]


@pytest.mark.parametrize(
    "damage",
    [b"", b"\xff\x00", b"[]", b"{", b'{"format": 1}', b'{"format": 2, "ratios": {"read": [5]}}', b"[" * 100_000]
    + [json.dumps({"format": 1, "ratios": {"read": found}}).encode() for found in (3, [True], ["x"], [1e9], [[]], None)]
    + [b'{"format": 1, "ratios": {"read": [NaN]}}'],
)
def test_a_damaged_file_is_as_none(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / FILE
    path.write_bytes(damage)
    rates = Rates(path)
    assert rates.expect("read", 1.0) == 1.0
    rates.learn("read", 1.0, 2.0)
    rates.save()
    assert Rates(path).n_seen("read") == 1


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    rates = Rates(tmp_path / "cache" / FILE)
    rates.learn("read", 1.0, 2.0)
    rates.save()
    assert rates.n_seen("read") == 1


def test_a_file_in_the_place_of_the_folder_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    rates = Rates(tmp_path / "cache" / FILE)
    rates.learn("read", 1.0, 2.0)
    rates.save()
    assert (tmp_path / "cache").read_text() == "not a folder"
