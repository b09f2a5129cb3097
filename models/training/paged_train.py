"""Trains the paged reader: haystacks of growing size are encoded once, and asked hundreds of questions each.

    python models/training/paged_train.py --out FOLDER --minutes 8 [--data FOLDER] [--init reader|FILE]

Runs as a file where the package is not installed; needs torch, numpy and safetensors. Goes on from what --out holds,
with a fresh optimizer. --data: what paged_data prepared; without it there are the generated tasks only, over the
standard library's text. --steps is the length of the whole schedule; 0 makes it as long as --total-minutes allow.
Prints a line of JSON now and then, the same into log.jsonl.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import queue
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

try:
    import selfroute.models  # noqa: F401
except ModuleNotFoundError:  # run as a file, where the package is not installed
    import paged_path  # type: ignore[import-not-found]

    paged_path.map_package()

from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.model import PagedReader, Pages
from selfroute.models.training import paged_init
from selfroute.models.training.paged_haystack import Batch
from selfroute.models.training.paged_loss import answer_loss, quantized
from selfroute.models.training.paged_rounding import attach
from selfroute.models.training.paged_scores import Suite, scores
from selfroute.models.training.paged_tasks import SHARES, Plan, Tasks
from selfroute.models.training.paged_words import Alphabet, counting_questions, word_loss

COUNTING = 8  # questions a step that ask for counting


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run. enough: the share of right answers above which haystacks grow, by `grows` a step."""

    steps: int = 0
    learning_rate: float = 3e-4
    local_rate: float = 1.0  # of the local layers, as a factor
    warmup: int = 150
    weight_decay: float = 0.01
    page_loss: float = 0.2
    quantized: float = 0.5  # share of the steps that read pages as kept in 4 bits ...
    quantized_from: float = 0.4  # ... after this share of the schedule
    rounded: float = 0.5  # share of the steps whose local layers are computed as they are shipped ...
    rounded_from: float = 0.5  # ... after this share of the schedule
    word_loss: float = 0.2
    ema: float = 0.998
    seed: int = 0
    enough: float = 0.65
    grows: float = 0.003
    tokens: int = 66100
    most_pages: int = 128
    page_tokens: int = 256
    questions: int = 512


class Trainer:
    """A model, its optimizer and its average."""

    def __init__(self, model: PagedReader, settings: Settings, device: str) -> None:
        self.model, self.settings, self.device = model.to(device), settings, device
        self.rounding, self.alphabet = attach(model.local), Alphabet.on(device)
        sharp = [p for n, p in model.named_parameters() if n.endswith(("sharpness", "null_size", ".conv"))]
        fast = {id(p) for p in sharp}
        local = [p for p in model.local.parameters() if id(p) not in fast]
        known = fast | {id(p) for p in local}
        others = [p for p in model.parameters() if id(p) not in known]
        groups = [
            {
                "params": [p for p in local if p.ndim > 1],
                "weight_decay": settings.weight_decay,
                "factor": settings.local_rate,
            },
            {"params": [p for p in local if p.ndim <= 1], "weight_decay": 0.0, "factor": settings.local_rate},
            {"params": [p for p in others if p.ndim > 1], "weight_decay": settings.weight_decay, "factor": 1.0},
            {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0, "factor": 1.0},
            {"params": sharp, "weight_decay": 0.0, "factor": 10.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=device == "cuda")
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.parameters] if settings.ema else []
        self.n_averaged = self.n_steps = 0
        self.rng = np.random.default_rng(settings.seed)

    def precision(self) -> Any:
        """bfloat16 on a GPU."""
        return torch.autocast("cuda", dtype=torch.bfloat16) if self.device == "cuda" else nullcontext()

    def put(self, batch: Batch) -> dict[str, Tensor]:
        """The batch's arrays on the device."""
        found = {}
        for field in fields(batch):
            array = getattr(batch, field.name)
            tensor = torch.from_numpy(array.astype(np.int32) if array.dtype == np.uint16 else array)
            found[field.name] = tensor.to(self.device, non_blocking=True)
        return found

    def encode(self, there: dict[str, Tensor]) -> Pages:
        """The pages of a batch on the device."""
        T = there["pages"].shape[-1]
        real = torch.arange(T, device=self.device) < there["lengths"][..., None]
        with self.precision():
            return self.model.encode(there["pages"], real)

    def questions(self, there: dict[str, Tensor]) -> Tensor:
        """The questions' states."""
        at = torch.arange(there["questions"].shape[-1], device=self.device)
        real = at < there["question_lengths"][..., None]
        with self.precision():
            return self.model.question(there["questions"], real)

    def loss(self, batch: Batch, bits: int = 16) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its parts."""
        there = self.put(batch)
        pages = quantized(self.encode(there), bits, bits)
        x = self.questions(there)
        with self.precision():
            found = self.model.read(x, pages)
        parts = answer_loss(found, there["answers"], there["n_groups"], there["asked"], pages)
        natural = there["natural"].float()
        parts["page"] = (parts["page"] * natural).sum() / natural.sum().clamp_min(1)
        parts["natural"] = (parts["right"] * natural).sum() / natural.sum()  # nan where there is none
        parts["right"] = (parts["right"] * (1 - natural)).sum() / (1 - natural).sum()
        parts["word"] = word_loss(self.model.word, pages.word, there["pages"], pages.real, self.alphabet)
        parts["asks"] = self.asks_loss(x[:, :, 0], there["asked"])
        words = self.settings.word_loss * (parts["word"] + parts["asks"])
        return parts["start"] + parts["end"] + self.settings.page_loss * parts["page"] + words, parts

    def asks_loss(self, x: Tensor, asked: Tensor) -> Tensor:
        """Of telling questions that ask for counting from the batch's, whose first reading token is x (B, Q, W)."""
        ids, real = counting_questions("train", self.model.config.readers, self.rng, COUNTING)
        with self.precision():
            counting = self.model.question(ids.to(self.device), real.to(self.device))[0, :, 0]
        others = self.model.word.asks(x.float())[..., 0][asked]
        return F.softplus(-self.model.word.asks(counting.float())).mean() + F.softplus(others).mean()

    def step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """One update; the parts of the loss before it."""
        settings = self.settings
        progress = step / max(1, settings.steps)
        self.n_steps += 1
        rate = (
            settings.learning_rate * min(1.0, self.n_steps / settings.warmup) * min(1.0, 1.05 * (1 - progress) + 0.01)
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.rounding.on = progress >= settings.rounded_from and self.rng.random() < settings.rounded
        packs = progress >= settings.quantized_from and self.rng.random() < settings.quantized
        loss, parts = self.loss(batch, 4 if packs else 16)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        if bool(norm.isfinite()):
            self.optimizer.step()
        if self.average:
            self.n_averaged += 1
            keep = min(settings.ema, self.n_averaged / (self.n_averaged + 10))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - keep)
        return {name: part.detach() for name, part in parts.items()} | {"norm": norm.detach()}

    def swap(self) -> None:
        """Puts the averaged weights in the place of the trained ones, and the other way round."""
        with torch.no_grad():
            for p, q in zip(self.parameters, self.average, strict=False):
                kept = p.detach().clone()
                p.copy_(q)
                q.copy_(kept)


