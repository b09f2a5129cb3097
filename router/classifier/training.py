"""Training the router on a user's own runs: what each candidate is worth on left-out questions, and which one is used.

Questions are left out by group, so that the figures are of corpora that training has not seen; with too few groups for
that, as of a user with one corpus, question by question, and it is said that they hold for these corpora alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import ConfigError
from selfroute.router.classifier.choosing import MAX_SHARE, N_FOLDS, folds
from selfroute.router.classifier.classifier import Classifier, best_of
from selfroute.router.classifier.examples import Example
from selfroute.router.classifier.fitting import MIN_QUESTIONS, fit, recalibrated
from selfroute.router.classifier.learning import examples_of
from selfroute.router.classifier.seen import FIRST, SECOND
from selfroute.router.classifier.shipped import current, shipped
from selfroute.router.classifier.versions import Versions
from selfroute.router.classifier.worth import Worth, worth_of
from selfroute.types import LONG_CONTEXT, RETRIEVAL

NEW, ADAPTED, USED = "new", "adapted", "in use"
MIN_GROUPS = 2 * N_FOLDS
LEARNED = "learned"  # of a summary: hashes of the questions that a router was trained on


@dataclass(frozen=True, slots=True)
class Trained:
    """What became of a training. kept: the name of the version, "" when nothing was replaced.

    n_fresh: questions that the router in use was not trained on; where there are some, worths are of them alone.
    split: how questions were left out, "" for by group.
    """

    n: int
    n_groups: int
    n_fresh: int
    split: str
    worths: tuple[Worth, ...]
    chosen: str
    kept: str
    why: str

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For people."""
        groups = "1 group" if self.n_groups == 1 else f"{self.n_groups:,} groups"
        yield f"{self.n:,} questions of {groups}"
        if self.split:
            yield self.split
        if self.n_fresh < self.n:
            yield f"the router in use was trained on {self.n - self.n_fresh:,} of them"
        if self.worths:
            which = "on those that are left out of fitting" + (", its own apart" if self.n_fresh < self.n else "")
            yield f"{which} (95% intervals):"
        for worth in self.worths:
            yield f"  {worth.line()}"
        yield self.why


def train_router(
    runs: Sequence[Path],
    *,
    directory: Path,
    scorer: str = "auto",
    force: bool = False,
    max_share: float = MAX_SHARE,
    signals: bool = False,
) -> Trained:
    """Fits candidates on the folders of runs, and puts the best in use if it is better than the one that is.

    signals: see examples_of.

    Raises ConfigError for runs that hold nothing, or too little, to learn from.
    """
    found = load_examples(runs, scorer, signals=signals)
    if len(found) < MIN_QUESTIONS:
        raise ConfigError(
            f"{len(found)} questions that both routes were scored on are too few to learn from: at least"
            f" {MIN_QUESTIONS}",
            "selfroute eval with more cases, then selfroute router train",
        )
    n_groups = len({e.group for e in found})
    hashes = {e.id: _hash(e) for e in found}
    found, split = split_of(found)
    used = current(directory)
    learned = set(map(str, of)) if isinstance(of := used.summary.get(LEARNED), list) else set()
    fresh = [hashes[e.id] not in learned for e in found]
    n_fresh = sum(fresh)
    worths: tuple[Worth, ...] = ()
    chosen = USED
    if n_fresh >= MIN_QUESTIONS:
        worths, chosen = compare(found, used, max_share=max_share, fresh=fresh)
    by_name = {w.name: w for w in worths}
    if chosen == USED and force:
        chosen = NEW
    if chosen == USED:
        why = "the router in use is as good on these questions: it stays (--force takes the new one all the same)"
        if worths:
            why = f"{why}; a new one: {by_name[NEW].verdict()}"
        else:
            why = (
                f"the router in use was trained on all but {n_fresh:,} of these questions, and at least {MIN_QUESTIONS}"
                " others are needed to compare: it stays (--force trains a new one all the same)"
            )
        return Trained(len(found), n_groups, n_fresh, split, worths, chosen, "", why)
    made = fit(found, max_share=max_share) if chosen == NEW else recalibrated(used, found, max_share=max_share)
    told: dict[str, Any] = {
        "split": split,
        LEARNED: sorted({*hashes.values(), *(learned if chosen == ADAPTED else ())}),
        "on_own_questions": asdict(by_name[chosen]) if worths else None,
    }
    if chosen == NEW:
        told["groups"] = n_groups
    versions = Versions(directory)
    kept = versions.add(replace(made, summary={**made.summary, **told}))
    verdict = by_name[chosen].verdict() if worths else "it was not compared with the one before"
    return Trained(len(found), n_groups, n_fresh, split, worths, chosen, kept, f"{kept} is in use now; {verdict}")


