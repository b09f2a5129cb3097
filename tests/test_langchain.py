"""The langchain-core adapters pass the official suites that apply."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    ToolsIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests, ToolsUnitTests

from selfroute import Answer, SelfRouter
from selfroute.router.langchain.embeddings import SelfRouteEmbeddings
from selfroute.router.langchain.retriever import SelfRouteRetriever
from selfroute.router.langchain.tool import make_tool
from selfroute.router.langchain.vectorstore import SelfRouteVectorStore

SOURCES = {
    "jar.py": (
        'def sign_cookie(value, key):\n    """Sign a cookie with a key."""\n    return value + digest(value, key)\n'
    ),
    "oven.py": 'def bake(minutes=12):\n    """Bake the cookies."""\n    return minutes * 60\n',
    "shop.py": "class Shop:\n    def sell(self, cookie):\n        self.till += cookie.price\n",
    "notes.md": "# Cookies\n\nA cookie is signed before it is sold.\n",
}


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Generator[SelfRouter]:
    root = tmp_path_factory.mktemp("corpus")
    for name, text in SOURCES.items():
        (root / name).write_text(text)
    with SelfRouter.from_path(root) as made:
        yield made


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[SelfRouteEmbeddings]:
        return SelfRouteEmbeddings


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[SelfRouteEmbeddings]:
        return SelfRouteEmbeddings


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> SelfRouteVectorStore:
        return SelfRouteVectorStore(self.get_embeddings())


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _router(self, router: SelfRouter) -> None:
        self.router = router

    @property
    def retriever_constructor(self) -> type[SelfRouteRetriever]:
        return SelfRouteRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"router": self.router}

    @property
    def retriever_query_example(self) -> str:
        return "how is a cookie signed and sold"

    @property
    def num_results_arg_name(self) -> str:
        return "top_k"


class _Tool:
    @pytest.fixture(autouse=True)
    def _router(self, router: SelfRouter) -> None:
        self.router = router

    @property
    def tool_constructor(self) -> Any:
        return make_tool(self.router)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"question": "how is a cookie signed"}


class TestToolUnit(_Tool, ToolsUnitTests):
    pass


class TestTool(_Tool, ToolsIntegrationTests):
    pass


def test_the_tool_answers_with_citations_and_keeps_the_answer(router: SelfRouter) -> None:
    message = router.as_tool().invoke(
        {"type": "tool_call", "id": "1", "name": "ask_corpus", "args": {"question": "where is sign_cookie defined"}}
    )
    assert "jar.py:" in message.content
    assert isinstance(message.artifact, Answer)


async def test_the_runnable_composes(router: SelfRouter) -> None:
    chain = router.as_runnable() | RunnableLambda(lambda answer: answer.route)
    assert await chain.ainvoke("where is sign_cookie defined") in {"retrieval", "long-context"}
    assert len(chain.batch(["bake minutes", "sell"])) == 2


def test_a_retrieved_document_says_where_it_stands(router: SelfRouter) -> None:
    first = router.as_retriever().invoke("sign_cookie", top_k=1)[0]
    assert first.metadata["path"] == "jar.py"
    assert first.metadata["start_line"] == 1


def test_a_vector_store_is_read_back_from_its_folder(tmp_path: Path) -> None:
    embeddings = SelfRouteEmbeddings()
    SelfRouteVectorStore.from_texts(["a cookie", "an oven"], embeddings, [{"n": 1}, {"n": 2}]).save(tmp_path)
    found = SelfRouteVectorStore.load(tmp_path, embeddings).similarity_search("cookies", k=1)
    assert [(d.page_content, d.metadata) for d in found] == [("a cookie", {"n": 1})]