def draw(
    folder: Path | None, shares: dict[str, float], readers: int, plan: Plan, seed: int, progress: Any, out: Any
) -> None:
    """A process that puts batches into a queue for ever."""
    tasks = Tasks.load(folder, shares, readers, seed)
    rng = np.random.default_rng([seed, 1])
    n = 0
    while True:
        out.put(tasks.batch(rng, plan, progress.value))
        n += 1
        if n % 200 == 0:
            tasks.material.renew(seed + 1000 * n)


def batches(
    folder: Path | None, shares: dict[str, float], readers: int, plan: Plan, seed: int, n_workers: int, progress: Any
) -> Iterator[Batch]:
    """Batches without end, made by other processes, or by this one with no workers."""
    if not n_workers:
        tasks, rng = Tasks.load(folder, shares, readers, seed), np.random.default_rng([seed, 1])
        while True:
            yield tasks.batch(rng, plan, progress.value)
    context = multiprocessing.get_context("fork")
    made: Any = context.Queue(2 * n_workers)
    workers = [
        context.Process(target=draw, args=(folder, shares, readers, plan, seed + 7919 * n, progress, made), daemon=True)
        for n in range(n_workers)
    ]
    for worker in workers:
        worker.start()
    while True:
        try:
            yield made.get(timeout=60)
        except queue.Empty:
            if not any(worker.is_alive() for worker in workers):
                raise RuntimeError("the processes that make batches have ended") from None


