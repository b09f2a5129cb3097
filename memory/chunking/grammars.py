"""Which tree-sitter grammar reads a language, and what the walk does at each of its node types.

A new language is one entry of GRAMMARS. Grammars come as wheels; each is imported when its language is first met.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from tree_sitter import Language

# What the walk does at a node; any other node is a statement, looked into only when it is over the limit.
FUNCTION = "function"  # a definition; its inside is cut only when it is over the limit
CLASS = "class"  # a definition whose members are walked
EXTENSION = "extension"  # members of a type that is defined elsewhere (Rust's impl)
WRAPPER = "wrapper"  # belongs to the definition that it ends with: decorators, export, template <...>
CONTAINER = "container"  # its children are siblings of its own siblings: namespaces, #ifdef
BLOCK = "block"  # a container outside of functions, a statement inside: if, try, {...}
STATEMENT = "statement"  # may hold one assignment
ASSIGNMENT = "assignment"  # a name and a value
COMMENT = "comment"  # joins what stands directly below it


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar's package and entry point, and the action at each node type."""

    package: str
    entry: str
    actions: Mapping[str, str]
    inner: tuple[bytes, ...] = ()  # a function that holds none of these words defines nothing further inside
    needs_body: bool = False  # `struct x;` without a body defines nothing


def _grammar(
    package: str, types: Mapping[str, str], *, entry: str = "language", inner: str = "", needs_body: bool = False
) -> Grammar:
    """types: action -> node types, separated by spaces, as are the words of inner."""
    actions = {"ERROR": CONTAINER} | {name: action for action, names in types.items() for name in names.split()}
    words = tuple(word.encode() for word in inner.split())
    return Grammar(package, entry, MappingProxyType(actions), words, needs_body)


_JAVASCRIPT = {
    FUNCTION: "function_declaration generator_function_declaration method_definition",
    CLASS: "class_declaration",
    WRAPPER: "export_statement lexical_declaration variable_declaration",
    CONTAINER: "class_body object",
    BLOCK: "if_statement else_clause try_statement catch_clause statement_block",
    STATEMENT: "expression_statement",
    ASSIGNMENT: "assignment_expression variable_declarator pair field_definition",
    COMMENT: "comment",
}
_TYPESCRIPT = _JAVASCRIPT | {
    FUNCTION: f"{_JAVASCRIPT[FUNCTION]} function_signature",
    CLASS: "class_declaration abstract_class_declaration interface_declaration enum_declaration type_alias_declaration",
    WRAPPER: f"{_JAVASCRIPT[WRAPPER]} ambient_declaration",
    CONTAINER: "class_body object interface_body enum_body internal_module module",
    ASSIGNMENT: f"{_JAVASCRIPT[ASSIGNMENT]} public_field_definition",
    COMMENT: "comment decorator",
}
_JAVASCRIPT_INNER = "function => class interface"
_C = {
    FUNCTION: "function_definition preproc_function_def",
    CLASS: "struct_specifier union_specifier enum_specifier type_definition",
    WRAPPER: "linkage_specification",
    CONTAINER: "preproc_ifdef preproc_if preproc_else preproc_elif preproc_elifdef declaration_list"
    " field_declaration_list",
    ASSIGNMENT: "declaration preproc_def",
    COMMENT: "comment",
}
_CPP = _C | {
    CLASS: f"{_C[CLASS]} class_specifier alias_declaration concept_definition",
    WRAPPER: "linkage_specification template_declaration",
    CONTAINER: f"{_C[CONTAINER]} namespace_definition",
}

