"""What every test stands on: a cache of its own, so that no test sees what another one took, or the machine's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

CACHE = "XDG_CACHE_HOME"


@pytest.fixture(scope="module", autouse=True)
def cache_of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's cache of what a module makes once for its tests, which comes before any test's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(tmp_path_factory.mktemp("cache-of-module")))
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds the user's cache for one test, and for the processes that it starts."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(CACHE, str(folder))
    return folder
