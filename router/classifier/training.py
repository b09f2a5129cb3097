"""Training the router on a user's own runs: what each candidate is worth on left-out groups, and which one is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import ConfigError
from selfroute.router.classifier.choosing import MAX_SHARE, MIN_GAP, N_FOLDS, PRICE, folds, paired_share
from selfroute.router.classifier.classifier import Classifier, best_of
from selfroute.router.classifier.examples import Example
from selfroute.router.classifier.fitting import fit, recalibrated
from selfroute.router.classifier.learning import examples_of
from selfroute.router.classifier.seen import FIRST, SECOND
from selfroute.router.classifier.shipped import current, shipped
from selfroute.router.classifier.versions import Versions
from selfroute.router.evaluation.curves import calibration_error
from selfroute.types import LONG_CONTEXT, RETRIEVAL

NEW, ADAPTED, USED = "new", "adapted", "in use"


@dataclass(frozen=True, slots=True)
class Worth:
    """Of one candidate, on groups that it was not fitted on. value: right, less a price for what is read.

    accuracy, regret: at the stage after retrieval's attempt. against_best: accuracy minus that of the route that was
    best in the training folds, with its 95% interval.
    """

    name: str
    value: float
    accuracy: float
    token_share: float
    gap_recovered: float | None
    regret: float
    against_best: tuple[float, float, float]
    ece: float | None


@dataclass(frozen=True, slots=True)
class Trained:
    """What became of a training. kept: the name of the version, "" when nothing was replaced."""

    n: int
    n_groups: int
    worths: tuple[Worth, ...]
    chosen: str
    kept: str
    why: str

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.n:,} questions of {self.n_groups:,} groups; on left-out groups:"
        for w in self.worths:
            mean, low, high = (100 * x for x in w.against_best)
            gap = "-" if w.gap_recovered is None else f"{100 * w.gap_recovered:.0f}%"
            error = "-" if w.ece is None else f"{w.ece:.3f}"
            yield (
                f"  {w.name:<8} right {100 * w.accuracy:.1f}%, regret {100 * w.regret:.1f} points, gap recovered {gap},"
                f" {100 * w.token_share:.0f}% of long context's tokens, ECE {error},"
                f" against the best fixed route {mean:+.1f} [{low:+.1f}, {high:+.1f}]"
            )
        yield self.why


def train_router(
    runs: Sequence[tuple[Path, Path]],
    *,
    directory: Path,
    corpus: Path | None = None,
    scorer: str = "auto",
    force: bool = False,
    max_share: float = MAX_SHARE,
) -> Trained:
    """Fits candidates on the runs, (folder, cases) each, and puts the best in use if it is better than the one that is.

    Raises ConfigError for runs that hold nothing to learn from.
    """
    found = load_examples(runs, corpus, scorer)
    used = current(directory)
    worths, chosen = compare(found, used, max_share=max_share)
    by_name = {w.name: w for w in worths}
    versions = Versions(directory)
    if chosen == USED and force:
        chosen = NEW
    if chosen == USED:
        why = "the router in use is as good on these questions: it stays (--force takes the new one all the same)"
        return Trained(len(found), len({e.group for e in found}), worths, chosen, "", why)
    made = fit(found, max_share=max_share) if chosen == NEW else recalibrated(used, found, max_share=max_share)
    kept = versions.add(made)
    return Trained(
        len(found),
        len({e.group for e in found}),
        worths,
        chosen,
        kept,
        f"{kept} is in use now; {_worth_it(by_name[chosen])}",
    )


def load_examples(runs: Sequence[tuple[Path, Path]], corpus: Path | None, scorer: str) -> list[Example]:
    """Of all runs together. Raises ConfigError when an id stands in two of them, or nothing was scored."""
    from selfroute.router.evaluation.evaluating import evaluate
    from selfroute.router.evaluation.journal import read_rows
    from selfroute.router.evaluation.reading import read_cases

    examples: dict[str, Example] = {}
    for folder, file in runs:
        for example in examples_of(evaluate(read_cases(file, corpus), read_rows(folder), {}, scorer=scorer)):
            if example.id in examples:
                raise ConfigError(f"the case {example.id!r} stands in two runs", "give every case its own id")
            examples[example.id] = example
    if not examples:
        raise ConfigError("no case of these runs was scored on both routes", "selfroute eval CASES --out RUN")
    return list(examples.values())


def compare(
    found: Sequence[Example], used: Classifier, *, max_share: float = MAX_SHARE
) -> tuple[tuple[Worth, ...], str]:
    """What each candidate is worth on left-out groups, and the name of the best; the one in use on ties."""
    fold = folds([e.group for e in found], N_FOLDS)
    makers: dict[str, Callable[[Sequence[Example]], Classifier]] = {
        USED: lambda inside: used,
        ADAPTED: lambda inside: recalibrated(used, inside, max_share=max_share),
        NEW: lambda inside: fit(inside, max_share=max_share),
    }
    worths = []
    for name, make in makers.items():
        takes, p = np.zeros(len(found), bool), np.zeros((len(found), 2))
        fixed = np.zeros(len(found))
        for k in range(N_FOLDS):
            inside = [e for e, f in zip(found, fold, strict=True) if f != k]
            outside = np.flatnonzero(fold == k).tolist()
            takes[outside], p[outside] = decisions(make(inside), [found[i] for i in outside])
            best = best_of({r: float(np.mean([e.right[r] for e in inside])) for r in (RETRIEVAL, LONG_CONTEXT)})
            fixed[outside] = [found[i].right[best] for i in outside]
        worths.append(_worth(name, found, takes, p, fixed))
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


def _worth(
    name: str,
    found: Sequence[Example],
    takes: NDArray[np.bool_],
    p: NDArray[np.float64],
    fixed: NDArray[np.float64],
) -> Worth:
    right = {r: np.array([e.right[r] for e in found]) for r in (RETRIEVAL, LONG_CONTEXT)}
    tokens = {r: np.array([e.tokens.get(r, 1.0) for e in found]) for r in right}
    kept, top = np.where(takes, right[LONG_CONTEXT], right[RETRIEVAL]), np.maximum(*right.values())
    spent = tokens[RETRIEVAL] + np.where(takes, tokens[LONG_CONTEXT], 0)
    share = float(spent.sum() / max(1.0, tokens[LONG_CONTEXT].sum()))
    gap = float(top.mean() - fixed.mean())
    chosen = np.where(takes, p[:, 1], p[:, 0])
    return Worth(
        name,
        float(kept.mean()) - PRICE * share,
        float(kept.mean()),
        share,
        float(kept.mean() - fixed.mean()) / gap if gap > MIN_GAP else None,
        float(top.mean() - kept.mean()),
        paired_share(kept, fixed, [e.group for e in found]),
        calibration_error(chosen.tolist(), (kept > 0.5).tolist()),
    )


def _worth_it(worth: Worth) -> str:
    mean, low, high = worth.against_best
    if low > 0:
        return (
            f"it is worth it: {100 * mean:.1f} points over the best fixed route [{100 * low:+.1f}, {100 * high:+.1f}]"
        )
    return (
        f"whether it is worth it cannot be told from these questions: {100 * mean:+.1f} points against the best fixed"
        f" route [{100 * low:+.1f}, {100 * high:+.1f}]"
    )


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
        "summary": dict(used.summary),
    }


def router_lines(versions: Versions) -> Iterator[str]:
    """The same for people."""
    found = router_object(versions)
    summary: Mapping[str, Any] = found["summary"]
    yield f"in use: {found['in_use']} ({found['fingerprint']})"
    yield f"trained on {summary.get('questions', '?'):,} questions of {summary.get('groups', '?'):,} groups"
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
