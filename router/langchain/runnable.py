"""The router as a langchain-core runnable: question in, Answer out; composes with |."""

from __future__ import annotations

from langchain_core.runnables import RunnableLambda

from selfroute.router.router import SelfRouter
from selfroute.types import Answer


def make_runnable(router: SelfRouter) -> RunnableLambda[str, Answer]:
    """invoke(question), ainvoke, batch and stream, each question routed on its own."""

    def ask(question: str) -> Answer:
        return router.ask(question)

    async def aask(question: str) -> Answer:
        return await router.aask(question)

    return RunnableLambda(ask, afunc=aask, name="selfroute")
