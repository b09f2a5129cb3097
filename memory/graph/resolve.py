"""What an expression of a Python file means: the definitions it may stand for, by scopes, imports, types and bases.

A small abstract interpreter over the facts of the files: names are looked up in the scopes around them, imports are
followed through re-exports, `self` is an instance of the class around, calls of a class give instances, calls of a
function what it is annotated to return or is seen to return, and attributes are looked up along the method resolution
order. Everything is evaluated when it is asked for, and remembered.
"""

from __future__ import annotations

import builtins
import re
from typing import NamedTuple

from selfroute.memory.graph.annotations import named_types
from selfroute.memory.graph.facts import (
    ANNOTATED,
    DEFINES,
    ENTERED,
    IMPORTS,
    Fact,
)
from selfroute.memory.graph.modules import Modules
from selfroute.memory.graph.nodes import FactTable, Node
from selfroute.memory.graph.scopes import Binding, File

MODULE, DEFINITION, INSTANCE, EXTERNAL = "module", "definition", "instance", "external"
_TOKEN = re.compile(r"\w+|\(\)|\[\]|[>?]")
_MAX_DEPTH = 24  # of what one expression leads to
_MAX_LOOKUPS = 48  # names and modules that are being looked up for one another
_MAX_STEPS = 1_000  # evaluations for one expression, in code that goes round in circles
_MAX_VALUES = 8
_BUILTINS = frozenset(dir(builtins))
_PROPERTIES = (
    "property",
    "cached_property",
    "locked_cached_property",
    "reify",
    "hybrid_property",
    "under_cached_property",
)


class Value(NamedTuple):
    """What an expression may stand for. node: of the corpus; for EXTERNAL its dotted name stands in node.name.

    owner: of a member, the class that it was looked up on.
    """

    kind: str
    node: Node
    owner: Node | None = None

    @property
    def is_external(self) -> bool:
        """Whether it is known to be nothing of the corpus."""
        return self.kind == EXTERNAL


Values = tuple[Value, ...]


