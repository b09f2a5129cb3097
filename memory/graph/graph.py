"""The edges between definitions, resolved from the facts of the files when they are asked for.

Nothing is resolved ahead: the callers of a name are the calls of that name, each looked at in its own file. So an
update costs the graph nothing, and a question costs about as much as there are places that could answer it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from selfroute.memory.catalog import SOURCE, path_kind
from selfroute.memory.graph.facts import BARE, CALLS, DEFINES, DOCUMENTS, IMPORTS, INHERITS, REFERENCES, STAR
from selfroute.memory.graph.modules import Modules
from selfroute.memory.graph.nodes import BY_NAME, CERTAIN, POSSIBLE, Edge, FactTable, Node, Placed
from selfroute.memory.graph.resolve import DEFINITION, INSTANCE, MODULE, Resolver, Value
from selfroute.memory.graph.scopes import qualified_name
from selfroute.models.lexing import terms_of

OVERRIDES = "overrides"
_PYTHON = (".py", ".pyi")
_MAX_BY_NAME = 400  # uses of a name that are looked at; beyond that the name says too little
_MAX_ALIASES = 20  # names that files give a thing on import, and others import from them
_MIN_SHORT = 3  # letters of a name's short form
_KINDS_WITHOUT_INSIDE = ("constant", "attribute")


class KnowledgeGraph:
    """Definitions, files and the edges between them, of one generation of an index."""

    def __init__(self, table: FactTable) -> None:
        self._table = table
        self._modules = Modules(table.paths, table.root)
        self._resolver = Resolver(table, self._modules)
        self._paths = set(table.paths)
        self._near_of: dict[str, set[str]] = {}

    # nodes

    def find(self, name: str) -> list[Node]:
        """What a person may mean by a name: definitions by their qualified name or its end, then modules and files.

        "get", "Session.get", "app.Flask.run", "flask.sessions", "src/flask/app.py". Sources come before tests.
        """
        spelled = re.sub(r"::|->|#|:", ".", name.strip().strip("`'\"").removesuffix("()")).strip(".")
        if not spelled:
            return []
        if name in self._paths:
            return [Node(name, "")]
        last = spelled.rpartition(".")[2]
        exact: list[Node] = []
        for placed in self._table.named(last):
            if placed.fact.relation == DEFINES:
                node = Node(placed.path, qualified_name(placed.fact))
                if self._is_called(node, spelled):
                    exact.append(node)
        modules = [Node(path, "") for path in self._modules.called(spelled)]
        if "/" in spelled or spelled.endswith(_PYTHON):
            return modules or exact
        return sorted(dict.fromkeys(exact), key=self._prominence) + modules

    def knows(self, word: str) -> bool:
        """Whether the corpus defines, imports or extends something of exactly this name, or has a module called so."""
        named = any(placed.fact.relation in (DEFINES, IMPORTS, INHERITS) for placed in self._table.named(word))
        return named or bool(self._modules.called(word))

    def outside(self, name: str) -> list[Node]:
        """A thing outside of the corpus that its files import, call or inherit from: `json.dumps`, `ValueError`."""
        spelled = name.strip("`'\" ").removesuffix("()").strip(".")
        last = spelled.rpartition(".")[2]
        if any(placed.fact.relation in (IMPORTS, CALLS, INHERITS) for placed in self._table.named(last)):
            return [Node("", spelled)]
        return []

    def kind(self, node: Node) -> str:
        """`class`, `function`, `method`, ..., `module` for a file, "" for what is outside of the corpus."""
        if not node.path:
            return ""
        return self._resolver.file(node.path).kind(node.name) if node.name else "module"

    def place(self, node: Node) -> Placed | None:
        """Where a definition stands; None for a file, and for what is outside of the corpus."""
        return self._resolver.file(node.path).definitions.get(node.name)

    def enclosing(self, path: str, line: int) -> Node:
        """The innermost class, function or method that a line of a file is in; the file itself when it is in none.

        What takes one line of another, such as a lambda that is given a name, is a line of that.
        """
        around = [
            (placed.fact.line, name)
            for name, placed in self._resolver.file(path).definitions.items()
            if placed.fact.line <= line <= placed.fact.end_line
            and (placed.fact.line < placed.fact.end_line or not placed.fact.scope)
            and self.kind(Node(path, name)) not in _KINDS_WITHOUT_INSIDE
        ]
        return Node(path, max(around)[1] if around else "")

    def definition(self, node: Node) -> Edge | None:
        """The edge by which its surroundings define it; None for a file."""
        placed = self.place(node)
        if placed is None:
            return None
        outer = Node(node.path, placed.fact.scope)
        return Edge(outer, DEFINES, node, node.path, placed.fact.line, placed.row)

    def members(self, node: Node) -> list[Edge]:
        """What a class, a function or a file defines."""
        file = self._resolver.file(node.path)
        found = [
            Edge(node, DEFINES, Node(node.path, name), node.path, placed.fact.line, placed.row)
            for name, placed in file.definitions.items()
            if placed.fact.scope == node.name
        ]
        return sorted(found, key=lambda edge: edge.line)

    # edges into a node

    def callers(self, node: Node) -> list[Edge]:
        """The calls of a function, a method or a class, the most certain first."""
        return self._uses(node, CALLS)

    def references(self, node: Node) -> list[Edge]:
        """Where it is passed on, decorates or is tested against, the most certain first."""
        return self._uses(node, REFERENCES)

    def subclasses(self, node: Node) -> list[Edge]:
        """The classes that name it among their bases."""
        found = []
        for placed in self._candidates(node, (INHERITS,)):
            source = Node(placed.path, placed.fact.scope)
            certainty = self._certainty(placed, node)
            if certainty and source != node:
                found.append(self._edge(source, INHERITS, node, placed, certainty))
        return _sorted(found)

    def importers(self, node: Node) -> list[Edge]:
        """The files that import it; of a module, also those that import something out of it."""
        found: list[Edge] = []
        wanted = self._import_names(node)
        for name in wanted:
            for placed in self._table.named(name):
                fact = placed.fact
                if fact.relation != IMPORTS or (placed.path == node.path and node.path):
                    continue
                certainty = self._import_certainty(placed, node)
                if certainty:
                    found.append(self._edge(Node(placed.path, ""), IMPORTS, node, placed, certainty))
        return _one_a_line(_sorted(found))

    def overrides(self, node: Node) -> list[Edge]:
        """The methods of subclasses that take its place."""
        owner, _, last = node.name.rpartition(".")
        if self.kind(Node(node.path, owner)) != "class":
            return []
        found = []
        for child in self.descendants(Node(node.path, owner)):
            edge = self.definition(Node(child.path, f"{child.name}.{last}"))
            if edge is not None:
                found.append(Edge(edge.target, OVERRIDES, node, edge.path, edge.line, edge.row))
        return _sorted(found)

    def documents(self, node: Node) -> list[Edge]:
        """Where documents speak of it."""
        return _sorted(
            self._edge(Node(placed.path, ""), DOCUMENTS, node, placed, POSSIBLE)
            for placed in self._table.named(node.last or self._modules.name(node.path).rpartition(".")[2])
            if placed.fact.relation == DOCUMENTS and self._is_called(node, placed.fact.expr)
        )

    # edges out of a node

    def callees(self, node: Node) -> list[Edge]:
        """What a function, and what is defined inside of it, calls, the surest first; the corpus's own only."""
        found = []
        for placed in self._table.of(node.path):
            fact = placed.fact
            if fact.relation != CALLS or not (not node.name or f"{fact.scope}.".startswith(f"{node.name}.")):
                continue
            for target, certainty in self._targets(placed):
                if target != node or certainty == CERTAIN:
                    found.append(self._edge(Node(placed.path, fact.scope), CALLS, target, placed, certainty))
        return sorted(found, key=lambda edge: (-edge.certainty, edge.line))

    def bases(self, node: Node) -> list[Edge]:
        """What a class inherits from, as its first lines say; EXTERNAL bases are nodes without a path."""
        found = []
        for placed in self._table.of(node.path):
            fact = placed.fact
            if fact.relation != INHERITS or fact.scope != node.name:
                continue
            targets = [target for target, certainty in self._targets(placed) if certainty >= POSSIBLE]
            target = targets[0] if targets else Node("", fact.expr)
            found.append(self._edge(node, INHERITS, target, placed, CERTAIN))
        return found

    def imports(self, node: Node) -> list[Edge]:
        """What a file imports: modules of the corpus as nodes, others without a path."""
        found = []
        for placed in self._table.of(node.path):
            fact = placed.fact
            if fact.relation != IMPORTS or (node.name and not f"{fact.scope}.".startswith(f"{node.name}.")):
                continue
            targets = self._imported(placed)
            target = targets[0] if targets else Node("", fact.expr)
            found.append(self._edge(Node(node.path, ""), IMPORTS, target, placed, CERTAIN))
        return _one_a_line(found)

    # what follows from edges

    def descendants(self, node: Node) -> list[Node]:
        """The classes that inherit from it, at any distance, nearest first."""
        found: dict[Node, None] = {}
        todo = [node]
        while todo and len(found) < _MAX_BY_NAME:
            for edge in self.subclasses(todo.pop(0)):
                if edge.certainty >= POSSIBLE and edge.source not in found and edge.source != node:
                    found[edge.source] = None
                    todo.append(edge.source)
        return list(found)

    def into(self, node: Node) -> list[Edge]:
        """Everything that would notice a change of a node: who calls, extends, overrides, imports or passes it on."""
        found = self.callers(node) + self.references(node) if node.name else []
        if self.kind(node) in ("class", ""):
            found += self.subclasses(node)
        elif node.name:
            found += self.overrides(node)
        return found + self.importers(node)

    # inside

    def _prominence(self, node: Node) -> tuple[bool, bool, int, str, str]:
        kind = self.kind(node)
        return path_kind(node.path) != SOURCE, kind in _KINDS_WITHOUT_INSIDE, node.name.count("."), node.path, node.name

    def _is_called(self, node: Node, spelled: str) -> bool:
        """Whether a spelled name fits a node: the end of its qualified name, or its module and that."""
        full = f"{self._modules.name(node.path)}.{node.name}".strip(".")
        if f".{full}".endswith(f".{spelled}"):
            return True
        parts, own = spelled.split("."), node.name.split(".") if node.name else []
        if own and parts[-len(own) :] == own and len(parts) > len(own):  # flask.Flask of flask.app.Flask
            values = self._resolver.imported(spelled, "")
            if any(value.node == node for value in values if not value.is_external):
                return True
            stem = node.path.rpartition("/")[2].partition(".")[0]
            return parts[: -len(own)] == [stem]
        if own and len(parts) > 1 and len(own) > 1 and parts[-1] == own[-1]:  # an inherited member, by its class
            return False
        return False

    def _edge(self, source: Node, relation: str, target: Node, placed: Placed, certainty: float) -> Edge:
        return Edge(source, relation, target, placed.path, placed.fact.line, placed.row, certainty)

    def _candidates(self, node: Node, relations: tuple[str, ...]) -> Iterator[Placed]:
        """The facts that may be about a node: those of its name, and of the names that files give it on import."""
        names = [node.last] if node.last else []
        for name in islice(names, _MAX_ALIASES):
            for item in self._table.named(name):
                fact = item.fact
                if fact.relation in relations:
                    yield item
                elif fact.relation == IMPORTS and fact.alias not in ("", BARE, STAR, *names[:_MAX_ALIASES]):
                    names.append(fact.alias)  # which is looked at in its turn: others may import it from there

    def _uses(self, node: Node, relation: str) -> list[Edge]:
        found: list[Edge] = []
        names = [node]
        owner, _, last = node.name.rpartition(".")
        if last in ("__init__", "__new__") and self.kind(Node(node.path, owner)) == "class":
            names.append(Node(node.path, owner))
        for wanted in names:
            for n, placed in enumerate(self._candidates(wanted, (relation,))):
                if n >= _MAX_BY_NAME * 4:
                    break
                certainty = self._certainty(placed, wanted)
                if certainty:
                    source = Node(placed.path, placed.fact.scope)
                    found.append(self._edge(source, relation, node, placed, certainty))
        return _sorted(dict.fromkeys(found))

    def _certainty(self, placed: Placed, node: Node) -> float:
        """How sure it is that a fact is about a node; 0 when it is about another."""
        if not node.path:
            return self._certainty_outside(placed, node)
        targets = self._targets(placed)
        for target, certainty in targets:
            if target == node:
                return certainty
        if not targets:
            return 0.0
        resolved = [target for target, certainty in targets if certainty == CERTAIN]
        if resolved and node.name.count(".") and any(self._stands_in(node, target) for target in resolved):
            return POSSIBLE
        return 0.0

    def _certainty_outside(self, placed: Placed, node: Node) -> float:
        scope = placed.fact.scope.rpartition(".")[0] if placed.fact.relation == INHERITS else placed.fact.scope
        values = self._resolver.values(placed.fact.expr.replace("[]", ""), scope, placed.path)
        if any(not value.is_external for value in values):
            return 0.0
        names = [value.node.name for value in values] or [placed.fact.expr]
        return CERTAIN if any(f".{name}".endswith(f".{node.name}") for name in names) else 0.0

    def _stands_in(self, node: Node, other: Node) -> bool:
        """Whether a method overrides another, which a call may therefore reach in its place."""
        owner, _, last = node.name.rpartition(".")
        other_owner, _, other_last = other.name.rpartition(".")
        if last != other_last or not other_owner or self.kind(Node(node.path, owner)) != "class":
            return False
        return any(base.node == Node(other.path, other_owner) for base in self._resolver.mro(Node(node.path, owner)))

    def _targets(self, placed: Placed) -> list[tuple[Node, float]]:
        """What a fact's expression stands for, with certainty; nothing when it is known to be outside of the corpus."""
        fact = placed.fact
        if not placed.path.partition("#")[0].endswith((*_PYTHON, ".ipynb")):
            return self._other_targets(placed)
        scope = fact.scope.rpartition(".")[0] if fact.relation == INHERITS else fact.scope
        values = self._resolver.values(
            fact.expr.replace("[]", "") if fact.relation == INHERITS else fact.expr, scope, placed.path
        )
        inside = [value for value in values if not value.is_external]
        if inside:
            return [(node, CERTAIN) for value in inside for node in self._meant(value, fact.relation)]
        if values:
            return []
        if "." not in fact.expr:  # a plain name is known by its scopes, or is a parameter
            return []
        return self._by_name(placed)

    def _meant(self, value: Value, relation: str) -> list[Node]:
        if value.kind == INSTANCE:
            if relation == CALLS:  # its __call__
                return [
                    member.node for member in self._resolver.attribute(value, "__call__") if member.kind == DEFINITION
                ]
            return [value.node]
        return [value.node] if value.kind in (DEFINITION, MODULE) else []

    def _by_name(self, placed: Placed) -> list[tuple[Node, float]]:
        """The definitions of a name whose owner could not be told, surer if its class is spelled like the owner."""
        fact = placed.fact
        nodes = [
            Node(item.path, qualified_name(item.fact))
            for item in self._table.named(fact.name)
            if item.fact.relation == DEFINES
            and "." in qualified_name(item.fact)
            and _same_language(item.path, placed.path)
        ]
        nodes = list(dict.fromkeys(nodes))
        if not nodes or len(nodes) > _MAX_BY_NAME:
            return []
        if len(nodes) == 1:
            return [(nodes[0], POSSIBLE)]
        owner = terms_of(fact.expr.rpartition(".")[0].removesuffix("()").removesuffix("[]").rpartition(".")[2])
        liked = [node for node in nodes if _is_like(owner, terms_of(node.name.split(".")[-2]))]
        return [
            (node, (POSSIBLE if len(liked) == 1 else 2 * BY_NAME - 0.1) if node in liked else BY_NAME) for node in nodes
        ]

    def _other_targets(self, placed: Placed) -> list[tuple[Node, float]]:
        """By name and scope, for languages without a resolver of their own."""
        fact = placed.fact
        owner = fact.expr.rpartition(".")[0].removesuffix("()").rpartition(".")[2]
        own_class = fact.scope.rpartition(".")[0]
        nodes = list(
            dict.fromkeys(
                Node(item.path, qualified_name(item.fact))
                for item in self._table.named(fact.name)
                if item.fact.relation == DEFINES and _same_language(item.path, placed.path)
            )
        )
        if owner in ("this", "self", "Self"):
            mine = [node for node in nodes if node.path == placed.path and node.name == f"{own_class}.{fact.name}"]
            if mine:
                return [(node, CERTAIN) for node in mine]
        elif owner:
            named = [node for node in nodes if node.name.endswith(f"{owner}.{fact.name}")]
            if named:
                return [(node, CERTAIN if len(named) == 1 else POSSIBLE) for node in named]
        here = [node for node in nodes if node.path == placed.path]
        if here and not owner:
            return [(node, CERTAIN) for node in here]
        near = [node for node in nodes if node.path in self._near(placed.path)]
        if len(near) == 1:
            return [(near[0], POSSIBLE if owner else CERTAIN)]
        if len(nodes) == 1:
            return [(nodes[0], POSSIBLE)]
        return [(node, BY_NAME) for node in nodes] if len(nodes) <= _MAX_BY_NAME else []

    # imports

    def _import_names(self, node: Node) -> list[str]:
        """The last parts that an import of a node is written with."""
        if node.name:
            return [node.last or node.name]
        dotted = self._modules.name(node.path)
        stem = node.path.rpartition("/")[2].partition(".")[0]
        folder = node.path.rpartition("/")[0].rpartition("/")[2]
        names = [dotted.rpartition(".")[2]] if dotted else [stem, folder, node.path.rpartition("/")[2]]
        if not dotted and node.path in self._paths:  # an import of a name may not write its file's
            names += [edge.target.name for edge in self.members(node)[:_MAX_BY_NAME]]
        return [name for name in dict.fromkeys(names) if name]

    def _import_certainty(self, placed: Placed, node: Node) -> float:
        if not node.path:
            inside = self._imported(placed)
            return CERTAIN if not inside and f".{placed.fact.expr}.".find(f".{node.name}.") >= 0 else 0.0
        if node in self._imported(placed):
            return CERTAIN
        by_name = node.name and not self._modules.name(node.path) and _same_language(node.path, placed.path)
        return CERTAIN if by_name and node.path in self._near(placed.path) else 0.0

    def _near(self, path: str) -> set[str]:
        """The files that one of another language imports."""
        if path not in self._near_of:
            imports = [placed for placed in self._table.of(path) if placed.fact.relation == IMPORTS]
            self._near_of[path] = {node.path for placed in imports for node in self._imported(placed)}
        return self._near_of[path]

    def _imported(self, placed: Placed) -> list[Node]:
        fact = placed.fact
        if placed.path.partition("#")[0].endswith((*_PYTHON, ".ipynb")):
            return [value.node for value in self._resolver.imported(fact.expr, placed.path) if not value.is_external]
        paths = self._modules.other(fact.expr, placed.path) if fact.alias == BARE else []
        if paths or fact.alias != BARE:
            return [Node(path, "") for path in paths]
        defined = {  # a namespace says nothing of the file that it is in
            item.path
            for item in self._table.named(fact.name)
            if item.fact.relation == DEFINES and not item.fact.scope and _same_language(item.path, placed.path)
        }
        return [Node(path, "") for path in defined] if len(defined) == 1 else []


def _is_like(owner: tuple[str, ...], of_class: tuple[str, ...]) -> bool:
    """Whether a variable is named after a class: session or sess for a Session, conn for an HTTPConnection."""
    return any(
        term == other or (len(term) >= _MIN_SHORT and other.startswith(term)) for term in owner for other in of_class
    )


def _same_language(one: str, other: str) -> bool:
    first, second = (path.partition("#")[0].rpartition(".")[2] for path in (one, other))
    families = (
        {"py", "pyi", "ipynb"},
        {"js", "jsx", "ts", "tsx", "mjs", "cjs", "vue"},
        {"c", "h", "cc", "cpp", "hpp", "cxx"},
    )
    return first == second or any({first, second} <= family for family in families)


def _sorted(edges: Iterable[Edge]) -> list[Edge]:
    """The most certain first, sources before tests and examples, then by place."""
    return sorted(edges, key=lambda edge: (-edge.certainty, path_kind(edge.path) != SOURCE, edge.path, edge.line))


def _one_a_line(edges: Iterable[Edge]) -> list[Edge]:
    seen: set[tuple[str, int]] = set()
    return [edge for edge in edges if (edge.path, edge.line) not in seen and not seen.add((edge.path, edge.line))]  # type: ignore[func-returns-value]
