"""Trains the reader on prepared data: one softmax over all windows of a question, and "none of them" (the null option).

    python models/training/reader_train.py --data FOLDER --init FILE_OR_FOLDER --out FOLDER --minutes 8

Runs by itself: beside reader_model.py and reader_batches.py it needs torch, numpy and safetensors. Goes on from what
--out holds, with a fresh optimizer. Prints a line of JSON now and then, the same into log.jsonl; ends with the scores
on the held-out questions. --steps is the length of the whole schedule; 0 makes it as long as the minutes allow.

Loss: for the start and for the end of the answer, -log of the summed probability of all right places (Clark & Gardner
2018), the mean over the answers of a list; plus AUXILIARY times the same for every window by itself, since a long text
is read one window at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

try:
    from selfroute.models.training import reader_batches, reader_model
except ModuleNotFoundError:  # run as a file, where the package is not installed
    import reader_batches  # type: ignore[import-not-found, no-redef]
    import reader_model  # type: ignore[import-not-found, no-redef]

MAX_TOKENS = 384
NEVER = -1e4  # the score of a place where no answer may be
MAX_ANSWER = 60  # tokens
REWARM = 50  # steps after which a run that goes on is back at its learning rate


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run."""

    steps: int = 0
    questions: int = 96  # in a batch
    learning_rate: float = 1.5e-4
    warmup: float = 0.06  # share of the steps
    weight_decay: float = 0.01
    dropout: float = 0.1
    auxiliary: float = 0.25
    ema: float = 0.999  # 0 keeps no average
    seed: int = 0


class Trainer:
    """A model, what it learns from, and how far it is."""

    def __init__(self, data: Any, model: Any, settings: Settings, device: str) -> None:
        self.data, self.model, self.settings, self.device = data, model.to(device), settings, device
        self.there = reader_batches.OnDevice(data, device)
        decayed = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            fused=device == "cuda",
        )
        self.average = [p.detach().clone() for p in model.parameters()] if settings.ema else []
        self.n_averaged = 0

    def precision(self) -> Any:
        """bfloat16 on a GPU."""
        return torch.autocast("cuda", dtype=torch.bfloat16) if self.device == "cuda" else nullcontext()

    def logits(self, batch: Any) -> Tensor:
        """(Q, K * 384, 2) scores, NEVER where no answer may be."""
        put = self.there.put
        question, window, head, order = map(put, (batch.question, batch.window, batch.head, batch.order))
        found = []
        for first, end, T in batch.parts:
            rows = order[first:end]
            tokens, segments, mask, may = self.there.rows(question[rows], window[rows], head[rows], T)
            with self.precision():
                scores = self.model(tokens, segments, mask)
            scores = scores.float().masked_fill(~may[:, :, None], NEVER)
            found.append(torch.nn.functional.pad(scores, (0, 0, 0, MAX_TOKENS - T), value=NEVER))
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        scores = torch.cat(found)[back]
        return scores.view(-1, batch.n_windows * MAX_TOKENS, 2)

    def loss(self, batch: Any) -> Tensor:
        """The mean over the questions."""
        logits = self.logits(batch)
        n_groups = self.there.put(batch.n_groups)
        total = logits.new_zeros(())
        for side, array in ((0, batch.starts), (1, batch.ends)):
            scores = logits[:, :, side]
            target = self.there.put(array)
            total = total + shared_loss(scores, target, n_groups) / 2
            if self.settings.auxiliary and batch.n_windows > 1:
                total = total + self.settings.auxiliary * window_loss(scores, target, batch.n_windows) / 2
        return total

    def step(self, batch: Any, rate: float) -> Tensor:
        """One update; the loss before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        if self.average:
            self.n_averaged += 1
            keep = min(self.settings.ema, self.n_averaged / (self.n_averaged + 10))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.model.parameters()], 1 - keep)
        return loss.detach()

    def swap(self) -> None:
        """Puts the averaged weights in the place of the trained ones, and the other way round."""
        with torch.no_grad():
            for p, q in zip(self.model.parameters(), self.average, strict=False):
                kept = p.detach().clone()
                p.copy_(q)
                q.copy_(kept)


def shared_loss(scores: Tensor, target: Tensor, n_groups: Tensor) -> Tensor:
    """-log p of the right places of each question, or of none.

    scores: (Q, P). target: (n, 3) question, place, group.
    """
    total = torch.logaddexp(scores.logsumexp(1), scores.new_zeros(()))
    q, place, group = target.T
    p = (scores[q, place] - total[q]).exp()
    width = 8
    summed = p.new_zeros(len(scores) * width).index_add(0, q * width + group, p).view(-1, width)
    asked = p.new_zeros(len(scores) * width).index_add(0, q * width + group, torch.ones_like(p)).view(-1, width) > 0
    per_group = torch.where(asked, -(summed.clamp_min(1e-30)).log(), 0.0)
    right = per_group.sum(1) / n_groups.clamp_min(1)
    return torch.where(n_groups > 0, right, total).mean()


def window_loss(scores: Tensor, target: Tensor, n_windows: int) -> Tensor:
    """The same for each window by itself, all of its answers together."""
    rows = scores.reshape(-1, MAX_TOKENS)
    total = torch.logaddexp(rows.logsumexp(1), rows.new_zeros(()))
    q, place, _ = target.T
    row = q * n_windows + place // MAX_TOKENS
    p = (rows[row, place % MAX_TOKENS] - total[row]).exp()
    summed = p.new_zeros(len(rows)).index_add(0, row, p)
    held = p.new_zeros(len(rows)).index_add(0, row, torch.ones_like(p)) > 0
    return torch.where(held, -(summed.clamp_min(1e-30)).log(), total).mean()


def best_spans(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(Q,) score, first and last place of the best span within one window. logits: (Q, K * 384, 2)."""
    start, end = (logits[:, :, i].reshape(len(logits), -1, MAX_TOKENS) for i in (0, 1))
    best = torch.full_like(start, 4 * NEVER)
    length = torch.zeros(start.shape, dtype=torch.long, device=start.device)
    for n in range(MAX_ANSWER):
        score = start[:, :, : MAX_TOKENS - n] + end[:, :, n:]
        better = score > best[:, :, : MAX_TOKENS - n]
        best[:, :, : MAX_TOKENS - n][better] = score[better]
        length[:, :, : MAX_TOKENS - n][better] = n
    top, at = best.flatten(1).max(1)
    return top, at, at + length.flatten(1).gather(1, at[:, None])[:, 0]


