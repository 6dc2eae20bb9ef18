"""Inputs, outputs and inner values of graphs, their names and types."""

import onnx
from onnx import helper

from mutations.catalog import all_graphs, mutation, names, pick


def declared(model):
    return [*model.graph.input, *model.graph.output]


@mutation
def graph_unnamed(model, rng):
    graph, _ = rng.choice(all_graphs(model))
    graph.name = ""
    return []


@mutation
def graph_input_twice(model, rng):
    value = pick(rng, model.graph.input)
    if value is None:
        return None
    model.graph.input.append(value)
    return [value.name]


@mutation
def graph_input_dropped(model, rng):
    if not model.graph.input:
        return None
    value = model.graph.input.pop(rng.randrange(len(model.graph.input)))
    return [value.name]


@mutation
def graph_output_twice(model, rng):
    value = pick(rng, model.graph.output)
    if value is None:
        return None
    model.graph.output.append(value)
    return [value.name]


@mutation
def graph_output_undefined(model, rng):
    graph, _ = rng.choice(all_graphs(model))
    value = pick(rng, graph.output)
    if value is None:
        return None
    value.name = "nothing_writes_this"
    return [value.name]


@mutation
def graph_output_dropped(model, rng):
    graph, _ = rng.choice(all_graphs(model))
    if not graph.output:
        return None
    value = graph.output.pop(rng.randrange(len(graph.output)))
    return [value.name, *[name for outer, _ in all_graphs(model) for node in outer.node for name in names(node)]]


@mutation
def value_unnamed(model, rng):
    value = pick(rng, declared(model))
    if value is None:
        return None
    old, value.name = value.name, ""
    return [old, "no name"]


@mutation
def value_without_type(model, rng):
    value = pick(rng, declared(model))
    if value is None:
        return None
    value.ClearField("type")
    return [value.name]


@mutation
def value_without_element_type(model, rng):
    value = pick(rng, declared(model), lambda v: v.type.HasField("tensor_type"))
    if value is None:
        return None
    value.type.tensor_type.ClearField("elem_type")
    return [value.name]


@mutation
def value_without_shape(model, rng):
    value = pick(rng, declared(model), lambda v: v.type.HasField("tensor_type"))
    if value is None:
        return None
    value.type.tensor_type.ClearField("shape")
    return [value.name]


@mutation
def value_of_other_element_type(model, rng):
    value = pick(rng, declared(model), lambda v: v.type.HasField("tensor_type"))
    if value is None:
        return None
    old = value.type.tensor_type.elem_type
    value.type.tensor_type.elem_type = pick(rng, range(1, 17), lambda elem: elem != old)
    return [value.name, *[name for node in model.graph.node if value.name in node.input for name in names(node)]]


@mutation
def value_of_other_kind(model, rng):
    value = pick(rng, declared(model), lambda v: v.type.HasField("tensor_type"))
    if value is None:
        return None
    inner = onnx.TypeProto()
    inner.CopyFrom(value.type)
    value.type.Clear()
    (value.type.sequence_type if rng.random() < 0.5 else value.type.optional_type).elem_type.CopyFrom(inner)
    return [value.name, *[name for node in model.graph.node if value.name in node.input for name in names(node)]]


@mutation
def value_of_other_size(model, rng):
    value = pick(rng, declared(model), lambda v: v.type.tensor_type.shape.dim)
    if value is None:
        return None
    dim = rng.choice(value.type.tensor_type.shape.dim)
    dim.dim_value += rng.randint(1, 3)
    return [value.name, *[name for node in model.graph.node for name in names(node)]]


@mutation
def value_of_other_rank(model, rng):
    value = pick(rng, declared(model), lambda v: v.type.HasField("tensor_type"))
    if value is None:
        return None
    value.type.tensor_type.shape.dim.add().dim_value = 2
    return [value.name, *[name for node in model.graph.node for name in names(node)]]


@mutation
def inner_value_of_other_type(model, rng):
    node = pick(rng, model.graph.node, lambda n: n.output and n.output[0])
    if node is None:
        return None
    known = next((value for value in model.graph.value_info if value.name == node.output[0]), None)
    value = known or model.graph.value_info.add()
    value.CopyFrom(helper.make_tensor_value_info(node.output[0], rng.choice([1, 7, 9]), [7, 7, 7]))
    return [node.output[0], *[name for reader in model.graph.node for name in names(reader)]]
