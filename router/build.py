"""Config to SelfRouter: the only place that chooses classes.

Registered classes are called so: embedders with the text behind the colon of "name:text" when there is one, generators
with that text and window_tokens=, readers with term_weight=, backends with (index, reader, writer=, progress=),
policies with nothing, or by their `for_model` with (what answers, the folder of the index).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfroute.backends.base import Backend
from selfroute.backends.generating import Writer
from selfroute.backends.paging import Pages
from selfroute.errors import ConfigError
from selfroute.memory.base import Progress
from selfroute.memory.index import Index
from selfroute.memory.update import UpdateReport
from selfroute.models.base import Embedder, Generator, PageModel, Reader
from selfroute.registry import is_known, names, resolve
from selfroute.router.base import Policy
from selfroute.router.config import AUTO, DEFAULT, OFF, Config
from selfroute.types import LONG_CONTEXT, Limits

if TYPE_CHECKING:
    from selfroute.router.router import SelfRouter

BUILT_IN_PAGES = "paged"


def build(
    config: Config,
    *,
    policy: Policy | None = None,
    embedder: Embedder | None = None,
    reader: Reader | None = None,
    model: Generator | None = None,
    progress: Progress | None = None,
    keep_updated: bool = True,
) -> SelfRouter:
    """A router over the opened, or built, index. policy, embedder, reader, model: used instead of the configured ones.

    keep_updated: whether each question compares the index with the files again, if the configuration wants updates.
    """
    from selfroute.router.router import SelfRouter  # what answers; a search does without

    model = model or make_generator(config)
    index = open_index(config, embedder=embedder, progress=progress)
    try:
        answering = answering_model(config, reader, model)
        reader = reader or make_reader(config, index)
        return SelfRouter(
            index,
            make_backends(
                index, reader, progress, _writer(config, model), None if model else make_pages(config, index)
            ),
            policy or make_policy(config.policy, answering, index.directory),
            route=config.route,
            budget_tokens=None if config.origin("budget_tokens") == DEFAULT else config.budget_tokens,
            limits=Limits(config.max_seconds or None, config.max_tokens or None, config.max_cost or None),
            prefer=config.prefer,
            top_k=config.top_k,
            update=config.update and keep_updated,
            spares=make_backends(index, reader, progress) if model else None,
            model=answering,
        )
    except BaseException:
        index.close()
        raise


def open_index(
    config: Config,
    *,
    embedder: Embedder | None = None,
    update: bool | None = None,
    rebuild: bool = False,
    progress: Progress | None = None,
) -> Index:
    """The index of the configured corpus. update: instead of the configured one."""
    return Index.open(
        config.root,
        directory=Path(config.index_dir) if config.index_dir else None,
        embedder=embedder or make_embedder(config),
        max_file_bytes=config.max_file_bytes,
        update=config.update if update is None else update,
        rebuild=rebuild,
        progress=progress,
    )


def index_now(config: Config, *, rebuild: bool = False, progress: Progress | None = None) -> tuple[UpdateReport, Path]:
    """Brings the index up to date, whatever the configuration says; what was done, and the folder of the index."""
    with open_index(config, update=True, rebuild=rebuild, progress=progress) as index:
        assert index.report is not None
        return index.report, index.directory


def encode_now(config: Config, *, progress: Progress | None = None) -> tuple[int, int]:
    """Encodes what long context reads and is not encoded: (pages there are, pages that were encoded)."""
    with open_index(config, update=False, progress=progress) as index:
        pages = Pages(index, make_page_model(config))
        try:
            found = pages.encode_all(progress)
        finally:
            pages.close()
        return len(found), found.n_encoded


def clean_pages(config: Config) -> int:
    """Drops the pages that long context would not read any more; how many there were."""
    with open_index(config) as index:
        pages = Pages(index, make_page_model(config))
        try:
            return pages.clean()
        finally:
            pages.close()


def make_embedder(config: Config) -> Embedder:
    """The configured embedder. Raises ConfigError for one that needs a model's name and got none."""
    name, colon, model = config.embedder.partition(":")
    made = resolve("embedder", name)
    if colon or name == "sentence-transformers":
        if not model:
            raise ConfigError(
                f"embedder {config.embedder!r} does not say which model",
                f"{name}:sentence-transformers/all-MiniLM-L6-v2, or a folder behind the colon",
            )
        embedder: Embedder = made(model)
    else:
        embedder = made()
    return embedder


