"""Random graphs in onnxruntime, which says what is right."""

import math
import re

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from workers import ENDED, alone

BINDING = {"N": 6, "M": 7}


def feeds(model, seed=None):
    """Inputs of a random graph, the symbols bound to sizes: zeros, or with a seed normal numbers where they are floats."""
    rng = np.random.default_rng(seed)
    found = {}
    for value in model.graph.input:
        sizes = [dim.dim_value if dim.HasField("dim_value") else BINDING.get(dim.dim_param, 6)
                 for dim in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        is_random = seed is not None and dtype == np.float32
        found[value.name] = rng.standard_normal(sizes).astype(dtype) if is_random else np.zeros(sizes, dtype)
    return found


def run(model, inputs):
    """The outputs, or onnxruntime's message where it refuses."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"]).run(None, inputs)
    except Exception as error:  # Whatever it throws, it names the node.
        return str(error)


class Run:
    """A graph in onnxruntime, on zeros."""

    def __init__(self, model):
        self.model = model

    def up_to(self, names):
        """The values of these names, where nothing else needs to run; onnxruntime's message where it refuses."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        graph, needed = model.graph, set(names)
        nodes = []
        for node in reversed(self.model.graph.node):
            if needed & set(node.output):
                nodes.insert(0, node)
                needed |= set(node.input) | {name for inner in subgraphs(node) for n in inner.node for name in n.input}
        del graph.node[:], graph.output[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        return alone(run, model.SerializeToString(), feeds(self.model))

    def refuses(self, names):
        """Whether onnxruntime refuses a node on the way to these values, by its name."""
        error = self.up_to(names)
        if not isinstance(error, str) or error == ENDED or "NOT_IMPLEMENTED" in error:
            return False
        return any(re.search(rf"\b{re.escape(node.name)}\b", error) for node in self.model.graph.node if node.name)

    def has_shape(self, name, inferred):
        """Whether the value is in the run what was inferred of it, or there can be none."""
        if "/" in name or not inferred.HasField("shape"):
            return False
        values = self.up_to([name])
        return self.refuses([name]) if isinstance(values, str) else admits(inferred, values[0])

    def disagreements(self, inferred, counts):
        """Values that are in the run not what was inferred of them."""
        values = [value for value in [*inferred.value_info, *inferred.output] if value.type.HasField("tensor_type")]
        found = self.up_to([value.name for value in values])
        if isinstance(found, str):
            counts["not run"] += 1
            return []
        counts["runs"] += 1
        counts["run dims"] += sum(array.ndim for array in found)
        return [(value.name, f"{list(array.shape)} in onnxruntime's run, not {shown(value.type.tensor_type)}")
                for value, array in zip(values, found, strict=True) if not admits(value.type.tensor_type, array)]


def shown(tensor):
    """The sizes of a type, for people."""
    if not tensor.HasField("shape"):
        return "unknown"
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim]


def subgraphs(node):
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


def admits(inferred, array):
    """Whether the array may have the inferred type; sizes that depend on data may be any."""
    if inferred.elem_type != helper.np_dtype_to_tensor_dtype(array.dtype):
        return False
    if not inferred.HasField("shape"):
        return True
    return len(inferred.shape.dim) == array.ndim and all(map(admits_size, inferred.shape.dim, array.shape))


def admits_size(dim, size):
    if dim.HasField("dim_value"):
        return dim.dim_value == size
    if not dim.dim_param or re.search(r"_s\d|unk__", dim.dim_param):
        return True
    return eval(dim.dim_param, {"floor": math.floor, "min": min, "max": max, **BINDING}) == size
