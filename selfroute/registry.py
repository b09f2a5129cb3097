"""Names to classes, imported on use: a new part is one file and one line here, or an entry point from outside.

An entry point stands in the group `selfroute.<kind>`, e.g. [project.entry-points."selfroute.policy"] mine =
"pkg.mod:Mine".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from selfroute.errors import ConfigError, UnknownNameError

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "embedder": {
        "static": "selfroute.models.static:StaticEmbedder",
        "hashing": "selfroute.models.hashing:HashingEmbedder",
        "sentence-transformers": "selfroute.models.sentence:SentenceEmbedder",
    },
    "reader": {
        "evidence": "selfroute.models.evidence:EvidenceReader",
        "span": "selfroute.models.span_reader:SpanReader",
    },
    "generator": {
        "openai": "selfroute.models.remote:RemoteGenerator",
        "scripted": "selfroute.models.scripted:ScriptedGenerator",
        "transformers": "selfroute.models.causal:CausalGenerator",
    },
    "page_model": {
        "hashing": "selfroute.models.paged.hashing:HashingPageModel",
        "paged": "selfroute.models.paged.runtime:PagedRuntime",
    },
    "vector_store": {
        "faiss": "selfroute.memory.vectors:FaissVectorStore",
    },
    "graph_store": {
        "networkx": "selfroute.memory.graph.networkx:NetworkxGraph",
    },
    "backend": {
        "retrieval": "selfroute.backends.retrieval:RetrievalBackend",
        "long-context": "selfroute.backends.long_context:LongContextBackend",
    },
    "policy": {
        "always-retrieval": "selfroute.router.policies.fixed:AlwaysRetrieval",
        "always-long-context": "selfroute.router.policies.fixed:AlwaysLongContext",
        "learned": "selfroute.router.policies.learned:LearnedPolicy",
        "learned-cascade": "selfroute.router.policies.learned:LearnedCascadePolicy",
        "random": "selfroute.router.policies.random:RandomPolicy",
        "rules": "selfroute.router.policies.rules:RulesPolicy",
        "self-route": "selfroute.router.policies.self_route:SelfRoutePolicy",
    },
}


@cache
def table(kind: str) -> Mapping[str, str]:
    """Every name of a kind and its "module:Class", built in or from entry points.

    Raises UnknownNameError for a kind that does not exist, ConfigError when two entries share a name.
    """
    from importlib.metadata import entry_points  # here: with a hundred packages it takes 40 ms, and is seldom needed

    entries = dict(_built_in(kind))
    for point in entry_points(group=f"selfroute.{kind}"):
        if entries.get(point.name, point.value) != point.value:
            raise ConfigError(
                f"two {kind} entries are named {point.name!r}: {entries[point.name]} and {point.value}",
                "uninstall or rename one of them",
            )
        entries[point.name] = point.value
    return entries


def names(kind: str) -> tuple[str, ...]:
    """The known names of a kind, sorted."""
    return tuple(sorted(table(kind)))


def is_known(kind: str, name: str) -> bool:
    """Whether a name resolves."""
    return name in _built_in(kind) or name in table(kind)


def resolve(kind: str, name: str) -> Any:
    """The class behind a name; a built-in name is never another's. Raises UnknownNameError with the nearest name."""
    entries = _built_in(kind) if name in _built_in(kind) else table(kind)
    if name not in entries:
        raise UnknownNameError(kind.replace("_", " "), name, entries)
    module, _, attribute = entries[name].partition(":")
    return getattr(import_module(module), attribute)


def _built_in(kind: str) -> Mapping[str, str]:
    if kind not in BUILT_IN:
        raise UnknownNameError("registry", kind, BUILT_IN)
    return BUILT_IN[kind]
