"""How the HTML report looks."""

STYLE = """\
:root {
  --ground: #fdfdfc; --raised: #f4f4f1; --ink: #1d1f21; --soft: #5d6469; --line: #dcdcd6;
  --p0: #0b62c4; --p1: #c2410c; --p2: #15803d; --p3: #7c3aed;
  --p4: #a16207; --p5: #be185d; --p6: #0f766e; --p7: #57534e;
  --right: #15803d; --wrong: #b91c1c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #16181a; --raised: #202326; --ink: #e7e8e6; --soft: #9aa1a6; --line: #363a3e;
    --p0: #6cb0ff; --p1: #ff9d5c; --p2: #5fce86; --p3: #b79bff;
    --p4: #e0b84a; --p5: #ff8fc0; --p6: #4fd1c5; --p7: #b8b2ab;
    --right: #5fce86; --wrong: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 80rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1rem; font-weight: 600; color: var(--soft); margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0 0 .25rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.verdict { font-size: 1.35rem; line-height: 1.4; margin: 0 0 .5rem; max-width: 60rem; }
.note, small { color: var(--soft); font-size: .85rem; }
.note { margin: .35rem 0; max-width: 60rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .4rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
tbody th { font-weight: 600; }
.key { display: inline-block; width: .65rem; height: .65rem; border-radius: 50%; margin-right: .5rem;
  background: var(--c); }
.p0 { --c: var(--p0); } .p1 { --c: var(--p1); } .p2 { --c: var(--p2); } .p3 { --c: var(--p3); }
.p4 { --c: var(--p4); } .p5 { --c: var(--p5); } .p6 { --c: var(--p6); } .p7 { --c: var(--p7); }
figure { margin: 0; max-width: 52rem; overflow-x: auto; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--soft); }
svg .label { font-size: 13px; fill: var(--ink); }
.grid { stroke: var(--line); } .base { stroke: var(--soft); }
.front { fill: none; stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 4 4; }
.diagonal { stroke: var(--soft); stroke-dasharray: 4 4; }
.leader { stroke: var(--line); }
.dot { fill: var(--c); } .bounds { stroke: var(--c); stroke-width: 2; opacity: .45; }
.curve { fill: none; stroke: var(--c); stroke-width: 2; }
svg.bar { height: 5px; margin-top: .3rem; min-width: 6rem; }
.track { fill: var(--raised); } .fill { fill: var(--c); }
ol { padding-left: 1.5rem; } li { margin: .3rem 0; overflow-wrap: anywhere; }
a { color: var(--p0); }
article { background: var(--raised); border-radius: .5rem; padding: 1rem 1.25rem; margin: 0 0 1rem; }
article:target { outline: 2px solid var(--p0); }
article p { overflow-wrap: anywhere; white-space: pre-wrap; margin: .35rem 0; }
dl { margin: .5rem 0; } dt { font-weight: 600; font-size: .9rem; }
dt.right { color: var(--right); } dt.wrong { color: var(--wrong); }
dd { margin: .1rem 0 .6rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9rem; }
@media (max-width: 40rem) {
  main { padding: 1rem .9rem 3rem; }
  .verdict { font-size: 1.1rem; }
  figure svg { min-width: 36rem; }
  svg.bar { min-width: 5rem; }
}
"""
