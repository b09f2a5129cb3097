"""The facts of a Python file, from its syntax tree: one query in C finds the nodes of interest, this reads those."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from operator import itemgetter

from tree_sitter import Language, Node, Query, QueryCursor

from selfroute.memory.graph.facts import (
    ANNOTATED,
    BARE,
    BINDS,
    CALLS,
    DEFINES,
    ENTERED,
    IMPORTS,
    INHERITS,
    MAX_NODES,
    REFERENCES,
    RETURNS,
    STAR,
    UNKNOWN,
    Fact,
)

_QUERY = """
(class_definition) @class
(function_definition) @function
(import_statement) @import
(import_from_statement) @from
(call function: (_) @call)
(assignment) @assign
(named_expression) @walrus
(decorated_definition) @decorated
(with_item value: (as_pattern) @with)
(except_clause value: (as_pattern) @except)
(return_statement (_) @return)
(yield (_) @return)
(for_statement left: (_) @target)
(case_pattern (dotted_name . (identifier) @target .))
[(list_comprehension) (set_comprehension) (dictionary_comprehension) (generator_expression) (lambda)] @inner
(decorator [(identifier) (attribute)] @name)
(raise_statement . [(identifier) (attribute)] @name)
(except_clause value: [(identifier) (attribute)] @name)
(except_clause value: (as_pattern . [(identifier) (attribute)] @name))
(call arguments: (argument_list [(identifier) (attribute)] @name))
(type [(identifier) (attribute)] @name)
(keyword_argument value: [(identifier) (attribute)] @name)
(pair value: [(identifier) (attribute)] @name)
(list [(identifier) (attribute)] @name)
(tuple [(identifier) (attribute)] @name)
"""
_CHAIN = re.compile(rb"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\Z")
_LITERALS = {
    "string": "str",
    "concatenated_string": "str",
    "integer": "int",
    "float": "float",
    "list": "list",
    "list_comprehension": "list",
    "dictionary": "dict",
    "dictionary_comprehension": "dict",
    "set": "set",
    "set_comprehension": "set",
    "tuple": "tuple",
    "true": "bool",
    "false": "bool",
}
_MAX_EXPR = 200  # characters
_MAX_DEPTH = 12
_MAX_NAMES = 100  # parameters of a function, targets of an assignment
_MAX_RETURNS = 4  # of a function that says what it gives back
_NOT_NAMES = frozenset(
    "self cls None True False str int float bool bytes object list dict set tuple frozenset type Any t.Any".split()
)


def facts(root: Node, data: bytes, language: Language) -> list[Fact]:
    """What the file states, in the order of its lines."""
    captures = QueryCursor(_query(language)).captures(root)
    nodes = [(node.start_byte, -node.end_byte, kind, node) for kind, found in captures.items() for node in found]
    nodes.sort(key=itemgetter(0, 1, 2))
    reading = _Reading(data)
    for start, end, kind, node in nodes[:MAX_NODES]:
        reading.visit(kind, node, start, -end)
    return reading.finished()


@cache
def _query(language: Language) -> Query:
    return Query(language, _QUERY)


class _Reading:
    """The open scopes, innermost last: (end byte, qualified name, whether it is a class)."""

    def __init__(self, data: bytes) -> None:
        self.facts: list[Fact] = []
        self._data = data
        self._scopes: list[tuple[int, str, bool]] = [(len(data) + 1, "", False)]
        self._n_returns: dict[str, int] = {}
        self._locals: dict[str, set[str]] = {}  # of each function: its parameters and what it assigns
        self._decorated: Node | None = None  # the last one
        self._unknown: dict[tuple[str, str], Node] = {}  # (function, name): given something that has no name
        self._inner: list[tuple[int, frozenset[str]]] = []  # the open comprehensions and lambdas: end byte, names

    def visit(self, kind: str, node: Node, start: int, end: int) -> None:
        """Takes in one capture; they come by where they start, the longer first."""
        while self._scopes[-1][0] <= start:
            self._scopes.pop()
        while self._inner and self._inner[-1][0] <= start:
            self._inner.pop()
        if kind == "name":
            self._name(node)
        elif kind == "call":
            self._call(node)
        elif kind == "class":
            self._class(node, end)
        elif kind == "function":
            self._function(node, end)
        elif kind == "assign":
            self._assign(node, node.child_by_field_name("left"), node.child_by_field_name("right"))
        elif kind == "walrus":
            self._assign(node, node.child_by_field_name("name"), node.child_by_field_name("value"))
        elif kind == "import":
            self._import(node)
        elif kind == "from":
            self._from(node)
        elif kind == "with" or kind == "except":
            self._as(node, kind)
        elif kind == "decorated":
            self._decorated = node
        elif kind == "return":
            self._return(node)
        elif kind == "target":
            self._shadow(node)
        else:
            self._inner.append((end, frozenset(self._inner_names(node))))

    def finished(self) -> list[Fact]:
        """The facts, and those of unknown values whose names would else be taken for ones further out."""
        outer = {
            fact.name if fact.relation == DEFINES else fact.alias or fact.expr.partition(".")[0]
            for fact in self.facts
            if fact.relation in (DEFINES, IMPORTS)
        }
        known = {(fact.scope, fact.name) for fact in self.facts if fact.relation == BINDS}
        for (scope, name), node in self._unknown.items():
            if name in outer and (scope, name) not in known:
                self._add(BINDS, name, UNKNOWN, node, scope=scope)
        return self.facts

    def _add(
        self,
        relation: str,
        name: str,
        expr: str,
        node: Node,
        *,
        alias: str = "",
        scope: str | None = None,
        line: int = 0,
    ) -> None:
        if len(name) > _MAX_EXPR:
            return
        if len(expr) > _MAX_EXPR:
            expr = f"{UNKNOWN}.{name}"
        line = line or node.start_point[0] + 1
        self.facts.append(
            Fact(relation, self._scopes[-1][1] if scope is None else scope, name, expr, alias, line, line)
        )

    def _text(self, node: Node) -> str:
        return self._data[node.start_byte : node.end_byte].decode("utf-8", "replace")

    # definitions

    def _class(self, node: Node, end: int) -> None:
        qualified = self._define(node, "class", "")
        if not qualified:
            return
        bases = node.child_by_field_name("superclasses")
        for base in bases.named_children if bases is not None else ():
            if base.type != "keyword_argument" and base.type != "comment":
                expr = self._expr(base)
                if not expr.startswith(UNKNOWN):
                    self._add(INHERITS, _last(expr.removesuffix("[]")), expr, base, scope=qualified)
        self._scopes.append((end, qualified, True))

    def _function(self, node: Node, end: int) -> None:
        in_class = self._scopes[-1][2]
        parameters = node.child_by_field_name("parameters")
        names: list[str] = []
        typed: list[tuple[str, Node]] = []
        for parameter in parameters.named_children if parameters is not None else ():
            for text in self._parameter_name(parameter):
                names.append(text.lstrip("*"))
                annotation = parameter.child_by_field_name("type")
                if annotation is not None and not text.startswith("*"):
                    typed.append((text, annotation))
        qualified = self._define(node, "method" if in_class else "function", " ".join(names[:_MAX_NAMES]))
        if not qualified:
            return
        self._locals[qualified] = set(names)
        for text, annotation in typed:
            self._add(BINDS, text, ANNOTATED + self._annotation(annotation), annotation, scope=qualified)
        returned = node.child_by_field_name("return_type")
        self._n_returns[qualified] = 0 if returned is None else _MAX_RETURNS
        if returned is not None:
            self._add(RETURNS, "", ANNOTATED + self._annotation(returned), returned, scope=qualified)
        self._scopes.append((end, qualified, False))

    def _parameter_name(self, parameter: Node) -> Iterator[str]:
        """The name with its stars, none for a comment or a separator."""
        name = parameter if parameter.type == "identifier" else parameter.child_by_field_name("name")
        if name is None and parameter.named_child_count:
            name = parameter.named_children[0]
        if name is not None and parameter.type not in ("comment", "keyword_separator", "positional_separator"):
            yield self._text(name)

    def _define(self, node: Node, kind: str, parameters: str) -> str:
        """Adds the definition, and gives its qualified name."""
        name = node.child_by_field_name("name")
        text = self._text(name) if name is not None else ""  # not name.text, which reads the file again
        if not 0 < len(text) <= _MAX_EXPR:
            return ""
        outer, self._decorated = self._decorated, None  # not node.parent, which looks for it from the root
        decorated = outer if outer is not None and outer.end_byte == node.end_byte else node
        decorators = [
            self._expr(child.named_children[0]).removesuffix("()")
            for child in (decorated.named_children if decorated is not node else ())
            if child.type == "decorator" and child.named_children
        ]
        scope = self._scopes[-1][1]
        expr = " ".join([kind, *(f"@{decorator}" for decorator in decorators)])
        first, last = decorated.start_point[0] + 1, node.end_point[0] + 1
        self.facts.append(Fact(DEFINES, scope, text, expr[:_MAX_EXPR], parameters, first, last))
        return f"{scope}.{text}" if scope else text

    # imports

    def _import(self, node: Node) -> None:
        for child in node.children_by_field_name("name"):
            alias = ""
            if child.type == "aliased_import":
                named = child.child_by_field_name("alias")
                alias = self._text(named) if named is not None else ""
                inner = child.child_by_field_name("name")
                child = inner if inner is not None else child
            module = self._text(child)
            self._add(IMPORTS, _last(module), module, child, alias=alias)

    def _from(self, node: Node) -> None:
        module = node.child_by_field_name("module_name")
        if module is None:
            return
        base = "".join(self._text(module).split())
        if base.strip("."):
            self._add(IMPORTS, _last(base), base, module, alias=BARE)
        joined = base if base.endswith(".") else f"{base}."
        names = node.children_by_field_name("name")
        if not names and any(child.type == "wildcard_import" for child in node.named_children):
            self._add(IMPORTS, STAR, base, node, alias=STAR)
        for child in names:
            alias = ""
            if child.type == "aliased_import":
                named, inner = child.child_by_field_name("alias"), child.child_by_field_name("name")
                alias = self._text(named) if named is not None else ""
                child = inner if inner is not None else child
            name = self._text(child)
            self._add(IMPORTS, name, joined + name, child, alias=alias or name)

    # names that hide others

    def _shadow(self, node: Node) -> None:
        scope = self._scopes[-1][1]
        if scope in self._locals:
            for target in _targets(node):
                name = self._text(target)
                self._locals[scope].add(name)
                self._unknown.setdefault((scope, name), target)

    def _inner_names(self, node: Node) -> Iterator[str]:
        if node.type == "lambda":
            parameters = node.child_by_field_name("parameters")
            for parameter in parameters.named_children if parameters is not None else ():
                yield from self._parameter_name(parameter)
            return
        for clause in node.named_children:
            left = clause.child_by_field_name("left") if clause.type == "for_in_clause" else None
            yield from map(self._text, _targets(left))

    def _unhidden(self, expr: str) -> str:
        """The expression, its first name gone when a comprehension or a lambda around gives it."""
        head = expr.partition(".")[0].rstrip("()[]")
        hidden = any(head in names for _, names in self._inner)
        return UNKNOWN + expr[len(head) :] if hidden else expr

    # uses

    def _call(self, function: Node) -> None:
        expr = self._expr(function)
        if self._inner:
            expr = self._unhidden(expr)
        name = _last(expr)
        if name and name[0] != UNKNOWN:
            # the line of the name: a chain over many lines is called where its last name stands
            self._add(CALLS, name, expr, function, line=function.end_point[0] + 1)

    def _name(self, node: Node) -> None:
        expr = self._expr(node)
        if expr in _NOT_NAMES:
            return
        if self._inner:
            expr = self._unhidden(expr)
        head = expr.partition(".")[0]
        is_local = head not in ("self", "cls") and head in self._locals.get(self._scopes[-1][1], ())
        if not is_local and expr[0] != UNKNOWN:
            self._add(REFERENCES, _last(expr), expr, node)

    # values

    def _assign(self, node: Node, left: Node | None, right: Node | None) -> None:
        annotation = node.child_by_field_name("type")
        if left is None or (right is None and annotation is None):
            return
        value = ANNOTATED + self._annotation(annotation) if annotation is not None else ""
        if not value and right is not None:
            value = self._expr(right)
        if value.startswith(UNKNOWN):
            value = UNKNOWN
        scope, is_class = self._scopes[-1][1:]
        if left.type == "identifier":
            if scope and not is_class and value == UNKNOWN:
                self._shadow(left)
                return
            name = self._text(left)
            if scope in self._locals:
                self._locals[scope].add(name)
            if not scope or is_class:
                kind = "constant" if not scope else "attribute"
                line, end_line = node.start_point[0] + 1, node.end_point[0] + 1
                self.facts.append(Fact(DEFINES, scope, name, kind, "", line, end_line))
            self._add(BINDS, name, value, left)
        elif left.type == "attribute" and value != UNKNOWN:
            owner, member = left.child_by_field_name("object"), left.child_by_field_name("attribute")
            holder = next((s for s in reversed(self._scopes[:-1]) if s[2]), None)
            if owner is not None and member is not None and holder and self._text(owner) in ("self", "cls"):
                self._add(BINDS, self._text(member), value, left, alias=scope, scope=holder[1])
        else:
            self._shadow(left)

    def _as(self, node: Node, kind: str) -> None:
        """`with value as name`; `except Kind as name` gives name an instance of Kind."""
        if node.named_child_count < 2:
            return
        value, target = node.named_children[0], node.named_children[-1]
        name = self._text(target)
        expr = self._expr(value)
        if not name.isidentifier() or expr.startswith(UNKNOWN):
            self._shadow(target)
        else:
            entered = f"{expr}{ENTERED}" if kind == "with" else f"{expr}()"
            self._add(BINDS, name, entered, target)

    def _return(self, node: Node) -> None:
        scope = self._scopes[-1][1]
        n = self._n_returns.get(scope, 0)
        expr = self._expr(node) if n < _MAX_RETURNS else UNKNOWN
        if scope and not expr.startswith(UNKNOWN):
            self._n_returns[scope] = n + 1
            self._add(RETURNS, "", expr, node)

    def _annotation(self, node: Node) -> str:
        """Of a long one, which is Annotated, the first argument."""
        start, end = node.start_byte, node.end_byte
        text = " ".join(self._data[start : min(end, start + 10 * _MAX_EXPR)].decode("utf-8", "replace").split())
        if len(text) < _MAX_EXPR and end - start <= 10 * _MAX_EXPR:
            return text
        depth = 0
        for at, character in enumerate(text[:_MAX_EXPR]):
            depth += (character == "[") - (character == "]")
            if character == "," and depth == 1:
                return f"{text[:at]}]"
        return UNKNOWN

    def _expr(self, node: Node, depth: int = 0) -> str:
        text = self._data[node.start_byte : node.end_byte]
        if len(text) <= _MAX_EXPR and _CHAIN.match(text):
            return text.decode("utf-8", "replace")
        kind = node.type
        if depth > _MAX_DEPTH or not text:  # a name that the parser put in where it misses one has no text
            return UNKNOWN
        if kind == "attribute":
            owner, name = node.child_by_field_name("object"), node.child_by_field_name("attribute")
            if owner is None or name is None or name.is_missing:
                return UNKNOWN
            return f"{self._expr(owner, depth + 1)}.{self._text(name)}"
        if kind == "call":
            function = node.child_by_field_name("function")
            return f"{self._expr(function, depth + 1)}()" if function is not None else UNKNOWN
        if kind == "subscript":
            value = node.child_by_field_name("value")
            return f"{self._expr(value, depth + 1)}[]" if value is not None else UNKNOWN
        if kind in ("parenthesized_expression", "await", "expression_list", "type") and node.named_child_count == 1:
            return self._expr(node.named_children[0], depth + 1)
        if kind == "boolean_operator":  # `given or Default()`
            right = node.child_by_field_name("right")
            return self._expr(right, depth + 1) if right is not None else UNKNOWN
        if kind == "conditional_expression" and node.named_child_count == 3:
            either = (self._expr(node.named_children[0], depth + 1), self._expr(node.named_children[2], depth + 1))
            return next(filter(lambda expr: not expr.startswith(UNKNOWN) and expr != "None", either), UNKNOWN)
        if kind in _LITERALS:
            return f"{_LITERALS[kind]}()"
        if kind == "identifier":
            return self._text(node)
        return UNKNOWN


def _targets(node: Node | None) -> list[Node]:
    """The names that a target such as `a, (b, *c)` gives values to."""
    found: list[Node] = []
    todo = [node] if node is not None else []
    while todo and len(found) < _MAX_NAMES:
        one = todo.pop()
        if one.type == "identifier":
            found.append(one)
        elif one.type not in ("attribute", "subscript", "call"):
            todo += one.named_children
    return found


def _last(expr: str) -> str:
    """`get` of "session().get", "" when it ends in a call or an item."""
    return expr.rpartition(".")[2] if not expr.endswith(("()", "[]")) else ""