def load_examples(runs: Sequence[Path], scorer: str, *, signals: bool = False) -> list[Example]:
    """Of all runs together. Raises ConfigError when an id stands in two of them, or nothing was scored."""
    from selfroute.router.evaluation.evaluating import evaluate
    from selfroute.router.evaluation.journal import read_rows
    from selfroute.router.evaluation.keeping import read_kept

    examples: dict[str, Example] = {}
    for folder in runs:
        for example in examples_of(evaluate(read_kept(folder), read_rows(folder), {}, scorer=scorer), signals=signals):
            if example.id in examples:
                raise ConfigError(f"the case {example.id!r} stands in two runs", "give every case its own id")
            examples[example.id] = example
    if not examples:
        raise ConfigError("no case of these runs was scored on both routes", "selfroute eval CASES --out RUN")
    return list(examples.values())


def split_of(found: Sequence[Example]) -> tuple[list[Example], str]:
    """The examples, each question a group of its own where groups are too few or too uneven to be left out, and how
    that is said, "" for by group. The same words are one question."""
    n_groups = len({e.group for e in found})
    largest = int(np.bincount(folds([e.group for e in found], N_FOLDS)).max())
    if n_groups >= MIN_GROUPS and 2 * largest <= len(found):
        return list(found), ""
    what = "one corpus" if n_groups == 1 else f"{n_groups} groups are too few, or too uneven, to leave some out"
    others = "other corpora" if n_groups == 1 else "others"
    own = [replace(e, group=" ".join(e.question.casefold().split())) for e in found]
    return own, f"split by question: {what}, so nothing is known of {others}"


