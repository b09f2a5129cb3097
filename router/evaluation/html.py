"""The report as one HTML file: no script, nothing fetched, dark and light, readable on a phone.

Everything out of cases, corpora and models is escaped; the page forbids itself any request by its policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from selfroute.memory.hidden import show_hidden
from selfroute.router.evaluation import charts
from selfroute.router.evaluation.breakdown import Cell, Part, by_kind, by_size
from selfroute.router.evaluation.curves import bins
from selfroute.router.evaluation.evaluating import Evaluation
from selfroute.router.evaluation.exports import given, wanted
from selfroute.router.evaluation.metrics import Figures
from selfroute.router.evaluation.replaying import Outcome
from selfroute.router.evaluation.report import NOTHING, notes, priced, verdict
from selfroute.router.evaluation.style import STYLE

FILE = "report.html"
N_REGRETS, N_UNSCORED = 40, 40
N_CHARACTERS = 1_500  # of an answer or a question that are shown
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(found: Evaluation, *, times: bool = True) -> str:
    """The whole file. times: as in selfroute.router.evaluation.report."""
    told = regrets(found)
    unscored = [o for o in found.outcomes[found.first.policy].values() if o.right is None][:N_UNSCORED]
    number = {case.id: i for i, case in enumerate(found.cases)}
    parts = (
        _head(found, times),
        _section("Policies", _table(found, times)),
        _section("Quality against cost", _front(found)),
        _section("Calibration", _calibration(found)),
        _section("By kind of question", _breakdown(by_kind(found), found)),
        _section("By size of corpus, in tokens", _breakdown(by_size(found), found)),
        _section(f"The worst regrets of {found.first.policy}", _regrets(told, number)),
        _section("Unscored", _unscored(unscored, number)) if unscored else "",
        _section("Cases", "".join(_case(outcome, found, number) for outcome in (*told, *unscored))),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>selfroute eval: {_text(found.first.policy)}</title>\n"
        f"<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def regrets(found: Evaluation) -> list[Outcome]:
    """The cases that the first policy has wrong and the oracle right; those first that it was surest of, or that cost
    most."""
    missed = [
        outcome
        for id_, outcome in found.outcomes[found.first.policy].items()
        if outcome.right is False and found.oracle[id_].right
    ]
    return sorted(missed, key=lambda o: (-(o.p_chosen or 0.0), -o.tokens, o.case.id))[:N_REGRETS]


def _head(found: Evaluation, times: bool) -> str:
    said = "".join(f"<p class=note>{_text(note.removeprefix('note: '))}</p>" for note in notes(found, times=times))
    return f"<h1>selfroute eval</h1>\n<p class=verdict>{_text(verdict(found))}</p>\n{said}"


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{_text(title)}</h2>\n{body}\n</section>" if body else ""


def _table(found: Evaluation, times: bool) -> str:
    heads = ["policy", "n", "right", "against best fixed", "p", "tokens", "of LC's"]
    heads += ["seconds"] if times else []
    heads += ["dollars"] if priced(found) else []
    heads += ["LC", "gap rec.", "regret", "APGR", "CPT50", "ECE"]
    rows = "".join(_row(one, found, times) for one in found.figures)
    head = "".join(f"<th scope=col>{_text(name)}</th>" for name in heads)
    about = (
        "right: share of scored cases, with its 95% interval. against best fixed: paired, in points. of LC's: of the"
        " tokens that always-long-context reads. LC: share of the cases that were read whole. gap rec.: of what the"
        " oracle has over the best fixed route. regret: what the oracle has over the policy."
    )
    return (
        f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"<p class=note>{_text(about)}</p>"
    )


def _row(one: Figures, found: Evaluation, times: bool) -> str:
    beside, bounds = one.paired, one.paired.interval if one.paired else None
    if one.policy == f"always-{found.best_fixed}":
        against = ["is it", ""]
    else:
        points = _number(100 * beside.difference if beside else None, "+.1f")
        against = [f"{points} {_interval(bounds, signed=True)}", _number(beside.p if beside else None, ".3f")]
    cells = [f"{one.n:,}", f"{_share(one.accuracy)} {_interval(one.interval)}", *against]
    cells += [_number(one.tokens, ",.0f"), _share(one.token_share)]
    cells += [_number(one.seconds, ".2f")] if times else []
    cells += [_number(one.dollars, ".2g")] if priced(found) else []
    cells += [_share(one.long_context_share), _share(one.gap_recovered), _number(one.regret, ".3f")]
    cells += [_number(value, ".3f") for value in (one.apgr, one.cpt50, one.ece)]
    return (
        f"<tr><th scope=row><span class='key {_css(one.policy, found)}'></span>{_text(one.policy)}</th>"
        + "".join(f"<td>{_with_small(cell)}</td>" for cell in cells)
        + "</tr>"
    )


def _with_small(cell: str) -> str:
    """A cell whose interval is set small."""
    value, bracket, rest = cell.partition(" [")
    return f"{_text(value)} <small>[{_text(rest)}</small>" if bracket else _text(cell)


def _front(found: Evaluation) -> str:
    points = [
        charts.Point(one.policy, one.tokens, one.accuracy, one.interval, _css(one.policy, found))
        for one in found.figures
        if one.tokens is not None and one.accuracy is not None
    ]
    about = "The line joins the policies that no other beats in both; the bars are 95% intervals."
    drawn = charts.front(points, "tokens read for a question, mean")
    return f"<figure>{drawn}</figure><p class=note>{about}</p>" if points else ""


def _calibration(found: Evaluation) -> str:
    curves = []
    for policy, outcomes in found.outcomes.items():
        told = [
            (o.p_chosen, bool(o.right)) for o in outcomes.values() if o.p_chosen is not None and o.right is not None
        ]
        if told:
            curve = bins([p for p, _ in told], [right for _, right in told])
            curves.append((policy, _css(policy, found), curve))
    if not curves:
        return "<p>No policy of this report predicts how likely it is to be right.</p>"
    about = "Each dot is a bin of about equal number; on the line what is said is what comes true."
    return f"<figure>{charts.calibration(curves)}</figure><p class=note>{about}</p>"


def _breakdown(parts: Sequence[Part], found: Evaluation) -> str:
    policies = list(found.outcomes)
    head = "".join(f"<th scope=col>{_text(name)}</th>" for name in policies)
    rows = "".join(
        f"<tr><th scope=row>{_text(part.name)}</th><td>{part.n:,}</td>"
        + "".join(_cell(part.cells[name], _css(name, found)) for name in policies)
        + "</tr>"
        for part in parts
    )
    return (
        f"<div class=wide><table class=parts><thead><tr><th></th><th scope=col>n</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: Cell, css: str) -> str:
    if cell.accuracy is None:
        return f"<td>{NOTHING}</td>"
    width = round(100 * cell.accuracy)
    bar = (
        f"<svg class=bar viewBox='0 0 100 6' preserveAspectRatio=none aria-hidden=true>"
        f"<rect class=track width=100 height=6></rect><rect class='fill {css}' width={width} height=6></rect></svg>"
    )
    return f"<td>{_share(cell.accuracy)} <small>{_interval(cell.interval)}</small>{bar}</td>"


def _regrets(told: Sequence[Outcome], number: dict[str, int]) -> str:
    if not told:
        return "<p>None: wherever a route is right, so is the policy.</p>"
    items = "".join(
        f"<li><a href='#case-{number[o.case.id]}'>{_text(_cut(o.case.question, 160))}</a>"
        f" <small>{_text(_told(o))}</small></li>"
        for o in told
    )
    return f"<ol>{items}</ol>"


def _unscored(outcomes: Sequence[Outcome], number: dict[str, int]) -> str:
    items = "".join(
        f"<li><a href='#case-{number[o.case.id]}'>{_text(_cut(o.case.question, 160))}</a>"
        f" <small>{_text(_cut(o.why, 200))}</small></li>"
        for o in outcomes
    )
    return f"<ol>{items}</ol>"


def _told(outcome: Outcome) -> str:
    said = "declined" if outcome.declined else f"answered by {outcome.route}"
    sure = "" if outcome.p_chosen is None else f", said {outcome.p_chosen:.0%} right"
    return f"{said}{sure}, {outcome.tokens:,} tokens"


def _case(outcome: Outcome, found: Evaluation, number: dict[str, int]) -> str:
    case = outcome.case
    about = " · ".join(
        part for part in (f"case {case.id}", case.kind, case.group if case.group != case.path else "") if part
    )
    return (
        f"<article id='case-{number[case.id]}'><h3>{_text(_cut(case.question))}</h3><p class=note>{_text(about)}</p>"
        f"<p>{_text(_cut(wanted(outcome)))}</p><dl>{''.join(_routes(outcome, found))}</dl>"
        f"<p class=note>{_text(_cut(outcome.reason))}</p></article>"
    )


def _routes(outcome: Outcome, found: Evaluation) -> Iterator[str]:
    """What each route made of a case."""
    for route, one in ((route, of[outcome.case.id]) for route, of in found.fixed.items()):
        mark = "unscored" if one.right is None else "right" if one.right else "wrong"
        said = one.why if one.right is None else given(found, one)
        yield f"<dt class={mark}>{_text(route)}: {mark}, {one.tokens:,} tokens</dt><dd>{_text(_cut(said))}</dd>"


def _css(policy: str, found: Evaluation) -> str:
    """The class of a policy's colour: its place in the report."""
    return f"p{list(found.outcomes).index(policy) % 8}"


def _text(text: str) -> str:
    """Escaped, with what a page would obey or hide in a visible form."""
    shown = "".join(c if c >= " " or c in "\n\t" else f"\\x{ord(c):02x}" for c in show_hidden(text))
    return escape(shown.encode("utf-8", "replace").decode("utf-8"), quote=True)


def _cut(text: str, most: int = N_CHARACTERS) -> str:
    return text if len(text) <= most else f"{text[:most]} ... ({len(text) - most:,} characters more)"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f}%"


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)


def _interval(bounds: tuple[float, float] | None, *, signed: bool = False) -> str:
    form = "[{:+.1f}, {:+.1f}]" if signed else "[{:.1f}, {:.1f}]"
    return NOTHING if bounds is None else form.format(*(100 * bound for bound in bounds))
