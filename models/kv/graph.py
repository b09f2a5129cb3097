"""A decode step as one CUDA graph, or, where that cannot be, the step itself with a line that says why.

At batch 1 a step of many small kernels waits for Python: a graph launches them all at once. A step can be captured
when its shapes are static and every number that changes from token to token (lengths, positions) lies on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Step = Callable[..., torch.Tensor]


@dataclass(frozen=True, slots=True)
class CapturedStep:
    """Call it with tensors of the shapes it was made with; the result is overwritten by the next call.

    `reason` is empty when a graph is replayed, else it says why `step` is called as it is.
    """

    step: Step
    inputs: tuple[torch.Tensor, ...]
    graph: Any = None
    output: torch.Tensor | None = None
    reason: str = ""

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        if self.graph is None or self.output is None:
            return self.step(*inputs)
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.output


def capture(
    step: Step, *inputs: torch.Tensor, restore: Callable[[], None] | None = None, warm_ups: int = 2
) -> CapturedStep:
    """`step(*inputs)` as a CUDA graph. It runs `warm_ups` times first, and `restore` undoes what those runs changed
    (a cache that grew); capturing itself runs nothing. An error while warming up is the step's own and is raised; one
    while capturing makes the step be called as it is, with the reason kept.
    """
    if not torch.cuda.is_available():
        return CapturedStep(step, inputs, reason="no CUDA graph: there is no CUDA device")
    if not inputs or any(not tensor.is_cuda for tensor in inputs):
        return CapturedStep(step, inputs, reason="no CUDA graph: the step's inputs are not all on the CUDA device")
    held = tuple(tensor.clone() for tensor in inputs)
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm_ups):
            step(*held)
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    if restore is not None:
        restore()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            output = step(*held)
    except Exception as error:  # what cannot be captured shows itself in many ways
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        torch.cuda.synchronize()
        if restore is not None:
            restore()
        return CapturedStep(step, inputs, reason=f"no CUDA graph: the step cannot be captured: {first[:200]}")
    return CapturedStep(step, held, graph, output)