def compare(
    found: Sequence[Example],
    used: Classifier,
    *,
    max_share: float = MAX_SHARE,
    fresh: Sequence[bool] | None = None,
) -> tuple[tuple[Worth, ...], str]:
    """What each candidate is worth on left-out groups, and the name of the best; the one in use on ties.

    fresh: the examples that count, those that the one in use was not trained on; all by default.
    """
    counts = np.ones(len(found), bool) if fresh is None else np.array(fresh, bool)
    fold = folds([e.group for e in found], N_FOLDS)
    makers: dict[str, Callable[[Sequence[Example]], Classifier]] = {
        USED: lambda inside: used,
        ADAPTED: lambda inside: recalibrated(used, inside, max_share=max_share),
        NEW: lambda inside: fit(inside, max_share=max_share, least=MIN_QUESTIONS // 2),
    }
    stage = SECOND if all(SECOND in e.numbers for e in found) else FIRST
    worths = []
    for name, make in makers.items():
        takes, p = np.zeros(len(found), bool), np.zeros((len(found), 2))
        fixed, fixed_tokens = np.zeros(len(found)), np.zeros(len(found))
        for k in range(N_FOLDS):
            inside = [_of_stage(e, stage) for e, f in zip(found, fold, strict=True) if f != k]
            outside = np.flatnonzero(fold == k).tolist()
            takes[outside], p[outside] = decisions(make(inside), [found[i] for i in outside])
            best = best_of({r: float(np.mean([e.right[r] for e in inside])) for r in (RETRIEVAL, LONG_CONTEXT)})
            fixed[outside] = [found[i].right[best] for i in outside]
            fixed_tokens[outside] = [found[i].tokens.get(best, 1.0) for i in outside]
        counted = [e for e, c in zip(found, counts, strict=True) if c]
        worths.append(worth_of(name, counted, takes[counts], p[counts], fixed[counts], fixed_tokens[counts]))
    best_worth = max(worths, key=lambda w: w.value)
    return tuple(worths), best_worth.name if best_worth.value > worths[0].value + 1e-9 else USED


def decisions(made: Classifier, found: Sequence[Example]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether long context is taken after retrieval's attempt, and (n, 2) probabilities of both routes."""
    takes, p = np.zeros(len(found), bool), np.zeros((len(found), 2))
    stage = SECOND if SECOND in made.stages else FIRST
    for i, example in enumerate(found):
        said = made.predict(example.question, example.numbers[stage], example.model, stage)
        gain = said.p[LONG_CONTEXT] - said.p[RETRIEVAL]
        worth = said.worth(example.tokens.get(LONG_CONTEXT, 0.0))
        takes[i] = gain > worth if said.known else said.best_fixed == LONG_CONTEXT
        p[i] = said.p[RETRIEVAL], said.p[LONG_CONTEXT]
    return takes, p


def _of_stage(example: Example, stage: str) -> Example:
    """With the numbers of that stage alone: heads of others are not looked at, and need not be fitted."""
    return replace(example, numbers={stage: example.numbers[stage]})


def _hash(example: Example) -> str:
    """Names a question about a corpus, and what answered it."""
    seen = "\0".join((example.model, example.group, example.question))
    return blake2b(seen.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def router_object(versions: Versions) -> dict[str, Any]:
    """What `selfroute router show --json` prints."""
    name = versions.current()
    used = versions.load() or shipped()
    return {
        "in_use": name or "shipped",
        "fingerprint": used.fingerprint,
        "versions": versions.names(),
        "stages": {stage: {"margin": found.margin} for stage, found in used.stages.items()},
        "base": {model or "any": dict(base) for model, base in used.base.items()},
        "summary": {key: value for key, value in used.summary.items() if key != LEARNED},
    }


def router_lines(versions: Versions) -> Iterator[str]:
    """The same for people."""
    found = router_object(versions)
    summary: Mapping[str, Any] = found["summary"]
    yield f"in use: {found['in_use']} ({found['fingerprint']})"
    n, n_groups = summary.get("questions", "?"), summary.get("groups", "?")
    adapted = f", adapted to {summary['adapted_to']} others" if "adapted_to" in summary else ""
    yield f"trained on {n} questions of {n_groups} group{'' if n_groups == 1 else 's'}{adapted}"
    if split := summary.get("split"):
        yield str(split)
    if own := summary.get("on_own_questions"):
        yield f"when it was trained, on left-out questions of your own (95% intervals): {Worth(**own).line()}"
    for model, base in found["base"].items():
        shares = ", ".join(f"{route} {100 * p:.1f}%" for route, p in base.items())
        yield f"right in training, {model}: {shares}"
    for stage, told in summary.get("held_out", {}).items():
        gap = "-" if told["gap_recovered"] is None else f"{100 * told['gap_recovered']:.0f}%"
        yield (
            f"left out, {stage} stage: right {100 * told['accuracy']:.1f}% (best fixed {100 * told['best_fixed']:.1f}%,"
            f" oracle {100 * told['oracle']:.1f}%), gap recovered {gap}, ECE {told['ece']}, margin"
            f" {found['stages'][stage]['margin']:.2f}"
        )
    kept = ", ".join(found["versions"])
    yield f"kept: {kept or 'none of your own'}"