def main() -> None:
    """Parses the options, trains, evaluates."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that paged_data prepared")
    parser.add_argument("--init", default=paged_init.OF_READER, help="'reader', a file of MiniLM, a folder, or ''")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="of this call, evaluation included")
    parser.add_argument("--total-minutes", type=float, help="of the whole schedule; those of this call without it")
    parser.add_argument("--evaluate-every", type=float, default=2.0, help="minutes")
    parser.add_argument("--longest", type=int, default=32768, help="tokens of the largest haystack evaluated")
    parser.add_argument(
        "--shares", help="shares of tasks, as name=share,...; those not named keep theirs, or 0 with only=1"
    )
    parser.add_argument("--level", type=float, default=0.0, help="of the curriculum to begin with, 0 to 1")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--config", default="{}", help="sizes that differ from PagedConfig's, as JSON")
    for name, default in asdict(Settings()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    options = parser.parse_args()
    values = {name: getattr(options, name) for name in asdict(Settings())}
    options.out.mkdir(parents=True, exist_ok=True)
    state, step, spent, level = options.out / "state.json", 0, 0.0, options.level
    if state.is_file():
        kept = json.loads(state.read_text())
        step, spent, level = kept["step"], kept["minutes"], kept["level"]
        values["steps"] = values["steps"] or kept["steps"]
    settings = Settings(**values)
    torch.manual_seed(settings.seed + step)
    if options.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew, half a second, for every shape
    config = PagedConfig(**json.loads(options.config))
    shares = shares_of(options.shares)
    progress = multiprocessing.get_context("fork").Value("d", level)
    plan = Plan(
        settings.tokens,
        settings.most_pages,
        settings.page_tokens,
        min(32, settings.page_tokens),
        settings.questions,
    )
    source = batches(options.data, shares, config.readers, plan, settings.seed + step, options.workers, progress)
    next(source)  # the processes are begun before the device is
    model = paged_init.read(options.out) if step else paged_init.begun(config, options.init)
    trainer = Trainer(model, settings, options.device)
    suite = Suite.made(options.data, config.readers, options.longest, settings.page_tokens - 6)
    log = (options.out / "log.jsonl").open("a")

    def say(**values: object) -> None:
        line = json.dumps({"step": step, "seconds": round(time.perf_counter() - started, 1), **values})
        print(line, flush=True)
        log.write(line + "\n")
        log.flush()

    def evaluated() -> dict[str, object]:
        if trainer.average:
            trainer.swap()
        trainer.rounding.on = True
        found = scores(trainer, suite)
        if trainer.average:
            trainer.swap()
        return found

    def write() -> None:
        if trainer.average:
            trainer.swap()
        paged_init.write(trainer.model, options.out)
        if trainer.average:
            trainer.swap()
        minutes = spent + (time.perf_counter() - started) / 60
        state.write_text(
            json.dumps(
                {
                    "step": step,
                    "minutes": round(minutes, 2),
                    "level": round(progress.value, 3),
                    **asdict(trainer.settings),
                }
            )
            + "\n"
        )

    n_parameters = sum(p.numel() for p in trainer.parameters)
    say(parameters=n_parameters, device=options.device, torch=torch.__version__, config=config.to_json(), shares=shares)
    total = (options.total_minutes or spent + options.minutes) * 60
    reserve = 25.0 if options.device == "cuda" else 5.0
    last = time.perf_counter()
    since, n_tokens, losses, rights = last, 0, [], [0.0]
    for batch in source:
        now = time.perf_counter()
        if now - started > options.minutes * 60 - reserve or (options.steps and step >= options.steps):
            break
        if not options.steps:  # the schedule is as long as the time is: progress is time's
            share = (60 * spent + now - started) / total
            trainer.settings = settings = Settings(
                **{**asdict(settings), "steps": max(step + 1, int(step / max(share, 0.01)))}
            )
        losses.append(trainer.step(batch, step))
        n_tokens += int(batch.lengths.sum())
        step += 1
        if step % 10 == 0:
            rights = [*rights[-4:], float(torch.stack([x["right"] for x in losses[-10:]]).nanmean().nan_to_num())]
            grown = 10 * settings.grows * (sum(rights) / len(rights) > settings.enough)
            late = 1.6 * step / max(1, settings.steps) - 0.6  # what is not reached by then is gone on to all the same
            progress.value = min(1.0, max(progress.value + grown, late))
        if len(losses) == 100:
            means = {
                name: round(float(torch.stack([x[name] for x in losses]).nanmean().nan_to_num()), 4)
                for name in losses[0]
            }
            seconds = time.perf_counter() - since
            say(
                level=round(progress.value, 3),
                **means,
                tokens_per_second=int(n_tokens / seconds),
                steps_per_second=round(100 / seconds, 1),
                last=list(batch.pages.shape),
            )
            since, n_tokens, losses = time.perf_counter(), 0, []
        if time.perf_counter() - last > options.evaluate_every * 60:
            at = time.perf_counter()
            say(**evaluated())
            write()
            last = since = time.perf_counter()
            reserve = 1.5 * (last - at) + 5
            n_tokens, losses = 0, []
    write()
    say(**evaluated(), done=True)
    log.close()
    sys.stdout.flush()


def shares_of(text: str | None) -> dict[str, float]:
    """SHARES, with some changed. Raises ValueError for what is no share."""
    given = {name: float(share) for name, share in (part.split("=") for part in (text or "").split(",") if part)}
    base = {} if given.pop("only", 0.0) else SHARES
    return {**base, **given}


if __name__ == "__main__":
    main()