class Resolver:
    """Evaluates expressions over the files of a table."""

    def __init__(self, table: FactTable, modules: Modules) -> None:
        self._table, self._modules = table, modules
        self._files: dict[str, File] = {}
        self._values: dict[tuple[str, str, str], Values] = {}
        self._open: set[tuple[str, str, str]] = set()
        self._lookups: set[tuple[str, str, str]] = set()
        self._in_circles: dict[tuple[str, str, str], Values] = {}  # asked for by itself, and perhaps incomplete
        self._n_cut = 0  # how often a circle was cut
        self._n_steps = 0

    def file(self, path: str) -> File:
        """The facts of a file."""
        if path not in self._files:
            self._files[path] = File(path, self._table.of(path))
        return self._files[path]

    def values(self, expr: str, scope: str, path: str) -> Values:
        """What an expression in a scope of a file may stand for; nothing when that cannot be told."""
        key = (expr, scope, path)
        if key in self._values:
            return self._values[key]
        is_first = not self._open and not self._lookups
        if is_first and key in self._in_circles:
            return self._in_circles[key]
        if key in self._open or self._is_spent():
            self._n_cut += 1
            return ()
        n_cut = self._n_cut
        self._open.add(key)
        try:
            if expr.startswith(ANNOTATED):
                found = self._annotated(expr[1:], scope, path)
            else:
                found = self._chain(_TOKEN.findall(expr), scope, path)
        finally:
            self._open.discard(key)
        found = tuple(dict.fromkeys(found))[:_MAX_VALUES]
        if self._n_cut == n_cut:  # inside of a circle a value may be incomplete
            self._values[key] = found
        elif is_first:
            self._in_circles[key] = found
        return found

    def _is_spent(self) -> bool:
        """Counts a step; whether what was asked for leads too deep or too far."""
        if not self._open and not self._lookups:
            self._n_steps = 0
        self._n_steps += 1
        return self._n_steps > _MAX_STEPS or len(self._open) > _MAX_DEPTH or len(self._lookups) > _MAX_LOOKUPS

    def imported(self, dotted: str, path: str) -> Values:
        """What an import's dotted name stands for: a module, or what a module holds."""
        if module := self._modules.python(dotted, path):
            return (Value(MODULE, Node(module, "")),)
        parent, _, name = dotted.rpartition(".")
        if dotted.startswith(".") and not parent.strip("."):
            parent = dotted[: len(dotted) - len(dotted.lstrip("."))]
            name = dotted.lstrip(".")
        if parent and (module := self._modules.python(parent, path)):
            return self.attribute(Value(MODULE, Node(module, "")), name)
        if parent and not dotted.startswith("."):
            outer = self.imported(parent, path) if "." in parent else ()
            inner = tuple(value for one in outer if not one.is_external for value in self.attribute(one, name))
            if inner:
                return inner
        return (Value(EXTERNAL, Node("", dotted)),)

    def bases(self, node: Node) -> list[Value]:
        """The bases of a class, in order; EXTERNAL those outside of the corpus."""
        scope = node.name.rpartition(".")[0]
        found: list[Value] = []
        for expr in self.file(node.path).bases.get(node.name, ()):
            values = [
                v for v in self.values(expr.replace("[]", ""), scope, node.path) if v.kind in (DEFINITION, EXTERNAL)
            ]
            found += values[:1] or [Value(EXTERNAL, Node("", expr))]
        return found

    def mro(self, node: Node) -> list[Value]:
        """The class and what it inherits from, depth first, each once; near enough to Python's own order."""
        order: dict[Value, None] = {}
        todo = [Value(DEFINITION, node)]
        while todo and len(order) < 64:
            value = todo.pop(0)
            if value not in order:
                order[value] = None
                if not value.is_external:
                    todo = self.bases(value.node) + todo
        return list(order)

    def attribute(self, value: Value, name: str) -> Values:
        """What `value.name` may stand for."""
        if value.kind == EXTERNAL:
            dotted = f"{value.node.name}.{name}"
            module = self._modules.python(dotted)  # of a namespace package
            return (Value(MODULE, Node(module, "")) if module else Value(EXTERNAL, Node("", dotted)),)
        if value.kind == MODULE:
            return self._of_module(value.node.path, name)
        if self.file(value.node.path).kind(value.node.name) != "class":
            return ()
        return self._of_class(value, name)

    def called(self, value: Value) -> Values:
        """What calling a value gives."""
        if value.kind == EXTERNAL:
            return (Value(EXTERNAL, Node("", f"{value.node.name}()")),)
        file, name = self.file(value.node.path), value.node.name
        if value.kind == INSTANCE:
            return tuple(
                r
                for method in self._of_class(value, "__call__")
                if method.kind == DEFINITION
                for r in self.called(method)
            )
        if value.kind == DEFINITION:
            if file.kind(name) == "class":
                return (Value(INSTANCE, value.node),)
            return self._returned(value)
        return ()

    # inside

    def _returned(self, value: Value) -> Values:
        """What a function gives; `self` and `cls()` of a method are of the class that it was looked up on."""
        scope, path = value.node.name, value.node.path
        given = (v for expr in self.file(path).returns.get(scope, ()) for v in self.values(expr, scope, path))
        if value.owner is None:
            return tuple(given)
        own = Node(path, scope.rpartition(".")[0])
        return tuple(v._replace(node=value.owner) if v.node == own else v for v in given)

    def _entered(self, value: Value) -> Values:
        """What `with value as` gives; a value that cannot be entered came out of a generator, which yields it."""
        if value.kind != INSTANCE:
            return self.called(value) if value.is_external else ()
        methods = self._of_class(value, "__enter__") or self._of_class(value, "__aenter__")
        given = tuple(v for method in methods if not method.is_external for v in self.called(method))
        return given or (value,)

    def _chain(self, tokens: list[str], scope: str, path: str) -> Values:
        if not tokens or tokens[0] in ("()", "[]"):
            return ()
        at = 1
        if tokens[:2] == ["super", "()"]:
            values, at = self._super(scope, path), 2
        else:
            values = self._lookup(tokens[0], scope, path)
        for token in tokens[at:]:
            if token == "()":
                values = tuple(v for value in values for v in self.called(value))
            elif token == ENTERED:
                values = tuple(v for value in values for v in self._entered(value))
            elif token == "[]":  # an item is unknown; a class with type arguments is itself
                values = tuple(v for v in values if v.kind == DEFINITION or v.is_external)
            else:
                values = tuple(v for value in values for v in self.attribute(value, token))
            values = tuple(dict.fromkeys(values))[:_MAX_VALUES]
        return values

    def _lookup(self, name: str, scope: str, path: str) -> Values:
        key = (name, scope, path)
        if key in self._lookups or self._is_spent():  # x = x
            self._n_cut += 1
            return ()
        self._lookups.add(key)
        try:
            return self._looked_up(name, scope, path)
        finally:
            self._lookups.discard(key)

    def _looked_up(self, name: str, scope: str, path: str) -> Values:
        file = self.file(path)
        here = scope
        while here:
            if here == scope or file.kind(here) != "class":
                placed = file.definitions.get(here)
                own = self._parameter(name, here, placed.fact, file) if placed is not None else None
                if bindings := file.names[here].get(name) if here in file.names else None:
                    return self._bound(bindings, path) or own or ()
                if own is not None:
                    return own
            here = here.rpartition(".")[0]
        if bindings := file.names[""].get(name) if "" in file.names else None:
            return self._bound(bindings, path)
        for source in self._shared(file):
            if found := self._of_module(source, name):
                return found
        return (Value(EXTERNAL, Node("", f"builtins.{name}")),) if name in _BUILTINS else ()

    def _shared(self, file: File) -> list[str]:
        """The other files whose names are a file's own: those that it imports with a star, the cells around a cell."""
        stars = (self._modules.python(module, file.path) for module in file.stars)
        return [path for path in (*stars, *self._modules.cells(file.path)) if path and path != file.path]

    def _parameter(self, name: str, function: str, fact: Fact, file: File) -> Values | None:
        """`self` and `cls`; any other parameter without a type is unknown; None for what is no parameter."""
        owner = function.rpartition(".")[0]
        names = fact.alias.split()
        if name not in names:
            return None
        if names[0] != name or file.kind(owner) != "class" or "staticmethod" in file.decorators(function):
            return ()
        is_class = "classmethod" in file.decorators(function) or fact.name in ("__new__", "__init_subclass__")
        return (Value(DEFINITION if is_class else INSTANCE, Node(file.path, owner)),)

    def _bound(self, bindings: list[Binding], path: str) -> Values:
        found: list[Value] = []
        for how, expr, scope in bindings:
            if how == DEFINES:
                found.append(Value(DEFINITION, Node(path, expr)))
            elif how == IMPORTS:
                found += self.imported(expr, path)
            else:
                found += self.values(expr, scope, path)
        inside = [value for value in found if not value.is_external]
        return tuple(dict.fromkeys(inside or found))

    def _super(self, scope: str, path: str) -> Values:
        """An instance of the bases of the class around."""
        file = self.file(path)
        here = scope
        while here and file.kind(here) != "class":
            here = here.rpartition(".")[0]
        if not here:
            return ()
        return tuple(
            Value(INSTANCE, base.node) if base.kind == DEFINITION else base for base in self.bases(Node(path, here))
        )

    def _of_module(self, path: str, name: str) -> Values:
        key = (name, "", path)
        if key in self._lookups or self._is_spent():
            self._n_cut += 1
            return ()
        self._lookups.add(key)
        try:
            file = self.file(path)
            bindings = file.names[""].get(name) if "" in file.names else None
            if bindings and (found := self._bound(bindings, path)):
                return found
            if name in file.definitions:
                return (Value(DEFINITION, Node(path, name)),)
            own = self._modules.name(path)
            if own and (module := self._modules.python(f"{own}.{name}")):
                return (Value(MODULE, Node(module, "")),)
            for source in self._shared(file):
                if found := self._of_module(source, name):
                    return found
            return ()
        finally:
            self._lookups.discard(key)

    def _of_class(self, value: Value, name: str) -> Values:
        """A member by the method resolution order; EXTERNAL when it can only be that of a base outside."""
        outside = False
        for owner in self.mro(value.node):
            if owner.is_external:
                outside = outside or owner.node.name not in (
                    "object",
                    "builtins.object",
                    "typing.Protocol",
                    "typing.Generic",
                    "abc.ABC",
                )
                continue
            file = self.file(owner.node.path)
            names = file.names.get(owner.node.name)
            bindings = names.get(name) if names is not None else None
            if not bindings:
                if f"{owner.node.name}.{name}" in file.definitions:
                    return ()
                continue
            methods = [b for b in bindings if b.how == DEFINES]
            if methods:
                member = Value(DEFINITION, Node(file.path, methods[-1].expr), value.node)
                if value.kind == INSTANCE and any(d in _PROPERTIES for d in file.decorators(member.node.name)):
                    return self._returned(member)
                return (member,)
            return self._bound(bindings, file.path)
        return (Value(EXTERNAL, Node("", f"?.{name}")),) if outside else ()

    # annotations

    def _annotated(self, text: str, scope: str, path: str) -> Values:
        """Instances of the types that an annotation names."""
        here = scope if self.file(path).kind(scope) == "class" else scope.rpartition(".")[0]
        found: list[Value] = []
        for name, itself in named_types(text):
            if name.rpartition(".")[2] == "Self":
                values: Values = (Value(DEFINITION, Node(path, here)),) if self.file(path).kind(here) == "class" else ()
            else:
                values = self.values(name, here, path)
            found += (made for value in values if (made := self._instance(value, itself=itself)) is not None)
        return tuple(found) or self._like_self(text, scope, path)

    def _instance(self, value: Value, *, itself: bool) -> Value | None:
        """An instance of a type, or with itself the type; what is no class is itself, a type variable nothing."""
        if value.is_external:
            if value.node.name.endswith("TypeVar()"):
                return None
            return Value(EXTERNAL, Node(value.node.path, f"{value.node.name}()"))
        if value.kind == DEFINITION and not itself and self.file(value.node.path).kind(value.node.name) == "class":
            return Value(INSTANCE, value.node)
        return value if value.kind in (DEFINITION, INSTANCE) else None

    def _like_self(self, text: str, scope: str, path: str) -> Values:
        """An instance of the class around, when `self` is annotated with the same type variable."""
        file, owner = self.file(path), scope.rpartition(".")[0]
        placed = file.definitions.get(scope)
        if placed is None or file.kind(owner) != "class" or scope not in file.names:
            return ()
        bindings = file.names[scope].get(placed.fact.alias.partition(" ")[0], ())
        own = (f"{ANNOTATED}{text}", f"{ANNOTATED}type[{text}]", f"{ANNOTATED}Type[{text}]")
        return (Value(INSTANCE, Node(path, owner)),) if any(binding.expr in own for binding in bindings) else ()
