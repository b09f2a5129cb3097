"""Running cases: every route that is wired answers each case once, and each answer is a row.

The routes are asked themselves, not through a policy, so that any policy can be replayed on the rows later. A case is
run as if it were the first one of its corpus: what a reader or a model keeps of earlier cases is not used, so that rows
depend neither on their order nor on whether a run was cut short and resumed. Pages are the same for all cases: a corpus
is encoded before the first of them, and what that took is noted apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from selfroute.backends.generating import Writer
from selfroute.backends.paging import Pages
from selfroute.errors import ConfigError, SelfRouteError
from selfroute.memory.masking import mask
from selfroute.memory.rates import Rates
from selfroute.models.base import ChunkScorer
from selfroute.registry import names, resolve
from selfroute.router.build import (
    BUILT_IN_PAGES,
    answering_model,
    make_backends,
    make_generator,
    make_page_model,
    make_pages,
    make_reader,
    open_index,
)
from selfroute.router.config import AUTO, DEFAULT, OFF, Config, load
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.corpora import Corpus, corpora_of
from selfroute.router.evaluation.rows import Row
from selfroute.router.evaluation.writing import write
from selfroute.router.hidden_text import noted
from selfroute.router.policies.fixed import AlwaysRetrieval
from selfroute.router.router import SelfRouter
from selfroute.types import LONG_CONTEXT, Limits

if TYPE_CHECKING:
    from selfroute.memory.index import Index
    from selfroute.models.base import Generator, Reader

# What rows depend on; the rest of the settings chooses among them, or says where things lie.
ROW_SETTINGS = (
    "budget_tokens", "max_tokens", "embedder", "reader", "model", "window_tokens", "kv", "max_file_bytes",
    "price_in", "price_out",
)  # fmt: skip
DIGEST = "digest.txt"


def row_keys(cases: Sequence[Case]) -> list[tuple[str, str]]:
    """(case, route) of every row of a run, in its order."""
    return [(case.id, route) for corpus in corpora_of(cases) for case in corpus.cases for route in names("backend")]


def run(
    cases: Sequence[Case],
    run_folder: Path,
    options: Mapping[str, Any] | None = None,
    *,
    done: Collection[tuple[str, str]] = (),
) -> Iterator[Row]:
    """The rows of the cases, corpus by corpus, as they come. options: settings, as of selfroute.router.config.load.

    done: (case, route) that are not run. Raises SelfRouteError when a corpus cannot be indexed, when it changed since
    the first of its rows, or when a model cannot be loaded; what one route cannot answer is a row with an error.
    """
    kept: dict[str, Generator | None] = {}
    for corpus in corpora_of(cases):
        yield from run_corpus(corpus, run_folder, options, done=done, models=kept)


def run_corpus(
    corpus: Corpus,
    run_folder: Path,
    options: Mapping[str, Any] | None = None,
    *,
    done: Collection[tuple[str, str]] = (),
    models: dict[str, Generator | None] | None = None,
    begun: bool = False,
) -> Iterator[Row]:
    """The rows of one corpus, or of some cases of it. models: loaded ones by name, shared between corpora. begun:
    whether there are rows of it already."""
    missing = [case for case in corpus.cases if any((case.id, route) not in done for route in names("backend"))]
    if not missing:
        return
    config = load(corpus.root(run_folder), {**(options or {}), "index_dir": str(corpus.index_directory(run_folder))})
    models = {} if models is None else models
    if config.model not in models:
        models[config.model] = make_generator(config)
    with open_index(config, update=True) as index:
        index.keeps_scores = False
        _check_unchanged(index, corpus, run_folder, begun=begun or is_begun(corpus, done))
        reader = make_reader(config, index)
        if callable(load_now := getattr(reader, "load", None)):
            load_now()  # else the first case alone would be expected to pay for it
        pages = encoded_pages(config, index, reader, models[config.model])
        asked = _Asked(config, index, reader, models[config.model], pages)
        try:
            for case in missing:
                yield from asked.rows(case, done)
        finally:
            if pages:
                pages.close()


def encoded_pages(config: Config, index: Index, reader: Reader, model: Generator | None) -> Pages | None:
    """The pages of a corpus, all of them encoded; None where long context does not read by them."""
    if model is not None or not isinstance(reader, ChunkScorer) or (pages := make_pages(config, index)) is None:
        return None
    pages.insists = True  # what one case saved would cost all others
    try:
        pages.encode_all()
        pages.look("")  # loads what a first question would
    except BaseException:
        pages.close()
        raise
    return pages


def is_begun(corpus: Corpus, done: Collection[tuple[str, str]]) -> bool:
    """Whether there are rows of a corpus."""
    return any((case.id, route) in done for case in corpus.cases for route in names("backend"))


@dataclass(frozen=True, slots=True)
class Settings:
    """What the cases are run with: each folder that is a corpus may have settings of its own.

    by_path: the folder of a corpus -> its settings; "" for all texts.
    """

    by_path: Mapping[str, Config]

    @classmethod
    def of(cls, cases: Sequence[Case], run_folder: Path, options: Mapping[str, Any] | None = None) -> Settings:
        """Raises as selfroute.router.config.load. run_folder: where texts are written; it has to be there."""
        paths = dict.fromkeys(case.path for case in cases)
        return cls({path: load(path or run_folder, options) for path in paths})

    def limits(self, case: Case) -> Limits:
        """The limits of a case's question."""
        return limits_of(self.by_path[case.path])

    def shown(self) -> dict[str, Any]:
        """All that rows depend on, secrets masked; "reader of PATH" where a corpus differs from the first one."""
        shown: dict[str, Any] = {}
        for path, config in self.by_path.items():
            own = {key: _shown(getattr(config, key)) for key in ROW_SETTINGS}
            own["answers"] = own["model"] or reader_fingerprint(config)
            own["pages"] = pages_fingerprint(config)
            for key, value in own.items():
                if shown.setdefault(key, value) != value:
                    shown[f"{key} of {path}"] = value
        return shown

    def any(self, **changes: Any) -> Config:
        """The first corpus's settings, changed."""
        config = next(iter(self.by_path.values()))
        return load(config.root, changes)


