"""A report for machines: JSON, JUnit XML, and parquet where pyarrow is installed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from selfroute.router.evaluation.journal import write_file
from selfroute.router.evaluation.report import Report
from selfroute.types import ROUTES

JSON, JUNIT, PARQUET, HTML = "report.json", "junit.xml", "outcomes.parquet", "report.html"


def export(report: Report, folder: Path, *, times: bool = True) -> list[str]:
    """Writes all that can be; notes on what could not."""
    from selfroute.router.evaluation.html import page

    write_file(folder / JSON, json.dumps(report.to_json(), indent=1, sort_keys=True) + "\n")
    write_file(folder / JUNIT, _junit(report))
    write_file(folder / HTML, page(report, times=times))
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return [f"no {PARQUET} without pyarrow: pip install 'selfroute[eval]'"]
    write_file(folder / PARQUET, _parquet(report))
    return []


def flat(report: Report) -> Iterator[dict[str, Any]]:
    """One object for each policy and case."""
    for policy, outcomes in report.outcomes.items():
        for o in outcomes:
            yield {
                "policy": policy,
                "case": o.scored.case.id,
                "kind": o.scored.case.kind,
                "group": o.scored.group,
                "route": o.route,
                "routes": " ".join(o.routes),
                "right": o.right,
                "declined": o.declined,
                "tokens": o.tokens,
                "seconds": o.seconds,
                "dollars": o.dollars,
                "reason": o.reason,
                **{f"p_{route}": o.p.get(route) for route in ROUTES},
                **{f"score_{route}": o.scored.scores.get(route) for route in ROUTES},
            }


def _junit(report: Report) -> bytes:
    """One test case a case, of the first policy: failed when it was wrong, skipped when it could not be scored."""
    name, outcomes = next(iter(report.outcomes.items()), ("none", []))
    suite = ElementTree.Element(
        "testsuite",
        name=f"selfroute eval: {name}",
        tests=str(len(outcomes) + len(report.unscored)),
        failures=str(sum(not o.right for o in outcomes)),
        skipped=str(len(report.unscored)),
    )
    for o in outcomes:
        case = ElementTree.SubElement(
            suite, "testcase", name=_clean(o.scored.case.id), classname=_clean(o.scored.case.kind or "case"),
            time=f"{o.seconds:.3f}",
        )  # fmt: skip
        if not o.right:
            failed = ElementTree.SubElement(case, "failure", message=f"{o.route} was wrong")
            failed.text = _clean(o.scored.case.question)
    for case_id, why in report.unscored.items():
        case = ElementTree.SubElement(suite, "testcase", name=_clean(case_id), classname="unscored")
        ElementTree.SubElement(case, "skipped", message=_clean(why))
    ElementTree.indent(suite)
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)) + b"\n"


def _parquet(report: Report) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(flat(report))), buffer)
    return buffer.getvalue()


def _clean(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(
        c if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff") else "?"
        for c in text
    )
