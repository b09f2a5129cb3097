"""What computes, as protocols: an Embedder makes vectors, a Reader quotes, a Generator writes."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, runtime_checkable

from selfroute.deadline import Deadline
from selfroute.types import Chunk, Generation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from selfroute.models.paged.layout import Layout
    from selfroute.models.paged.reading import Reading
    from selfroute.models.span_joined import Joined

TermWeight = Callable[[str], float]
"""Maps a stemmed term (selfroute.models.lexing) to its inverse document frequency in the corpus."""

Stream: TypeAlias = abc.Generator[str, None, Generation]
"""The pieces of an answer as they are written; the value that it returns is the whole of it. Joined they are its text.
"""


@runtime_checkable
class Embedder(Protocol):
    """Texts to unit vectors, the same text always to the same vector."""

    @property
    def dim(self) -> int:
        """D, the width of the vectors."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names the exact weights and settings: vectors of two fingerprints are never mixed."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, D) float32 with unit rows; a text with nothing to embed gives a row of zeros."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Extractive: every answer is a quote of the chunks, or none.

    One whose confidence is a probability may say so, calibrated = True: then it is asked about what a language model
    found no answer in.
    """

    def read(self, question: str, chunks: Sequence[Chunk]) -> Generation:
        """The answer with its spans into `chunks`; answerable=False when the chunks do not hold one."""
        ...


@runtime_checkable
class JoinedReader(Protocol):
    """A reader that can also read texts joined from several chunks, and tells what it finds by the chunk."""

    def read_joined(self, question: str, chunks: Sequence[Chunk], joined: Sequence[Joined]) -> Generation:
        """What read() gives, or an answer of a joined text that has a better score with its bonus."""
        ...


@runtime_checkable
class ChunkScorer(Protocol):
    """A reader that can score chunks apart, any number of them at a time, to be compared afterwards."""

    @property
    def fingerprint(self) -> str:
        """Names all that a score depends on beside question and chunk: weights, and how a chunk is shown to them."""
        ...

    def score(self, question: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """(n,) float32: the score of each chunk's best answer, -inf for a chunk without text.

        A chunk's depends on the question and on its path, symbol and text, not on the other chunks or their order.
        """
        ...


@runtime_checkable
class PageModel(Protocol):
    """Encodes chunks apart from each other and from any question, and reads any number of what it has encoded."""

    @property
    def layout(self) -> Layout:
        """The arrays of a page; its fingerprint names all that they depend on beside the text."""
        ...

    def encode(self, texts: Sequence[str]) -> Sequence[Mapping[str, NDArray[np.generic]]]:
        """The arrays of each text's page."""
        ...

    def ask(self, question: str, lengths: NDArray[np.int32], arrays: Mapping[str, NDArray[np.generic]]) -> Reading:
        """Reads all pages given. lengths: (P,) their tokens; arrays: of one page after another, in a fixed order."""
        ...


@runtime_checkable
class Generator(Protocol):
    """A language model with its context read apart from the question, so that one context serves many.

    Its answers are those of selfroute.models.writing: checked citations as spans, and no text when it declines.
    """

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may take together."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` in this model's own tokenizer."""
        ...

    def prefill(self, chunks: Sequence[Chunk]) -> object:
        """Reads the chunks once, in this order; the handle goes to generate(), any number of times.

        Raises ContextOverflowError when they do not fit context_length, DeviceMemoryError when memory runs out.
        """
        ...

    def generate(self, question: str, handle: object, *, max_new_tokens: int = 512) -> Generation:
        """The whole answer. Does not change the handle's context: the same question gives the same answer again.

        usage: the first answer from a handle counts its prefill, later ones count those tokens as cached.
        Raises like prefill, and ModelServerError.
        """
        ...

    def stream(self, question: str, handle: object, *, max_new_tokens: int = 512) -> Stream:
        """The same answer piece by piece; nothing is given of an answer that declines."""
        ...


@runtime_checkable
class Stoppable(Protocol):
    """A reader or a generator that can be stopped between two pieces of its work."""

    def until(self, deadline: Deadline) -> Self:
        """The same, sharing what is loaded, which does not go on when the time is up.

        It raises OutOfTimeError then; a generator that has begun its answer ends it there, as finish="length".
        """
        ...


@runtime_checkable
class Keeping(Protocol):
    """A generator that can keep what it reads in files."""

    def keeping(self, folder: Path, secret: str) -> Self:
        """The same, sharing what is loaded, which keeps contexts in this folder, and takes them from there.

        secret: what only this user's processes know; a file that was written without it is not used, like one that is
        damaged or of another model.
        """
        ...


@runtime_checkable
class Loadable(Protocol):
    """A reader that loads its weights when it is first used, or when load() is called."""

    @property
    def is_loaded(self) -> bool:
        """Whether they are in memory."""
        ...

    def load(self) -> None:
        """Loads them, if they are not."""
        ...
