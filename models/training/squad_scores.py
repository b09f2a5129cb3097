"""SQuAD's files and its official scores (Rajpurkar et al. 2016, 2018): exact match and F1 over normalised words."""

from __future__ import annotations

import gzip
import json
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class Case:
    """One question about one paragraph; no answers when it cannot be answered."""

    title: str
    context: str
    question: str
    answers: tuple[str, ...]


def cases(path: Path) -> Iterator[Case]:
    """Every question of a file of version 1.1 or 2.0, gzipped or not, in order."""
    content = path.read_bytes()
    for article in json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                answers = () if qa.get("is_impossible") else tuple(answer["text"] for answer in qa["answers"])
                yield Case(article["title"], paragraph["context"], qa["question"].strip(), answers)


def normalised(text: str) -> str:
    """Lower-cased, without punctuation, articles and superfluous white space."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answer: str, right: Sequence[str]) -> float:
    """1 when the answer is one of the right ones, normalised. right: empty when only no answer is right."""
    return max(float(normalised(answer) == normalised(one)) for one in right or ("",))


def f1(answer: str, right: Sequence[str]) -> float:
    """The best overlap in words with a right answer; with no answer, 1 for none and else 0."""
    return max(_f1(normalised(answer).split(), normalised(one).split()) for one in right or ("",))


def expected_calibration_error(confidences: Sequence[float], right: Sequence[bool], n_bins: int = 10) -> float:
    """The mean gap between confidence and share right, over bins of equal width (Guo et al. 2017)."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(n_bins)]
    for p, hit in zip(confidences, right, strict=True):
        bins[min(n_bins - 1, int(p * n_bins))].append((p, hit))
    gaps = [abs(sum(p for p, _ in b) - sum(hit for _, hit in b)) for b in bins]
    return sum(gaps) / len(confidences) if confidences else 0.0


def _f1(answer: list[str], right: list[str]) -> float:
    if not answer or not right:
        return float(answer == right)
    common = sum((Counter(answer) & Counter(right)).values())
    return 2 * common / (len(answer) + len(right))
