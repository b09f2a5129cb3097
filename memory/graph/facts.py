"""What one file says about names, before anything outside of it is looked at.

A fact is local: it holds what stands in the file, never what another file makes of it. So facts are written with their
file and go with it, and edges between files are resolved from them when they are asked for (resolve.py).
"""

from __future__ import annotations

from typing import NamedTuple

DEFINES = "defines"  # scope defines name. expr: the kind, then its decorators, "method @property". alias: parameters
IMPORTS = "imports"  # expr: what, ".sessions.Session"; name: its last part; alias: the local name, BARE for none
CALLS = "calls"  # expr: what is called, "self.session.get"; name: its last part
INHERITS = "inherits"  # scope: the class; expr: a base
REFERENCES = "references"  # expr: a name that is passed on, put in a decorator or tested against
DOCUMENTS = "documents"  # prose that speaks of a name of code
MENTIONS = "mentions"  # prose that names an entity. name: its key; expr: as it is written; alias: its kind
BINDS = "binds"  # scope's name is given expr: a value, or ANNOTATED and a type. alias: the method of self.name = expr
RETURNS = "returns"  # scope gives back expr: a value, or ANNOTATED and a type

HELPERS = (BINDS, RETURNS)  # of use only to resolve the others

MAX_NODES = 100_000  # of a file that are looked at: no person writes more calls than that into one

ANNOTATED = "@"
BARE = "-"
STAR = "*"
ENTERED = ">"  # in an expr: what `with` gives of the value before it
UNKNOWN = "?"  # in an expr: something that has no name


class Fact(NamedTuple):
    """relation, and who says it: scope, a qualified name of the file, "" for the file itself.

    expr: names, dots, `()` for the value of a call, `[]` for an item and `>` for what `with` makes of a value:
    "Flask().jinja_env.get_template". line, end_line: from 1; a definition's reach from its decorators to its end, other
    facts stand on one line.
    """

    relation: str
    scope: str
    name: str
    expr: str
    alias: str
    line: int
    end_line: int
