"""An agent that has the router as its tool: the model calls it, reads the cited answer, and answers with the places.

python examples/tool_for_an_agent.py [PATH] [QUESTION ...]

The loop is the usual one of langchain-core and runs with any chat model that calls tools. The model here is a scripted
one, so that this runs with no network and no key: it calls the tool once for each question of the request, asks once
more by a bare name where nothing was found, and repeats what the tool said. Put your own in its place, for example
`ChatOpenAI(model=NAME)` of langchain-openai; nothing else changes.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from selfroute import SelfRouter
from selfroute.router.router import NOT_FOUND

HERE = Path(__file__).resolve().parent.parent / "memory"
REQUEST = ["What is the default of top_k in Index.search?", "Which port does WriterLock listen on?"]
SYSTEM = "Answer from what ask_corpus says, and give its citations. Say so when it found nothing."
MOST_TURNS = 6


class ScriptedChatModel(BaseChatModel):
    """Plays a model that calls tools; what it does depends on the messages alone, as with a real one."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """It knows its tool by heart."""
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        request = next(message for message in messages if isinstance(message, HumanMessage))
        questions = re.findall(r"[^?]+\?", request.text)
        asked = [call["args"]["question"] for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]
        said = [message.text for message in messages if isinstance(message, ToolMessage)]
        known = dict(zip(asked, said, strict=True))
        again = {question.strip(): name for question in questions if (name := _bare_name(question))}
        wanted = [question.strip() for question in questions]
        wanted += [again[q] for q in wanted if known.get(q, "").startswith(NOT_FOUND) and q in again]
        missing = [question for question in wanted if question not in known]
        if missing:
            calls = [
                ToolCall(name="ask_corpus", args={"question": question}, id=f"call-{len(asked) + i}")
                for i, question in enumerate(missing, 1)
            ]
            message = AIMessage("", tool_calls=calls)
        else:
            message = AIMessage("\n\n".join(f"{question}\n{text}" for question, text in known.items()))
        return ChatResult(generations=[ChatGeneration(message=message)])


def _bare_name(question: str) -> str:
    """The name of code that a question holds, "" without one."""
    found = re.search(r"\b\w+_\w+\b|\b[A-Z]\w*[a-z][A-Z]\w*\b", question)
    return found[0] if found else ""


def run_agent(model: BaseChatModel, tools: Sequence[BaseTool], request: str) -> str:
    """Lets the model call tools until it answers. Raises RuntimeError after MOST_TURNS turns."""
    by_name = {tool.name: tool for tool in tools}
    calling = model.bind_tools(tools)
    messages: list[BaseMessage] = [SystemMessage(SYSTEM), HumanMessage(request)]
    for _ in range(MOST_TURNS):
        message = calling.invoke(messages)
        messages.append(message)
        if not message.tool_calls:
            return message.text
        for call in message.tool_calls:
            result: ToolMessage = by_name[call["name"]].invoke(call)
            messages.append(result)
            answer = result.artifact  # the whole Answer; the model sees result.content alone
            print(f"model calls {call['name']}({call['args']['question']!r})")
            print(f"  tool: {answer.route}, {answer.usage.prompt_tokens:,} tokens: {answer.decision.reason}")
    raise RuntimeError(f"no answer after {MOST_TURNS} turns")


def main() -> None:
    """One request, and the agent's answer to it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", default=HERE, help="folder to ask")
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="what the agent is asked")
    args = parser.parse_args()
    with SelfRouter.from_path(args.path) as router:
        answer = run_agent(ScriptedChatModel(), [router.as_tool()], " ".join(args.questions or REQUEST))
    print(f"\n{answer}")


if __name__ == "__main__":
    main()
