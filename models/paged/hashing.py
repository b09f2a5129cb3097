"""A page model without weights, for tests and as what others must beat: a page is a hashed bag of its terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from selfroute.models.hashing import HashingEmbedder
from selfroute.models.paged.layout import Field, Layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from selfroute.models.paged.reading import Reading

SHARPNESS = 20.0  # of cosines, as the logits of pages


class HashingPageModel:
    """Pages by the cosine of their terms with the question's: no answer spans, and never a null option."""

    def __init__(self, dim: int = 256) -> None:
        self._embedder = HashingEmbedder(dim)

    @property
    def layout(self) -> Layout:
        """One float16 vector a page, and nothing of its tokens."""
        fingerprint = blake2b(self._embedder.fingerprint.encode(), digest_size=12).hexdigest()
        return Layout(fingerprint, (Field("terms", "float16", (self._embedder.dim,), False),))

    def encode(self, texts: Sequence[str]) -> list[dict[str, NDArray[np.generic]]]:
        """One row a text."""
        import numpy as np

        return [{"terms": row.astype(np.float16)} for row in self._embedder.encode(texts)]

    def ask(self, question: str, lengths: NDArray[np.int32], arrays: Mapping[str, NDArray[np.generic]]) -> Reading:
        """Every page's logit."""
        import numpy as np

        from selfroute.models.paged.reading import Reading

        logits = SHARPNESS * (arrays["terms"].astype(np.float32) @ self._embedder.encode([question])[0])
        share = np.exp(logits - logits.max())
        share /= share.sum()
        entropy = -float((share * np.log(np.maximum(share, 1e-30))).sum())
        return Reading((), logits, 0.0, float(np.sort(share)[::-1][:8].sum()), entropy, ())
