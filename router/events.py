"""What SelfRouter.stream gives: each decision as it is taken, the answer's text piece by piece, the whole answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from selfroute.types import Answer, Decision


@dataclass(frozen=True, slots=True)
class DecisionEvent:
    """A policy's decision: to try a route, to accept its attempt, or to decline.

    ahead: what the route will read and how long that takes, when it is long.
    """

    kind: ClassVar[Literal["decision"]] = "decision"
    decision: Decision
    ahead: str = ""


@dataclass(frozen=True, slots=True)
class TokensEvent:
    """The next piece of the answer's text; joined they are answer.text. An attempt that was not accepted gives none."""

    kind: ClassVar[Literal["tokens"]] = "tokens"
    text: str


@dataclass(frozen=True, slots=True)
class AnswerEvent:
    """The whole answer, last."""

    kind: ClassVar[Literal["answer"]] = "answer"
    answer: Answer


Event = DecisionEvent | TokensEvent | AnswerEvent