GRAMMARS: Mapping[str, Grammar] = {
    "python": _grammar(
        "tree_sitter_python",
        {
            FUNCTION: "function_definition",
            CLASS: "class_definition",
            WRAPPER: "decorated_definition",
            BLOCK: "if_statement elif_clause else_clause try_statement except_clause finally_clause with_statement"
            " block",
            STATEMENT: "expression_statement",
            ASSIGNMENT: "assignment",
            COMMENT: "comment",
        },
        inner="def class",
    ),
    "javascript": _grammar("tree_sitter_javascript", _JAVASCRIPT, inner=_JAVASCRIPT_INNER),
    "typescript": _grammar("tree_sitter_typescript", _TYPESCRIPT, entry="language_typescript", inner=_JAVASCRIPT_INNER),
    "tsx": _grammar("tree_sitter_typescript", _TYPESCRIPT, entry="language_tsx", inner=_JAVASCRIPT_INNER),
    "go": _grammar(
        "tree_sitter_go",
        {
            FUNCTION: "function_declaration method_declaration",
            CLASS: "type_spec type_alias",
            WRAPPER: "type_declaration const_declaration var_declaration",
            CONTAINER: "var_spec_list statement_list",
            ASSIGNMENT: "const_spec var_spec",
            COMMENT: "comment",
        },
        inner="type const",
    ),
    "rust": _grammar(
        "tree_sitter_rust",
        {
            FUNCTION: "function_item macro_definition",
            CLASS: "struct_item enum_item union_item trait_item type_item mod_item",
            EXTENSION: "impl_item",
            CONTAINER: "declaration_list foreign_mod_item",
            ASSIGNMENT: "const_item static_item",
            COMMENT: "line_comment block_comment attribute_item",
        },
        inner="fn struct enum trait impl mod",
    ),
    "java": _grammar(
        "tree_sitter_java",
        {
            FUNCTION: "method_declaration constructor_declaration compact_constructor_declaration",
            CLASS: "class_declaration interface_declaration enum_declaration record_declaration"
            " annotation_type_declaration",
            WRAPPER: "field_declaration constant_declaration",
            CONTAINER: "class_body interface_body enum_body enum_body_declarations",
            ASSIGNMENT: "variable_declarator",
            COMMENT: "line_comment block_comment",
        },
        inner="class interface enum record",
    ),
    "c": _grammar("tree_sitter_c", _C, inner="struct union enum", needs_body=True),
    "cpp": _grammar("tree_sitter_cpp", _CPP, inner="struct class union enum", needs_body=True),
    "csharp": _grammar(
        "tree_sitter_c_sharp",
        {
            FUNCTION: "method_declaration constructor_declaration destructor_declaration operator_declaration"
            " conversion_operator_declaration indexer_declaration property_declaration local_function_statement",
            CLASS: "class_declaration interface_declaration struct_declaration enum_declaration record_declaration"
            " record_struct_declaration delegate_declaration",
            WRAPPER: "field_declaration variable_declaration global_statement",
            CONTAINER: "namespace_declaration declaration_list preproc_if preproc_else preproc_elif",
            ASSIGNMENT: "variable_declarator",
            COMMENT: "comment",
        },
    ),
    "ruby": _grammar(
        "tree_sitter_ruby",
        {
            FUNCTION: "method singleton_method",
            CLASS: "class module",
            WRAPPER: "call argument_list",
            CONTAINER: "body_statement singleton_class do_block",
            BLOCK: "if unless begin then else",
            ASSIGNMENT: "assignment",
            COMMENT: "comment",
        },
        inner="def class module",
    ),
    "php": _grammar(
        "tree_sitter_php",
        {
            FUNCTION: "function_definition method_declaration",
            CLASS: "class_declaration interface_declaration trait_declaration enum_declaration",
            WRAPPER: "const_declaration",
            CONTAINER: "namespace_definition declaration_list enum_declaration_list",
            BLOCK: "if_statement compound_statement",
            STATEMENT: "expression_statement",
            ASSIGNMENT: "assignment_expression const_element",
            COMMENT: "comment",
        },
        entry="language_php",
        inner="function class",
    ),
    "kotlin": _grammar(
        "tree_sitter_kotlin",
        {
            FUNCTION: "function_declaration secondary_constructor",
            CLASS: "class_declaration object_declaration type_alias",
            CONTAINER: "class_body enum_class_body companion_object function_body block",
            ASSIGNMENT: "property_declaration",
            COMMENT: "line_comment block_comment",
        },
        inner="fun class object interface",
    ),
    "swift": _grammar(
        "tree_sitter_swift",
        {
            FUNCTION: "function_declaration init_declaration deinit_declaration subscript_declaration"
            " protocol_function_declaration",
            CLASS: "class_declaration protocol_declaration typealias_declaration",
            CONTAINER: "class_body protocol_body enum_class_body statements",
            ASSIGNMENT: "property_declaration",
            COMMENT: "comment multiline_comment",
        },
        inner="func class struct enum extension",
    ),
    "bash": _grammar(
        "tree_sitter_bash",
        {
            FUNCTION: "function_definition",
            WRAPPER: "declaration_command",
            BLOCK: "if_statement elif_clause else_clause",
            ASSIGNMENT: "variable_assignment",
            COMMENT: "comment",
        },
        inner="() function",
    ),
}
ALIASES: Mapping[str, str] = {
    "jsx": "javascript",
    "javascriptreact": "javascript",
    "typescriptreact": "tsx",
    "c++": "cpp",
    "c#": "csharp",
    "c_sharp": "csharp",
    "shell": "bash",
    "sh": "bash",
    "zsh": "bash",
    "golang": "go",
}


def grammar_of(language: str) -> Grammar | None:
    """The grammar of a language by its name or alias, or None."""
    return GRAMMARS.get(ALIASES.get(language, language))


@cache
def tree_sitter_language(package: str, entry: str) -> Language:
    """The loaded grammar."""
    return Language(getattr(importlib.import_module(package), entry)())