def limits_of(config: Config) -> Limits:
    """The limits of every question under these settings."""
    budget = None if config.origin("budget_tokens") == DEFAULT else config.budget_tokens
    return Limits(max_tokens=config.max_tokens or None, max_context_tokens=None if config.max_tokens else budget)


class _Asked:
    """One corpus, opened."""

    def __init__(
        self, config: Config, index: Index, reader: Reader, model: Generator | None, pages: Pages | None
    ) -> None:
        self._config, self._index, self._reader, self._model, self._pages = config, index, reader, model, pages
        self._fingerprint = mask(answering_model(config, None, model))

    def rows(self, case: Case, done: Collection[tuple[str, str]]) -> Iterator[Row]:
        """The rows of one case that are not done."""
        config = self._config
        writer = None
        if self._model:
            writer = Writer(
                self._model, price_in=config.price_in, price_out=config.price_out, rates=Rates(learns=False)
            )
        pages = self._pages
        backends = make_backends(self._index, self._reader, None, writer, pages)
        router = SelfRouter(
            self._index,
            backends,
            AlwaysRetrieval(),
            budget_tokens=None if config.origin("budget_tokens") == DEFAULT else config.budget_tokens,
            limits=Limits(max_tokens=config.max_tokens or None),
            update=False,
        )
        query = router.query(case.question)
        if case.budget_tokens:  # what retrieval packs, and no limit on what else is read
            query = replace(query, budget_tokens=case.budget_tokens)
        features, estimates = router.observe(query)
        for route, backend in backends.items():
            if (case.id, route) in done:
                continue
            self._forget()
            began = perf_counter()
            attempt, error = None, ""
            try:
                attempt = noted(backend.answer(query))
            except SelfRouteError as known:
                error = f"{type(known).__name__}: {known.message}"
            except Exception as unknown:
                error = f"{type(unknown).__name__}: {unknown}"
            seconds = perf_counter() - began
            if pages and attempt and route != LONG_CONTEXT and (signals := pages.look(query.text)):
                attempt = replace(attempt, signals=signals.beside(attempt))
            yield Row(
                case.id,
                route,
                features,
                estimates[route],
                attempt,
                seconds,
                mask(error) if error else "",
                self._fingerprint,
                pages.encode_seconds if pages and route == LONG_CONTEXT else 0.0,
            )

    def _forget(self) -> None:
        """What is kept of the question is dropped: a route is to be timed by itself."""
        if callable(forget := getattr(self._reader, "forget", None)):
            forget()
        if self._pages:
            self._pages.forget()


def reader_fingerprint(config: Config) -> str:
    """Of the configured reader, before any corpus is opened."""
    made = resolve("reader", config.reader)(term_weight=lambda term: 1.0)
    return str(getattr(made, "fingerprint", "") or f"reader:{config.reader}")


def pages_fingerprint(config: Config) -> str:
    """Of what long context finds by: the page model's name and fingerprint, or "off" where it reads by none."""
    if config.model or config.pages == OFF:
        return OFF
    if not isinstance(resolve("reader", config.reader)(term_weight=lambda term: 1.0), ChunkScorer):
        return OFF
    name = BUILT_IN_PAGES if config.pages == AUTO else config.pages
    return f"{name}:{make_page_model(config).layout.fingerprint[:16]}"


def _check_unchanged(index: Index, corpus: Corpus, run_folder: Path, *, begun: bool) -> None:
    """The corpus is what it was when its first row was made. Raises ConfigError when it is not."""
    file, digest = corpus.index_directory(run_folder).parent / DIGEST, index.digest()
    with suppress(OSError):
        if begun and file.is_file() and file.read_text(encoding="ascii") != digest:
            raise ConfigError(
                f"{corpus.path or 'the text of ' + corpus.cases[0].id} changed since this run began",
                "begin another run: --out DIR",
            )
    if not file.is_file() or file.read_text(encoding="ascii") != digest:
        write(file, digest)


def _shown(value: Any) -> Any:
    return mask(value) if isinstance(value, str) else value
