"""The reader's network as an ONNX graph, written node by node: float32, or int8 as it is shipped.

Of the operators three are ONNX Runtime's own (domain com.microsoft): attention, GELU, and the product with int8
weights, whose left side is rounded to 8 bits as it comes. Needs onnx; sizes are those of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Kind = Literal["float", "int8"]
HEAD_DIM = 32  # MiniLM's
OPSET, IR = 17, 9
MICROSOFT = "com.microsoft"
EPSILON = 1e-12
# Products whose inputs have a few large rows: each row is brought to 1 first, or rounding would drown the others.
BY_ROW = (".inner", ".outer")
OF_GELU, GELU_LEAST = ".outer", 0.17  # GELU gives nothing below -0.17: the largest number is the size of a row

Array = NDArray[np.float32]


def graph(state: Mapping[str, Array], kind: Kind, kept: frozenset[str] = frozenset()) -> onnx.ModelProto:
    """Inputs ids, segment: (B, T) int64, no padding. Outputs start, end: (B, T) float32, the null option's being 0.

    state: a ReaderModel's arrays by name. kept: products of an int8 graph that stay float, stored as fp16.
    """
    return _Writer(state, kind, kept).model()


class _Writer:
    levels = 127  # of int8 weights on each side of 0

    def __init__(self, state: Mapping[str, Array], kind: Kind, kept: frozenset[str]) -> None:
        self._state, self._kind, self._kept = state, kind, kept
        self._nodes: list[Any] = []
        self._arrays: dict[str, NDArray[np.generic]] = {}
        self._width = state["norm.weight"].shape[0]
        self._n_layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))

    def model(self) -> onnx.ModelProto:
        """The whole graph, checked."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        x = self._embedded()
        for n in range(self._n_layers):
            x = self._layer(f"layers.{n}.", x)
        start, end = self._heads(x)
        assert (start, end) == ("start", "end")
        shape = ["B", "T"]
        inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in ("ids", "segment")]
        outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in (start, end)]
        arrays = [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in self._arrays.items()]
        body = helper.make_graph(self._nodes, "reader", inputs, outputs, arrays)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(body, opset_imports=opsets, ir_version=IR, producer_name="selfroute")
        onnx.checker.check_model(model)
        return model

    def _embedded(self) -> str:
        from onnx import TensorProto

        words = self._state["words.weight"]
        if self._kind == "float":
            self._op("Gather", [self._array("words", words), "ids"], "word")
        else:
            table, scale = rounded(words)
            self._op("Gather", [self._array("words", table), "ids"], "word_int8")
            self._op("Cast", ["word_int8"], "word_float", to=TensorProto.FLOAT)
            self._op("Gather", [self._array("words_scale", scale[:, None]), "ids"], "word_scale")
            self._op("Mul", ["word_float", "word_scale"], "word")
        self._op("Shape", ["ids"], "shape")
        self._op("Gather", ["shape", self._array("one", np.array([1]))], "length")
        positions = self._stored("positions", self._state["positions.weight"])
        zero = self._array("zero", np.array([0]))
        self._op("Slice", [positions, zero, "length", zero], "position")
        self._op("Gather", [self._array("segments", self._state["segments.weight"]), "segment"], "part")
        self._op("Add", ["word", "position"], "word_at")
        self._op("Add", ["word_at", "part"], "embedded")
        norm = [self._array(f"norm.{kind}", self._state[f"norm.{kind}"]) for kind in ("weight", "bias")]
        return self._op("LayerNormalization", ["embedded", *norm], "x", axis=-1, epsilon=EPSILON)

    def _layer(self, at: str, x: str) -> str:
        state = self._state
        weight = np.concatenate([state[f"{at}{name}.weight"] for name in ("query", "key", "value")])
        bias = np.concatenate([state[f"{at}{name}.bias"] for name in ("query", "key", "value")])
        joint = self._linear(at + "qkv", x, weight, bias)
        q, k, v = at + "q", at + "k", at + "v"
        sizes = self._array("sizes", np.array([self._width] * 3))
        self._op("Split", [joint, sizes], q, k, v, axis=-1)
        heads = self._width // HEAD_DIM
        # Without a mask: ONNX Runtime then takes its blockwise attention, and a window, read alone, has no padding.
        looked = self._op("MultiHeadAttention", [q, k, v], at + "looked", domain=MICROSOFT, num_heads=heads)
        y = self._of(at + "attended", looked)
        x = self._normed(at + "attended_norm", x, y)
        y = self._op("Gelu", [self._of(at + "inner", x)], at + "gelu", domain=MICROSOFT)
        return self._normed(at + "outer_norm", x, self._of(at + "outer", y))

    def _heads(self, x: str) -> tuple[str, str]:
        """Each token's scores and its chunk's, which its first token gives."""
        state = self._state
        spans = self._matmul("spans", x, state["spans.weight"], state["spans.bias"])
        self._op("Slice", [x, "zero", "one", "one"], "first")
        chunk = self._matmul("chunk", "first", state["chunk.weight"], state["chunk.bias"])
        self._op("Add", [spans, chunk], "scores")
        self._op("Split", ["scores", self._array("ones", np.array([1, 1]))], "start_", "end_", axis=-1)
        last = self._array("last", np.array([-1]))
        return self._op("Squeeze", ["start_", last], "start"), self._op("Squeeze", ["end_", last], "end")

    def _of(self, name: str, x: str) -> str:
        return self._linear(name, x, self._state[f"{name}.weight"], self._state[f"{name}.bias"])

    def _linear(self, name: str, x: str, weight: Array, bias: Array) -> str:
        """weight: (out, in), as torch has it."""
        if self._kind == "float" or any(part in name for part in self._kept):
            return self._matmul(name, x, weight, bias)
        table, scale = rounded(weight, self.levels)
        factors = [self._array(name + ".weight", table.T), self._array(name + ".scale", scale)]
        added = self._array(name + ".bias", bias)
        if not name.endswith(BY_ROW):
            return self._op("DynamicQuantizeMatMul", [x, *factors, "", added], name, domain=MICROSOFT)
        least, large = self._array("tiny", np.array(1e-6, np.float32)), x
        if name.endswith(OF_GELU):
            least = self._array("least", np.array(GELU_LEAST, np.float32))
        else:
            large = self._op("Abs", [x], name + "_abs")
        self._op("ReduceMax", [large], name + "_most", axes=[-1], keepdims=1)
        size = self._op("Max", [name + "_most", least], name + "_size")
        self._op("Mul", [x, self._op("Reciprocal", [size], name + "_factor")], name + "_unit")
        self._op("DynamicQuantizeMatMul", [name + "_unit", *factors], name + "_product", domain=MICROSOFT)
        self._op("Mul", [name + "_product", size], name + "_sized")
        return self._op("Add", [name + "_sized", added], name)

    def _matmul(self, name: str, x: str, weight: Array, bias: Array) -> str:
        self._op("MatMul", [x, self._stored(name + ".weight", weight.T)], name + "_")
        return self._op("Add", [name + "_", self._array(name + ".bias", bias)], name)

    def _normed(self, name: str, x: str, y: str) -> str:
        """The sum's norm. ONNX Runtime's SkipLayerNormalization does this in one step, and was slower."""
        norm = [self._array(f"{name}.{kind}", self._state[f"{name}.{kind}"]) for kind in ("weight", "bias")]
        self._op("Add", [x, y], name + "_sum")
        return self._op("LayerNormalization", [name + "_sum", *norm], name, axis=-1, epsilon=EPSILON)

    def _stored(self, name: str, array: Array) -> str:
        """A float array; in an int8 graph stored as fp16."""
        from onnx import TensorProto

        if self._kind == "float":
            return self._array(name, array)
        return self._op("Cast", [self._array(name + "_half", array.astype(np.float16))], name, to=TensorProto.FLOAT)

    def _array(self, name: str, array: NDArray[np.generic]) -> str:
        self._arrays.setdefault(name, array)
        return name

    def _op(self, op: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(op, inputs, list(outputs), **attributes))
        return outputs[0]


def rounded(weight: Array, levels: int = 127) -> tuple[NDArray[np.int8], Array]:
    """(N, D) int8 and (N,) scales, whose product is the weight up to half a scale."""
    scale = np.maximum(np.abs(weight).max(1) / levels, 1e-8).astype(np.float32)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale
