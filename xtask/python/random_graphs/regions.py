"""Quantization, recurrence and control flow."""

import numpy as np
import onnx
from onnx import helper

from random_graphs.builder import BOOL, FLOAT, proposal


@proposal
def quantize(b):
    x = b.pick()
    zero = b.rng.choice([[], [b.constant(0, np.int8)]])
    q = b.node("QuantizeLinear", [x, b.constant(0.5, np.float32), *zero])[0]
    b.node("DequantizeLinear", [q, b.constant(0.5, np.float32), *zero])


@proposal
def dynamic_quantize(b):
    b.node("DynamicQuantizeLinear", [b.pick()], 3)


@proposal
def lstm(b):
    x = b.pick((FLOAT,), (3,), lambda shape: isinstance(shape[-1], int))
    weight = b.constant(np.ones([1, 8, b.shape(x)[-1]]), np.float32)
    recurrent = b.constant(np.ones([1, 8, 2]), np.float32)
    b.node("LSTM", [x, weight, recurrent], b.rng.randint(1, 3), hidden_size=2)


@proposal
def branch(b):
    x, y = b.pick(), b.pick()

    def body(name, value):
        inner = b.fresh()
        node = helper.make_node(b.rng.choice(["Relu", "Shape", "Neg"]), [value], [inner])
        return helper.make_graph([node], name, [], [onnx.ValueInfoProto(name=inner)])

    then, other = body("then", x), body("else", y)
    other.node[0].op_type = then.node[0].op_type
    b.node("If", [b.pick((BOOL,), (0,))], then_branch=then, else_branch=other)


@proposal
def scan(b):
    x = b.pick((FLOAT,), range(1, 5))
    inner, outer = b.fresh(), b.fresh()
    node = helper.make_node(b.rng.choice(["Relu", "Shape", "Exp"]), [inner], [outer])
    value = onnx.ValueInfoProto(name=inner)
    body = helper.make_graph([node], "body", [value], [onnx.ValueInfoProto(name=outer)])
    b.node("Scan", [x], body=body, num_scan_inputs=1, scan_input_axes=[b.axis(x)])