def make_generator(config: Config) -> Generator | None:
    """The configured language model, None without one: NAME:REST of a registered kind, else a folder or a hub name."""
    if not config.model:
        return None
    kind, colon, rest = config.model.partition(":")
    if not colon and not is_known("generator", kind):
        kind, rest = "transformers", config.model
    options = {"api_key": config.api_key} if kind == "openai" else {}
    if config.kv and kind != "transformers":
        raise ConfigError(f"kv is of models that run here, not of {kind}", "leave --kv out")
    if config.kv:
        options["kv"] = config.kv
    arguments = (rest,) if rest else ()
    if not rest and kind != "scripted":
        raise ConfigError(
            f"model {config.model!r} does not say which", f"{kind}:NAME_OR_ADDRESS, or a folder, or a hub name"
        )
    generator: Generator = resolve("generator", kind)(*arguments, window_tokens=config.window_tokens, **options)
    return generator


def make_reader(config: Config, index: Index) -> Reader:
    """The configured reader, which weighs words as the index does."""
    reader: Reader = resolve("reader", config.reader)(term_weight=index.term_weight)
    return reader


def make_backends(
    index: Index,
    reader: Reader,
    progress: Progress | None = None,
    writer: Writer | None = None,
    pages: Pages | None = None,
) -> dict[str, Backend]:
    """Every registered backend, by route. writer: a language model, which answers instead of the reader.

    pages: by which the long-context route finds what its reader reads.
    """
    options: dict[str, Any] = {"writer": writer, "progress": progress} if writer else {"progress": progress}
    of_route = {LONG_CONTEXT: {"pages": pages}} if pages else {}
    return {
        route: resolve("backend", route)(index, reader, **options, **of_route.get(route, {}))
        for route in names("backend")
    }


def make_pages(config: Config, index: Index) -> Pages | None:
    """The pages of the index by the configured model; with "auto" by the built-in one, which need not be used."""
    if config.pages == OFF:
        return None
    return Pages(index, make_page_model(config), insists=config.pages != AUTO)


def make_page_model(config: Config) -> PageModel:
    """The configured page model, the built-in one where none is named."""
    return _page_model(BUILT_IN_PAGES if config.pages in (AUTO, OFF) else config.pages)


@cache
def _page_model(name: str) -> PageModel:
    """One for all corpora of a process."""
    model: PageModel = resolve("page_model", name)()
    return model


def make_policy(name: str, answering: str = "", directory: Path | None = None) -> Policy:
    """A registered policy. answering: names what answers; directory: of the index, where its own router may lie."""
    made = resolve("policy", name)
    policy: Policy = made.for_model(answering, directory) if hasattr(made, "for_model") else made()
    return policy


def _writer(config: Config, model: Generator | None) -> Writer | None:
    return Writer(model, price_in=config.price_in, price_out=config.price_out) if model else None


def answering_model(config: Config, reader: Reader | None = None, model: Generator | None = None) -> str:
    """Names what answers on both routes: what is learned about routing holds for it alone.

    The language model if there is one, else the reader; the built-in one with the fingerprint of its weights.
    """
    if model is not None and not config.model:
        return type(model).__name__
    if reader is not None and not config.model:
        return type(reader).__name__
    return answering_name(config)


def answering_name(config: Config) -> str:
    """The same by the settings alone; nothing is loaded."""
    if config.model:
        return config.model
    if config.reader == "span":
        from selfroute.models import span_scores, weights

        return f"span:{weights.fingerprint(span_scores.GRAPH)[:8]}"
    return config.reader