@torch.inference_mode()
def evaluate(trainer: Trainer, names: tuple[str, ...], n_windows: int, limit: int) -> dict[str, float]:
    """Scores over held-out examples: by place, an approximation of F1 over words.

    f1, em: of the answerable ones when an answer is forced. both: F1 with the null option, an unanswerable question
    counting 1 when nothing is answered, at the threshold 0 and at the best one.
    """
    trainer.model.eval()
    examples = trainer.data.of(*names)[:limit]
    f1s, ems, tops, has = [], [], [], []
    size = max(8, 256 // n_windows)
    for i in range(0, len(examples), size):
        batch = trainer.data.batch(examples[i : i + size], n_windows, None)
        top, first, last = (t.cpu().numpy() for t in best_spans(trainer.logits(batch)))
        spans = _paired(trainer.data, examples[i : i + size], batch)
        for q in range(len(top)):
            scores = [_overlap(int(first[q]), int(last[q]), a, b) for a, b in spans[q]]
            f1s.append(max(scores, default=0.0))
            ems.append(float(max(scores, default=0.0) == 1.0))
            has.append(bool(spans[q]))
        tops += top.tolist()
    trainer.model.train()
    f1, em, top, answered = map(np.array, (f1s, ems, tops, has))
    if not len(f1):
        return {}
    gain = np.where(answered, f1, -1.0)[np.argsort(-top)]
    best = (np.concatenate([[0.0], np.cumsum(gain)]).max() + (~answered).sum()) / len(f1)
    result = {"n": len(f1), "both": float(np.where(top > 0, f1 * answered, ~answered).mean()), "best": float(best)}
    if answered.any():
        result |= {"f1": float(f1[answered].mean()), "em": float(em[answered].mean())}
    return {key: round(value, 4) for key, value in result.items()}


def _paired(data: Any, examples: Any, batch: Any) -> list[list[tuple[int, int]]]:
    """The right (first, last) places of each question of a batch that shows the first windows."""
    found: list[list[tuple[int, int]]] = [[] for _ in examples]
    head = batch.head.reshape(len(examples), -1)
    for q, example in enumerate(examples.tolist()):
        for _, column, first, last, _ in data.spans[data.span_offsets[example] : data.span_offsets[example + 1]]:
            if column < batch.n_windows:
                base = column * MAX_TOKENS + data.questions[data.examples[example, 0], 1] + head[q, column] + 2
                found[q].append((int(base + first), int(base + last)))
    return found


def _overlap(first: int, last: int, a: int, b: int) -> float:
    common = min(last, b) - max(first, a) + 1
    return max(0.0, 2 * common / (last - first + b - a + 2))


def rate_at(step: int, resumed_at: int, settings: Settings) -> float:
    """Rises over the warm-up, then falls to zero along a line; rises again for a moment after an interruption."""
    warm = max(1, int(settings.warmup * settings.steps))
    rate = settings.learning_rate * min((step + 1) / warm, max(0.0, (settings.steps - step) / (settings.steps - warm)))
    return rate * min(1.0, (step - resumed_at + 1) / REWARM) if resumed_at else rate


def write(trainer: Trainer, folder: Path, step: int) -> None:
    """The weights, averaged if there is an average, and how far the run is."""
    if trainer.average:
        trainer.swap()
    reader_model.save(reader_model.pack(trainer.model.state_dict()), folder, "reader")
    if trainer.average:
        trainer.swap()
    (folder / "state.json").write_text(json.dumps({"step": step, **asdict(trainer.settings)}) + "\n")


def main() -> None:
    """Parses the options, trains, evaluates."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with data.npz.xz")
    parser.add_argument("--init", type=Path, required=True, help="weights to begin with: a file or a folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="of this call, data and evaluation included")
    parser.add_argument("--evaluate-every", type=float, default=2.0, help="minutes")
    parser.add_argument("--held", type=int, default=1500, help="held-out questions of each kind at most")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true")
    for name, default in asdict(Settings()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    options = parser.parse_args()
    values = {name: getattr(options, name) for name in asdict(Settings())}
    options.out.mkdir(parents=True, exist_ok=True)
    state = options.out / "state.json"
    step = 0
    if state.is_file():
        kept = json.loads(state.read_text())
        step, values["steps"] = kept["step"], values["steps"] or kept["steps"]
    settings = Settings(**values)
    torch.manual_seed(settings.seed + step)
    if options.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew, half a second, for every shape

    data = reader_batches.Data(options.data / "data.npz.xz")
    model = reader_model.ReaderModel(settings.dropout)
    model.load_state_dict(reader_model.load(options.out if step else options.init))
    trainer = Trainer(data, model, settings, options.device)
    if options.compile:
        trainer.model.compile(dynamic=True)
    model.train()
    log = (options.out / "log.jsonl").open("a")

    def say(**values: object) -> None:
        line = json.dumps({"step": step, "seconds": round(time.perf_counter() - started, 1), **values})
        print(line, flush=True)
        log.write(line + "\n")
        log.flush()

    def scores() -> dict[str, dict[str, float]]:
        if trainer.average:
            trainer.swap()
        found = {
            "squad_1": evaluate(trainer, ("squad-held",), 1, options.held),
            "squad_8": evaluate(trainer, ("squad-held",), 8, options.held // 2),
            "human_1": evaluate(trainer, ("human-held",), 1, options.held),
            "code_8": evaluate(trainer, ("code-held",), 8, options.held),
        }
        if trainer.average:
            trainer.swap()
        return {name: score for name, score in found.items() if score}

    deadline = options.minutes * 60
    resumed_at = step
    reserve = 20.0 if options.device == "cuda" else 5.0  # seconds to evaluate and write; measured once it is known
    say(ready=round(time.perf_counter() - started, 1), device=options.device, torch=torch.__version__)
    began, evaluated = time.perf_counter(), time.perf_counter()
    losses: list[Tensor] = []
    n_tokens, n_first = 0, step
    for batch in data.epochs(settings.questions, settings.seed + 7919 * step):
        now = time.perf_counter()
        if (settings.steps and step >= settings.steps) or now - started > deadline - reserve:
            break
        if not settings.steps and step - n_first == 150:
            if options.device == "cuda":
                torch.cuda.synchronize()
            speed = 100 / (time.perf_counter() - began)
            n_evaluations = max(1, options.minutes / options.evaluate_every)
            left = deadline - reserve - (time.perf_counter() - started) - n_evaluations * 6
            settings = trainer.settings = Settings(**{**asdict(settings), "steps": step + int(left * speed)})
            say(steps=settings.steps, steps_per_second=round(speed, 2))
        if not settings.steps and step - n_first == 50:
            if options.device == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
        planned = settings if settings.steps else Settings(**{**asdict(settings), "steps": 4000})
        losses.append(trainer.step(batch, rate_at(step, resumed_at, planned)))
        n_tokens += sum((end - first) * T for first, end, T in batch.parts)
        step += 1
        if len(losses) == 50:
            mean = float(torch.stack(losses).mean())
            seconds = time.perf_counter() - began
            say(loss=round(mean, 4), tokens=n_tokens, since=round(seconds, 1))
            losses = []
        if time.perf_counter() - evaluated > options.evaluate_every * 60:
            at = time.perf_counter()
            say(**scores())
            write(trainer, options.out, step)
            reserve = 1.5 * (time.perf_counter() - at) + 3
            evaluated = time.perf_counter()
    write(trainer, options.out, step)
    say(**scores(), done=bool(settings.steps) and step >= settings.steps)
    log.close()
    sys.exit(0)


if __name__ == "__main__":
    main()
