"""The facts of documents: the names of code in backquotes, as Markdown and reStructuredText write them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from selfroute.memory.graph.facts import DOCUMENTS, Fact

LANGUAGES = frozenset({"markdown", "mdx", "rst", "restructuredtext", "text", "plaintext", "asciidoc"})
_CODE = re.compile(r"`[~!]?([A-Za-z_][\w.]*)(?:\(\))?`")


def facts(text: str, language: str) -> Iterator[Fact]:
    """What the document mentions, each name once a line."""
    if language not in LANGUAGES or "`" not in text:
        return
    for line, content in enumerate(text.split("\n"), 1):
        if "`" in content:
            for expr in dict.fromkeys(_CODE.findall(content)):
                yield Fact(DOCUMENTS, "", expr.rpartition(".")[2], expr, "", line, line)
