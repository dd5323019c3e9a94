"""A BERT-family encoder as an ONNX graph, built from a plain dictionary of weights, with mean pooling and unit length at its end.

The layout is that of BERT (Devlin et al. 2018, https://arxiv.org/abs/1810.04805) and of Sentence-BERT pooling (Reimers and Gurevych
2019, https://arxiv.org/abs/1908.10084). Only the conversion imports this module: `onnx` is absent from a server install.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Weights = Mapping[str, NDArray[np.float32]]

_OPSET = 18
_IR_VERSION = 9
_MASKED = -10000.0
"""Added to attention scores of padding before softmax; large enough to vanish, small enough not to overflow in half precision."""


@dataclass(frozen=True, slots=True)
class BertShape:
    """The numbers of `config.json` that the graph depends on."""

    layers: int
    hidden: int
    heads: int
    epsilon: float


@dataclass(slots=True)
class _Graph:
    """Nodes and constants under construction. Names come from one counter, so two builds of the same weights are identical."""

    weights: Weights
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: object, kind: type[np.generic] = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind, order="C"), name))
        return name

    def node(self, operator: str, inputs: list[str], **attributes: float | list[int]) -> str:
        output = f"{operator}_{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [output], name=output)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        return output

    def linear(self, source: str, key: str) -> str:
        weight = self.constant(f"{key}.weight", self.weights[f"{key}.weight"].T)
        return self.node("Add", [self.node("MatMul", [source, weight]), self.constant(f"{key}.bias", self.weights[f"{key}.bias"])])

    def norm(self, source: str, key: str, epsilon: float) -> str:
        scale, bias = (self.constant(f"{key}.{part}", self.weights[f"{key}.{part}"]) for part in ("weight", "bias"))
        return self.node("LayerNormalization", [source, scale, bias], axis=-1, epsilon=epsilon)


def build_encoder(weights: Weights, shape: BertShape) -> onnx.ModelProto:
    """Make the graph `input_ids, attention_mask (int64, batch x tokens) -> embedding (float32, batch x hidden)`; rows have unit length."""
    graph = _Graph(weights)
    hidden = _embeddings(graph, shape)
    bias = _attention_bias(graph)
    for layer in range(shape.layers):
        hidden = _layer(graph, f"encoder.layer.{layer}", hidden, (bias, shape))
    graph.nodes.append(helper.make_node("Identity", [_pool(graph, hidden)], ["embedding"], name="output"))
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", shape.hidden])]
    body = helper.make_graph(graph.nodes, "encoder", inputs, outputs, graph.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="portcullis")
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    return model


def _embeddings(graph: _Graph, shape: BertShape) -> str:
    words = graph.node("Gather", [graph.constant("words", graph.weights["embeddings.word_embeddings.weight"]), "input_ids"])
    length = graph.node("Gather", [graph.node("Shape", ["input_ids"]), graph.constant("token_axis", 1, np.int64)], axis=0)
    places = graph.node("Range", [graph.constant("first", 0, np.int64), length, graph.constant("step", 1, np.int64)])
    table = graph.constant("places", graph.weights["embeddings.position_embeddings.weight"])
    summed = graph.node("Add", [words, graph.node("Gather", [table, places])])
    segment = graph.constant("segment", graph.weights["embeddings.token_type_embeddings.weight"][0])
    return graph.norm(graph.node("Add", [summed, segment]), "embeddings.LayerNorm", shape.epsilon)


def _attention_bias(graph: _Graph) -> str:
    axes = graph.constant("head_and_query_axes", [1, 2], np.int64)
    mask = graph.node("Cast", [graph.node("Unsqueeze", ["attention_mask", axes])], to=TensorProto.FLOAT)
    return graph.node("Mul", [graph.node("Sub", [graph.constant("one", 1.0), mask]), graph.constant("masked", _MASKED)])


def _layer(graph: _Graph, key: str, hidden: str, context: tuple[str, BertShape]) -> str:
    bias, shape = context
    attended = graph.linear(_attention(graph, f"{key}.attention.self", hidden, (bias, shape)), f"{key}.attention.output.dense")
    hidden = graph.norm(graph.node("Add", [attended, hidden]), f"{key}.attention.output.LayerNorm", shape.epsilon)
    inner = graph.linear(hidden, f"{key}.intermediate.dense")
    scaled = graph.node("Div", [inner, graph.constant(f"{key}.root_two", np.sqrt(2.0))])
    gate = graph.node("Add", [graph.node("Erf", [scaled]), graph.constant(f"{key}.one", 1.0)])
    gelu = graph.node("Mul", [graph.node("Mul", [inner, gate]), graph.constant(f"{key}.half", 0.5)])
    output = graph.linear(gelu, f"{key}.output.dense")
    return graph.norm(graph.node("Add", [output, hidden]), f"{key}.output.LayerNorm", shape.epsilon)


def _attention(graph: _Graph, key: str, hidden: str, context: tuple[str, BertShape]) -> str:
    bias, shape = context
    split = graph.constant(f"{key}.split", [0, 0, shape.heads, shape.hidden // shape.heads], np.int64)

    def heads(part: str, order: list[int]) -> str:
        return graph.node("Transpose", [graph.node("Reshape", [graph.linear(hidden, f"{key}.{part}"), split])], perm=order)

    query, keys, values = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
    root = graph.constant(f"{key}.root", np.sqrt(shape.hidden / shape.heads))
    scores = graph.node("Div", [graph.node("MatMul", [query, keys]), root])
    shares = graph.node("Softmax", [graph.node("Add", [scores, bias])], axis=-1)
    mixed = graph.node("Transpose", [graph.node("MatMul", [shares, values])], perm=[0, 2, 1, 3])
    return graph.node("Reshape", [mixed, graph.constant(f"{key}.join", [0, 0, shape.hidden], np.int64)])


def _pool(graph: _Graph, hidden: str) -> str:
    last, tokens = (graph.constant(name, [axis], np.int64) for name, axis in (("last_axis", 2), ("tokens_axis", 1)))
    mask = graph.node("Unsqueeze", [graph.node("Cast", ["attention_mask"], to=TensorProto.FLOAT), last])
    total = graph.node("ReduceSum", [graph.node("Mul", [hidden, mask]), tokens], keepdims=0)
    mean = graph.node("Div", [total, graph.node("ReduceSum", [mask, tokens], keepdims=0)])
    return graph.node("LpNormalization", [mean], axis=-1, p=2)
