"""The report as one page: no script, no request, nothing but its own text, styles and drawings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from selfroute.router.evaluation.replaying import Outcome
from selfroute.router.evaluation.report import Report, worst
from selfroute.types import ROUTES

_COLOURS = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#65a30d", "#dc2626", "#64748b")
_STYLE = """
:root{color-scheme:light dark;--ink:#1b2330;--soft:#5b6675;--line:#d5dae1;--paper:#fff;--band:#f4f6f9}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa6b5;--line:#3a4350;--paper:#14181e;--band:#1d232b}}
*{box-sizing:border-box}body{margin:0 auto;max-width:72rem;padding:1.5rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}h1{font-size:1.5rem;margin:0 0 .5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
p{max-width:60rem}.soft{color:var(--soft)}.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}
th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}thead th{color:var(--soft);font-weight:600}
.charts{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;flex:1 1 22rem;background:var(--band);padding:.75rem;
border-radius:.5rem}figcaption{font-size:.85rem;color:var(--soft)}svg{width:100%;height:auto}
svg text{fill:var(--ink);font:11px system-ui,sans-serif}svg .axis{stroke:var(--line)}svg .soft{fill:var(--soft)}
article{border-top:1px solid var(--line);padding:.6rem 0}article h3{font-size:.95rem;margin:0}
article p{margin:.2rem 0;overflow-wrap:anywhere}.right{color:#059669}.wrong{color:#dc2626}li{margin:.15rem 0}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
W, H, LEFT, RIGHT, TOP, BOTTOM = 420, 280, 44, 96, 12, 34


def page(report: Report, *, times: bool = True) -> str:
    """The whole document."""
    colour = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(report.figures)}
    named = next(iter(report.outcomes), "")
    lost = worst(report.outcomes[named]) if named else []
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>selfroute eval</title><style>{_STYLE}</style></head><body>",
        "<h1>Which route answers best</h1>",
        f"<p>{escape(report.verdict)}</p>",
        f'<p class="soft">{report.n_cases:,} cases, {len(report.unscored):,} of them unscored. Best fixed route:'
        f" {escape(report.best)}.</p>",
        _policies(report, times),
        '<div class="charts">',
        _front(report, colour),
        _calibration(report, colour),
        _curves(report, colour),
        "</div>",
        *(_slices(f"By {what}", found) for what, found in report.slices.items() if found),
        _regrets(named, lost),
        _unscored(report.unscored),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _policies(report: Report, times: bool) -> str:
    heads = [
        "policy", "right %", "95%", "declined %", "tokens", *(["seconds"] if times else []), "dollars",
        "long context %", "gap recovered", "regret", "APGR", "CPT50", "ECE", "vs best fixed", "p",
    ]  # fmt: skip
    rows = []
    for name, f in report.figures.items():
        difference = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in f.against_best))
        rows.append(
            [
                name, f"{100 * f.accuracy:.1f}", "[{:.1f}, {:.1f}]".format(*(100 * x for x in f.ci95)),
                f"{100 * f.declined:.1f}", f"{f.tokens:,.0f}", *([f"{f.seconds:.2f}"] if times else []),
                f"{f.dollars:.4f}", f"{100 * f.long_context:.1f}", _said(f.gap_recovered), f"{100 * f.regret:.1f}",
                _said(f.apgr), _said(f.cpt50), _said(f.ece), difference, f"{f.p:.3f}",
            ]
        )  # fmt: skip
    return "<h2>Policies</h2>" + _table(heads, rows)


def _front(report: Report, colour: Mapping[str, str]) -> str:
    """Accuracy over the share of tokens that always reading everything reads."""
    points = [(f.token_share or 0.0, f.accuracy, name) for name, f in report.figures.items()]
    if not points:
        return ""
    low, high = _bounds([y for _, y, _ in points])
    most = max(1.0, *(x for x, _, _ in points))
    drawn = [_axes("tokens read, of always-long-context", "right", (0.0, most), (low, high))]
    taken: list[float] = []
    for x, y, name in sorted(points, key=lambda p: -p[1]):
        px, py = _at(x, y, (0.0, most), (low, high))
        ty = py + 4
        while any(abs(ty - other) < 12 for other in taken):
            ty += 4
        taken.append(ty)
        drawn.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="{colour[name]}"/>')
        drawn.append(
            f'<line x1="{px:.1f}" y1="{py:.1f}" x2="{W - RIGHT + 6}" y2="{ty - 3:.1f}"'
            f' stroke="{colour[name]}" stroke-width=".6"/>'
        )
        drawn.append(f'<text x="{W - RIGHT + 8}" y="{ty:.1f}">{escape(name)}</text>')
    return _figure(drawn, "Cost and quality: up and to the left is better.", high_enough=max(taken) + 12)


def _calibration(report: Report, colour: Mapping[str, str]) -> str:
    """Share right over the predicted probability."""
    if not report.calibration:
        return ""
    box = ((0.0, 1.0), (0.0, 1.0))
    drawn = [_axes("predicted probability", "share right", *box)]
    (x0, y0), (x1, y1) = _at(0, 0, *box), _at(1, 1, *box)
    drawn.append(f'<line class="axis" x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke-dasharray="4 4"/>')
    for i, (name, bins) in enumerate(report.calibration.items()):
        drawn += _line([_at(p, right, *box) for p, right, _ in bins], colour[name])
        for p, right, n in bins:
            px, py = _at(p, right, *box)
            drawn.append(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{min(7.0, 2 + n**0.5 / 6):.1f}" fill="{colour[name]}"/>'
            )
        drawn.append(_key(i, name, colour[name]))
    return _figure(drawn, "Calibration of the kept route's probability; larger dots are of more cases.")


