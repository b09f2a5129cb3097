"""A node's surroundings as one HTML file that needs nothing else: an SVG drawing and the list of its edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from selfroute.memory.graph.networkx import NetworkxGraph
from selfroute.memory.graph.nodes import Edge, Node
from selfroute.memory.graph.prominence import str_of

MAX_DRAWN = 120  # edges; the list below the drawing has all of them
WIDTH, HEIGHT, MARGIN, LABEL = 1200, 820, 60, 180
_MAX_LABEL = 34  # characters
_COLOURS = {
    "calls": "#2563eb",
    "references": "#0891b2",
    "inherits": "#b91c1c",
    "overrides": "#c2410c",
    "imports": "#15803d",
    "defines": "#6b7280",
    "documents": "#7c3aed",
}
_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;margin:24px;color:#111;background:#fff}h1{font-size:20px}
svg{width:100%;height:auto;border:1px solid #ddd;border-radius:6px}text{font:11px system-ui,sans-serif}
table{border-collapse:collapse;margin-top:16px}td,th{padding:2px 12px 2px 0;text-align:left;vertical-align:top}
code{font:12px ui-monospace,monospace}.key span{margin-right:16px}
@media(prefers-color-scheme:dark){body{color:#eee;background:#111}svg{border-color:#333}text{fill:#eee}}
"""


def page(title: str, node: Node, edges: Sequence[Edge]) -> str:
    """The whole file. Text from the corpus is escaped; there is no script, and nothing is loaded."""
    rows = "\n".join(
        f"<tr><td><code>{escape(_name(edge.source))}</code></td><td>{escape(edge.relation)}</td>"
        f"<td><code>{escape(_name(edge.target))}</code></td><td><code>{escape(edge.path)}:{edge.line}</code></td></tr>"
        for edge in edges
    )
    key = "".join(
        f'<span style="color:{colour}">{escape(relation)}</span>'
        for relation, colour in _COLOURS.items()
        if any(edge.relation == relation for edge in edges)
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>'
        f'<h1>{escape(title)}</h1><p class="key">{key}</p>\n{_svg(node, edges[:MAX_DRAWN])}\n'
        f"<table><tr><th>from</th><th></th><th>to</th><th>shown by</th></tr>\n{rows}</table></body></html>\n"
    )


def _svg(node: Node, edges: Sequence[Edge]) -> str:
    import networkx as nx

    store = NetworkxGraph()
    store.add([(str_of(edge.source), edge.relation, str_of(edge.target)) for edge in edges])
    nodes = {str_of(end): end for edge in edges for end in (edge.source, edge.target)} | {str_of(node): node}
    store.graph.add_nodes_from(nodes)
    centre = str_of(node)
    at = nx.spring_layout(nx.Graph(store.graph), seed=0, iterations=200, k=1.6 / max(2.0, len(nodes) ** 0.5))
    place = _spread(at)
    lines = []
    for edge in edges:
        (x1, y1), (x2, y2) = place[str_of(edge.source)], place[str_of(edge.target)]
        colour = _COLOURS.get(edge.relation, "#6b7280")
        lines.append(
            f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="{colour}" stroke-opacity="0.6"'
            f' marker-end="url(#to)"><title>{escape(f"{edge.relation}, {edge.path}:{edge.line}")}</title></line>'
        )
    for key, (x, y) in place.items():
        radius, fill, weight = (8, "#111827", "bold") if key == centre else (4, "#9ca3af", "normal")
        lines.append(
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius}" fill="{fill}"/>'
            f'<text x="{x + 8:.0f}" y="{y + 4:.0f}" font-weight="{weight}">'
            f"{escape(_short(nodes[key]))}<title>{escape(_name(nodes[key]))}</title></text>"
        )
    marker = (
        '<defs><marker id="to" viewBox="0 0 8 8" refX="12" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#6b7280"/></marker></defs>'
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{marker}{"".join(lines)}</svg>'


def _spread(at: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, float]]:
    """The layout drawn out over the whole page; a label stands to the right of its node."""
    low = [min(point[axis] for point in at.values()) for axis in (0, 1)]
    span = [max(point[axis] for point in at.values()) - low[axis] or 1.0 for axis in (0, 1)]
    return {
        key: (
            MARGIN / 2 + (WIDTH - MARGIN - LABEL) * (x - low[0]) / span[0],
            MARGIN / 2 + (HEIGHT - MARGIN) * (y - low[1]) / span[1],
        )
        for key, (x, y) in at.items()
    }


def _name(node: Node) -> str:
    return f"{node.name} ({node.path})" if node.name and node.path else node.name or node.path


def _short(node: Node) -> str:
    label = ".".join(node.name.split(".")[-2:]) if node.path else node.name
    label = label or node.path.rpartition("/")[2]
    return label if len(label) <= _MAX_LABEL else label[: _MAX_LABEL - 1] + "…"
