"""The report for machines: report.json, outcomes.parquet where pyarrow is there, junit.xml."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from selfroute.memory.hidden import show_hidden
from selfroute.router.evaluation.breakdown import Part, by_kind, by_size
from selfroute.router.evaluation.corpora import group_of
from selfroute.router.evaluation.evaluating import Evaluation
from selfroute.router.evaluation.replaying import Outcome
from selfroute.router.evaluation.report import notes, verdict
from selfroute.router.evaluation.writing import write

REPORT, PARQUET, JUNIT = "report.json", "outcomes.parquet", "junit.xml"
WITHOUT_PARQUET = f"{PARQUET} is not written without pyarrow: pip install 'selfroute[eval]'"


def report_object(found: Evaluation, *, times: bool = True) -> dict[str, Any]:
    """The whole report as JSON: every figure, the breakdowns, what is unscored and why, the sentences."""
    policies = []
    for one in found.figures:
        figures = asdict(one)
        if not times:
            del figures["seconds"]
        policies.append(figures)
    unscored = [
        {"case": id_, "route": route, "why": score.why}
        for id_, of in found.scores.items()
        for route, score in of.items()
        if score.right is None
    ]
    return {
        "n_cases": len(found.cases),
        "n_rows": sum(len(of) for of in found.rows.values()),
        "scorer": found.scorer,
        "best_fixed": found.best_fixed,
        "verdict": verdict(found),
        "notes": list(notes(found, times=times)),
        "policies": policies,
        "by_kind": [_part(part) for part in by_kind(found)],
        "by_corpus_tokens": [_part(part) for part in by_size(found)],
        "unscored": unscored,
    }


def outcome_objects(found: Evaluation, *, times: bool = True) -> list[dict[str, Any]]:
    """One flat object for each policy and case."""
    made = []
    for policy, of in found.outcomes.items():
        for id_, outcome in of.items():
            value: dict[str, Any] = {
                "policy": policy,
                "case": id_,
                "question": outcome.case.question,
                "group": group_of(outcome.case),
                "kind": outcome.case.kind,
                "route": outcome.route,
                "attempts": "+".join(outcome.attempts),
                "right": outcome.right,
                "declined": outcome.declined,
                "tokens": outcome.tokens,
                "dollars": outcome.dollars,
                "p_chosen": outcome.p_chosen,
                "reason": outcome.reason,
                "why_unscored": outcome.why,
            }
            made.append({**value, "seconds": outcome.seconds} if times else value)
    return made


def write_report(found: Evaluation, folder: Path, *, times: bool = True) -> list[str]:
    """Writes all of it into the folder; what could not be, as notes. Raises ConfigError when nothing can be written."""
    text = json.dumps(report_object(found, times=times), indent=1, ensure_ascii=False, allow_nan=False)
    write(folder / REPORT, text + "\n")
    write(folder / JUNIT, junit(found, times=times))
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return [WITHOUT_PARQUET]
    parquet.write_table(pyarrow.Table.from_pylist(outcome_objects(found, times=times)), folder / PARQUET)
    return []


def junit(found: Evaluation, *, times: bool = True) -> str:
    """JUnit's XML: a test case for each case under the first policy; an unscored one is skipped."""
    policy = found.first.policy
    outcomes = list(found.outcomes[policy].values())
    suite = ElementTree.Element("testsuite", name=f"selfroute eval: {policy}", tests=str(len(outcomes)))
    suite.set("failures", str(sum(outcome.right is False for outcome in outcomes)))
    suite.set("skipped", str(sum(outcome.right is None for outcome in outcomes)))
    suite.set("errors", "0")
    if times:
        suite.set("time", f"{sum(outcome.seconds for outcome in outcomes):.3f}")
    for outcome in outcomes:
        case = ElementTree.SubElement(suite, "testcase", name=_xml(outcome.case.id), classname=_xml(policy))
        if times:
            case.set("time", f"{outcome.seconds:.3f}")
        if outcome.right is None:
            ElementTree.SubElement(case, "skipped", message=_xml(outcome.why))
        elif not outcome.right:
            what = "declined" if outcome.declined else "another answer"
            failure = ElementTree.SubElement(case, "failure", message=_xml(f"{what} by {outcome.route}"))
            failure.text = _xml(f"{outcome.case.question}\n{wanted(outcome)}\n{given(found, outcome)}")
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def wanted(outcome: Outcome) -> str:
    """What would have been right, in words."""
    case = outcome.case
    if case.unanswerable:
        return "right: that there is no answer"
    if case.answers:
        return f"right: {' | '.join(case.answers)}"
    return f"right: an answer that cites {', '.join(case.gold_files)}"


def given(found: Evaluation, outcome: Outcome) -> str:
    """What was answered, in words."""
    row = found.rows[outcome.case.id].get(outcome.route)
    if outcome.declined or row is None or row.attempt is None:
        return "given: that there is no answer"
    cited = dict.fromkeys(citation.path for citation in row.attempt.citations)
    return f"given: {row.attempt.generation.text}" + (f" (cited: {', '.join(cited)})" if cited else "")


def _part(part: Part) -> dict[str, Any]:
    return {"name": part.name, "n": part.n, "policies": {name: asdict(cell) for name, cell in part.cells.items()}}


def _xml(text: str) -> str:
    """The text without what XML cannot hold: hidden and control characters in a visible form."""
    return "".join(
        c if c in "\n\t" or (c >= " " and c not in "\ufffe\uffff") else f"\\x{ord(c):02x}" for c in show_hidden(text)
    )