def _curves(report: Report, colour: Mapping[str, str]) -> str:
    """Accuracy as more and more is sent to long context, in a policy's own order."""
    if not report.curve:
        return ""
    low, high = _bounds([y for curve in report.curve.values() for y in curve])
    box = ((0.0, 1.0), (low, high))
    drawn = [_axes("share sent to long context", "right", *box)]
    for i, (name, curve) in enumerate(report.curve.items()):
        drawn += _line([_at(k / (len(curve) - 1), y, *box) for k, y in enumerate(curve)], colour[name])
        drawn.append(_key(i, name, colour[name]))
    return _figure(drawn, "What a policy's own order of the questions is worth.")


def _slices(title: str, found: Mapping[str, Mapping[str, tuple[float, int]]]) -> str:
    policies = list(next(iter(found.values())))
    rows = [
        [name, f"{next(iter(cells.values()))[1]:,}", *(f"{100 * cells[p][0]:.1f}" for p in policies)]
        for name, cells in found.items()
    ]
    return f"<h2>{escape(title)}</h2>" + _table(["", "n", *policies], rows)


def _regrets(policy: str, lost: Sequence[Outcome]) -> str:
    if not lost:
        return ""
    links = "".join(
        f'<li><a href="#case-{i}">{escape(o.scored.case.question[:120])}</a></li>' for i, o in enumerate(lost)
    )
    return (
        f"<h2>Worst regrets of {escape(policy)}</h2><p>A route was right, and it kept the other.</p><ul>{links}</ul>"
        + "".join(_case(i, o) for i, o in enumerate(lost))
    )


def _case(i: int, o: Outcome) -> str:
    case = o.scored.case
    wanted = "no answer" if case.unanswerable else ", ".join(case.answers or case.gold_files)
    lines = [f'<article id="case-{i}"><h3>{escape(case.question[:500])}</h3>', f'<p class="soft">{escape(case.id)}</p>']
    lines.append(f"<p>Right: {escape(wanted[:500])}</p>")
    for route in ROUTES:
        row = o.scored.rows.get(route)
        if row is None or row.attempt is None:
            continue
        made = row.attempt.generation
        said = made.text[:500] if made.answerable else "no answer"
        sort = "right" if o.scored.right(route) else "wrong"
        expected = f", expected right in {100 * o.p[route]:.0f}%" if route in o.p else ""
        lines.append(f'<p><span class="{sort}">{escape(route)}, {sort}</span>{expected}: {escape(said)}</p>')
    lines.append(f'<p class="soft">{escape(o.reason)}</p></article>')
    return "".join(lines)


def _unscored(found: Mapping[str, str]) -> str:
    if not found:
        return ""
    rows = [[case_id, why[:300]] for case_id, why in list(found.items())[:100]]
    return f"<h2>Unscored: {len(found):,}</h2>" + _table(["case", "why"], rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(drawn: Sequence[str], caption: str, high_enough: float = 0.0) -> str:
    height = max(H, round(high_enough))
    return (
        f'<figure><svg viewBox="0 0 {W} {height}" role="img" aria-label="{escape(caption)}">{"".join(drawn)}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _axes(across: str, up: str, xs: tuple[float, float], ys: tuple[float, float]) -> str:
    drawn = []
    for k in range(5):
        x, y = xs[0] + (xs[1] - xs[0]) * k / 4, ys[0] + (ys[1] - ys[0]) * k / 4
        px, py = _at(x, y, xs, ys)
        drawn.append(f'<line class="axis" x1="{LEFT}" y1="{py:.1f}" x2="{W - RIGHT}" y2="{py:.1f}"/>')
        drawn.append(f'<text class="soft" x="{LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{100 * y:.0f}%</text>')
        drawn.append(
            f'<text class="soft" x="{px:.1f}" y="{H - BOTTOM + 14}" text-anchor="middle">{100 * x:.0f}%</text>'
        )
    drawn.append(f'<text x="{(LEFT + W - RIGHT) / 2}" y="{H - 4}" text-anchor="middle">{escape(across)}</text>')
    drawn.append(f'<text x="{LEFT}" y="{TOP - 2}">{escape(up)}</text>')
    return "".join(drawn)


def _at(x: float, y: float, xs: tuple[float, float], ys: tuple[float, float]) -> tuple[float, float]:
    wide, tall = max(1e-9, xs[1] - xs[0]), max(1e-9, ys[1] - ys[0])
    return (
        round(LEFT + (x - xs[0]) / wide * (W - LEFT - RIGHT), 1),
        round(H - BOTTOM - (y - ys[0]) / tall * (H - TOP - BOTTOM - 4), 1),
    )


def _line(points: Sequence[tuple[float, float]], colour: str) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']


def _key(i: int, name: str, colour: str) -> str:
    y = TOP + 10 + 16 * i
    return (
        f'<rect x="{W - RIGHT + 8}" y="{y - 8}" width="9" height="9" fill="{colour}"/>'
        f'<text x="{W - RIGHT + 21}" y="{y}">{escape(name)}</text>'
    )


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(0.02, (high - low) * 0.15)
    return max(0.0, low - room), min(1.0, high + room)


def _said(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
