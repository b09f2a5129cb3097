"""Whether `selfroute eval` keeps what it promises: runs that are killed end as unbroken ones do, intervals hold.

    python benchmarks/eval_checks.py [--cases 1000] [--kills 20] [--simulations 1000] [--reader NAME] [--seed 0]

Cases are generated over small texts. One run is left alone; another is killed (SIGKILL) at random moments and begun
again with the same command until it ends. Their `--no-times` reports must be the same, byte for byte, and so must their
rows but for the clock. Then both intervals are simulated over clustered cases. The last line is one of JSON; exit code
1 when anything does not hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from selfroute.router.evaluation.coverage import SETTINGS, simulate
from selfroute.router.evaluation.rows import without_clock

FILES = ("cases.jsonl", "report.json", "report.html", "junit.xml", "outcomes.parquet")
PER_CORPUS = 10
COVERED = (0.92, 0.99)  # for 1,000 simulations of what is held in 95%, and more where groups are few and alike
PLACES = (
    "Orvane Belmont Tarsk Quillon Ashby Varen Kestrel Lomond Dunmore Pellin Sarrow Winfell Corvath Hadley Ilsen".split()
)
PEOPLE = "Mira Tolland|Jonas Wend|Ada Ferrin|Piet Lammers|Olga Breit|Saul Marden|Ines Calvo|Tom Hale".split("|")
THINGS = "lighthouse bridge mill harbour library observatory chapel market brewery archive theatre canal".split()
USES = "storing grain|teaching music|guarding the coast|printing maps|repairing clocks|drying herbs".split("|")


def make_cases(n: int, seed: int) -> list[dict[str, Any]]:
    """n cases over texts of facts, ten to a text, a fifth of them without an answer."""
    drawing = random.Random(seed)
    cases: list[dict[str, Any]] = []
    while len(cases) < n:
        number = len(cases) // PER_CORPUS
        pairs = drawing.sample([(thing, place) for thing in THINGS for place in PLACES], 28)
        facts = [(*pair, drawing.choice(PEOPLE), drawing.randint(1500, 1950), drawing.choice(USES)) for pair in pairs]
        text = "\n\n".join(
            f"The {thing} of {place} was built in {year} by {who}. Since then it has been used for {use}, and the road"
            f" to {place} was paved {drawing.randint(2, 90)} years later."
            for thing, place, who, year, use in facts[:22]
        )
        for i in range(min(PER_CORPUS, n - len(cases))):
            thing, place, who, year, use = facts[i if i % 5 else 22 + i // 5]
            asked = (
                ("who", f"Who built the {thing} of {place}?", who),
                ("when", f"When was the {thing} of {place} built?", str(year)),
                ("use", f"What is the {thing} of {place} used for?", use),
            )
            kind, question, answer = asked[i % 3]
            right: dict[str, Any] = {"answers": [answer]} if i % 5 else {"unanswerable": True}
            about = {"context": text, "group": f"text {number}", "kind": kind if i % 5 else "unanswerable"}
            cases.append({"id": f"{number}-{i}", "question": question, **right, **about})
    return cases


def command(cases: Path, out: Path, reader: str, *more: str) -> list[str]:
    """The command line of one run."""
    code = "import sys; from selfroute.router.cli import main; sys.exit(main())"
    given = ["eval", str(cases), "--out", str(out), "--reader", reader, "--no-times", *more]
    return [sys.executable, "-c", code, *given]


def run_killed(cases: Path, out: Path, reader: str, kills: int, n_rows: int, seed: int) -> int:
    """Runs until it ends by itself, killed so many times on the way; the number of kills that met a running process.

    Each kill comes a random while (at most 0.3 s) after a random one of the rows was written.
    """
    drawing = random.Random(seed)
    rows, met = out / "rows.jsonl", 0
    for after in sorted(drawing.sample(range(n_rows - 1), kills)):
        process = subprocess.Popen(
            command(cases, out, reader), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        while process.poll() is None and _lines(rows) < after:
            time.sleep(0.005)
        time.sleep(drawing.uniform(0.0, 0.3))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            met += 1
        process.wait()
        print(f"killed with {_lines(rows):,} rows", file=sys.stderr)
    subprocess.run(command(cases, out, reader), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return met


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def hashes(out: Path) -> dict[str, str]:
    """sha256 of each file of a report that is there."""
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in FILES if (out / name).is_file()}


def row_set(out: Path) -> list[str]:
    """The rows of a run without the clock, sorted."""
    rows = (json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines())
    return sorted(json.dumps(without_clock(row), sort_keys=True) for row in rows)


def check_kills(n_cases: int, kills: int, reader: str, seed: int) -> dict[str, Any]:
    """Both runs, compared."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cases = folder / "cases.jsonl"
        cases.write_text("".join(json.dumps(case) + "\n" for case in make_cases(n_cases, seed)), encoding="utf-8")
        began = time.perf_counter()
        whole = subprocess.run(command(cases, folder / "whole", reader), capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - began
        print(whole.stdout, file=sys.stderr)
        met = run_killed(cases, folder / "killed", reader, kills, len(row_set(folder / "whole")), seed)
        unbroken, resumed = hashes(folder / "whole"), hashes(folder / "killed")
        return {
            "cases": n_cases,
            "rows": len(row_set(folder / "whole")),
            "kills": kills,
            "kills_that_met_a_process": met,
            "seconds_unbroken": round(seconds, 1),
            "same_report": unbroken == resumed,
            "same_rows": row_set(folder / "whole") == row_set(folder / "killed"),
            "sha256": unbroken,
        }


def check_coverage(simulations: int, seed: int) -> dict[str, Any]:
    """The share of simulated intervals that hold the truth, over all settings."""
    found = [simulate(setting, simulations, seed + i) for i, setting in enumerate(SETTINGS)]
    of_share, of_difference = ([one[i] for one in found] for i in (0, 1))
    return {
        "settings": len(SETTINGS),
        "simulations_each": simulations,
        "share": {"mean": round(sum(of_share) / len(found), 4), "least": min(of_share), "most": max(of_share)},
        "difference": {
            "mean": round(sum(of_difference) / len(found), 4),
            "least": min(of_difference),
            "most": max(of_difference),
        },
        "hold": all(COVERED[0] <= value <= COVERED[1] for value in (*of_share, *of_difference)),
    }


def main() -> int:
    """Prints one line of JSON; 1 when something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--simulations", type=int, default=1_000, help="of each setting; 0 for none")
    parser.add_argument("--reader", default="span")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    result: dict[str, Any] = {"resume": check_kills(args.cases, args.kills, args.reader, args.seed)}
    if args.simulations:
        result["coverage"] = check_coverage(args.simulations, args.seed)
    print(json.dumps(result))
    held = result["resume"]["same_report"] and result["resume"]["same_rows"]
    return 0 if held and result.get("coverage", {}).get("hold", True) else 1


if __name__ == "__main__":
    raise SystemExit(main())
