"""The paged reader's local layers as an ONNX graph: those of selfroute.models.training.reader_graph, from word vectors.

Word vectors are an input, since the shipped reader's table is used and not written again; the output is the states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from selfroute.errors import ConfigError
from selfroute.models.paged.config import PagedConfig
from selfroute.models.training.reader_graph import EPSILON, HEAD_DIM, IR, MICROSOFT, OPSET, Array, Kind, _Writer

if TYPE_CHECKING:
    import onnx

LOCAL = "local."
# A CPU without VNNI adds two products of 8 bits in 16, and what goes beyond is cut: with 7 bits nothing does, and all
# CPUs have the same result.
LEVELS = 63


def graph(state: Mapping[str, Array], config: PagedConfig, kind: Kind) -> onnx.ModelProto:
    """Input word: (1, T, width) float32, the tokens' word vectors. Output states: (1, T, width).

    state: a PagedReader's arrays by name. Raises ConfigError for an encoder that has no graph.
    """
    if config.encoder != "minilm" or config.width // config.heads != HEAD_DIM:
        raise ConfigError(
            f"there is no graph of the page encoder {config.encoder} with {config.heads} heads", "train one of minilm"
        )
    local = {name.removeprefix(LOCAL): array for name, array in state.items() if name.startswith(LOCAL)}
    return _LocalWriter(local, kind, frozenset()).model()


class _LocalWriter(_Writer):
    levels = LEVELS

    def model(self) -> onnx.ModelProto:
        """The whole graph, checked."""
        import numpy as np
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        x = self._embedded()
        for n in range(self._n_layers):
            x = self._layer(f"layers.{n}.", self._convolved(f"layers.{n}.conv", x))
        self._op("Identity", [x], "states")
        shape = ["B", "T", self._width]
        inputs = [helper.make_tensor_value_info("word", TensorProto.FLOAT, shape)]
        outputs = [helper.make_tensor_value_info("states", TensorProto.FLOAT, shape)]
        arrays = [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in self._arrays.items()]
        body = helper.make_graph(self._nodes, "paged", inputs, outputs, arrays)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(body, opset_imports=opsets, ir_version=IR, producer_name="selfroute")
        onnx.checker.check_model(model)
        return model

    def _convolved(self, name: str, x: str) -> str:
        """The input of a layer plus its convolution; itself for a layer that has none."""
        weight = self._state.get(name)
        if weight is None:
            return x
        half = weight.shape[2] // 2
        kernel = self._stored(name, weight)
        self._op("Transpose", [x], name + "_in", perm=[0, 2, 1])
        self._op("Conv", [name + "_in", kernel], name + "_out", group=self._width, pads=[half, half])
        self._op("Transpose", [name + "_out"], name + "_back", perm=[0, 2, 1])
        return self._op("Add", [x, name + "_back"], name + "_sum")

    def _embedded(self) -> str:
        import numpy as np

        self._op("Shape", ["word"], "shape")
        self._op("Gather", ["shape", self._array("one", np.array([1]))], "length")
        positions = self._stored("positions", self._state["positions.weight"])
        zero = self._array("zero", np.array([0]))
        self._op("Slice", [positions, zero, "length", zero], "position")
        self._op("Add", ["word", "position"], "word_at")
        self._op("Add", ["word_at", self._array("segment", self._state["segment"])], "embedded")
        norm = [self._array(f"norm.{kind}", self._state[f"norm.{kind}"]) for kind in ("weight", "bias")]
        return self._op("LayerNormalization", ["embedded", *norm], "x", axis=-1, epsilon=EPSILON)
