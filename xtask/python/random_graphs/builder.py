"""Graphs that grow node by node, as long as onnx infers them."""

import random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
SIZES = [1, 2, 3, 4, 5, 8, "N", "M"]
FLOAT, INT64, INT32, BOOL, INT8, UINT8 = (
    TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8)
PROPOSALS = []


def proposal(function):
    PROPOSALS.append(function)
    return function


class Rejected(Exception):
    """No value that the proposal could read."""


class Builder:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.nodes, self.initializers, self.inputs, self.types = [], [], [], {}
        self.count = 0
        for _ in range(self.rng.randint(1, 3)):
            name = self.fresh()
            elem = self.rng.choice([FLOAT, FLOAT, FLOAT, INT64, INT32])
            shape = [self.rng.choice(SIZES) for _ in range(self.rng.randint(0, 4))]
            self.inputs.append(helper.make_tensor_value_info(name, elem, shape))
            self.types[name] = (elem, shape)

    def fresh(self):
        self.count += 1
        return f"v{self.count}"

    def constant(self, values, dtype=np.int64):
        """An initializer, or now and then a Constant node."""
        tensor = numpy_helper.from_array(np.asarray(values, dtype), self.fresh())
        if self.rng.random() < 0.1:
            self.nodes.append(helper.make_node("Constant", [], [tensor.name], value=tensor))
        else:
            self.initializers.append(tensor)
        self.types[tensor.name] = (tensor.data_type, list(tensor.dims))
        return tensor.name

    def pick(self, elems=(FLOAT,), ranks=None, where=lambda shape: True):
        """A value of one of the types and ranks, recent ones first."""
        found = [name for name, (elem, shape) in self.types.items()
                 if elem in elems and shape is not None and (ranks is None or len(shape) in ranks) and where(shape)]
        if not found:
            raise Rejected
        recent = found[-3:]
        return self.rng.choice(recent if self.rng.random() < 0.7 else found)

    def shape(self, name):
        return self.types[name][1]

    def axis(self, name, extra=0):
        rank = len(self.shape(name)) + extra
        if rank == 0:
            raise Rejected
        return self.rng.randrange(-rank, rank)

    def axes(self, name):
        rank = len(self.shape(name))
        chosen = self.rng.sample(range(rank), self.rng.randint(0, rank))
        return [axis - rank if self.rng.random() < 0.3 else axis for axis in chosen]

    def node(self, op, inputs, outputs=1, **attributes):
        names = [self.fresh() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, f"node_{names[0]}", **attributes))
        return names

    def model(self):
        read = {name for node in self.nodes for name in node.input}
        written = [name for node in self.nodes for name in node.output if name]
        ends = [name for name in written if name not in read] or written[-1:]
        outputs = [onnx.ValueInfoProto(name=name) for name in ends]
        graph = helper.make_graph(self.nodes, "random", self.inputs, outputs, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

    def step(self):
        """One more node, or nothing where onnx refuses it."""
        saved = (list(self.nodes), list(self.initializers), dict(self.types))
        try:
            self.rng.choice(PROPOSALS)(self)
            self.infer()
        except (Rejected, onnx.shape_inference.InferenceError):
            self.nodes, self.initializers, self.types = saved

    def infer(self):
        inferred = onnx.shape_inference.infer_shapes(self.model(), strict_mode=True, data_prop=True, check_type=True)
        for value in [*inferred.graph.value_info, *inferred.graph.output]:
            tensor = value.type.tensor_type
            dims = None
            if tensor.HasField("shape"):
                dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
                # onnx infers negative sizes where a window is larger than what it slides over.
                if any(isinstance(dim, int) and dim < 0 for dim in dims):
                    raise Rejected
            self.types[value.name] = (tensor.elem_type, dims)


def build(seed):
    """The model of a seed: up to sixteen nodes."""
    builder = Builder(seed)
    for _ in range(builder.rng.randint(8, 40)):
        builder.step()
        if len(builder.nodes) >= 16:
            break
    return builder.model() if builder.nodes else None
