"""Subgraphs and functions."""

import onnx
from onnx import AttributeProto, helper

from mutations.catalog import all_graphs, any_node, mutation, names, pick, subgraphs


def inner_graph(model, rng, where=lambda graph: True):
    return pick(rng, [graph for graph, depth in all_graphs(model) if depth], where)


@mutation
def subgraph_input_added(model, rng):
    graph = inner_graph(model, rng)
    if graph is None:
        return None
    graph.input.add().name = "one_more_input"
    return [name for outer, _ in all_graphs(model) for node in outer.node for name in names(node)]


@mutation
def subgraph_writes_outer_value(model, rng):
    graph = inner_graph(model, rng, lambda g: any(n.output for n in g.node))
    value = pick(rng, [v.name for v in model.graph.input] + [t.name for t in model.graph.initializer])
    if graph is None or value is None:
        return None
    node = pick(rng, graph.node, lambda n: n.output)
    old, node.output[0] = node.output[0], value
    return [value, old]


@mutation
def subgraph_missing(model, rng):
    node = any_node(model, rng, lambda n: any(a.type == AttributeProto.GRAPH for a in n.attribute))
    if node is None:
        return None
    pick(rng, node.attribute, lambda a: a.type == AttributeProto.GRAPH).ClearField("g")
    return [*names(node), *[a.name for a in node.attribute]]


def call(model, rng):
    """Moves a node of the main graph into a function, and calls that in its place; the call and the function."""
    node = pick(rng, model.graph.node, lambda n: n.output and any(n.input) and all(n.input) and not subgraphs([n]))
    if node is None:
        return None, None
    model.ir_version = max(model.ir_version, 8)
    inputs, outputs = [f"in_{i}" for i, _ in enumerate(node.input)], [f"out_{i}" for i, _ in enumerate(node.output)]
    body = onnx.NodeProto()
    body.CopyFrom(node)
    body.name = "body"
    body.input[:], body.output[:] = inputs, outputs
    function = helper.make_function("com.example", "Called", inputs, outputs, [body], list(model.opset_import))
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    node.op_type, node.domain = "Called", "com.example"
    del node.attribute[:]
    return node, model.functions[-1]


@mutation
def function_called(model, rng):
    node, _ = call(model, rng)
    return None if node is None else names(node)


@mutation
def function_twice(model, rng):
    node, function = call(model, rng)
    if node is None:
        return None
    model.functions.append(function)
    return ["Called"]


@mutation
def function_calls_itself(model, rng):
    node, function = call(model, rng)
    if node is None:
        return None
    body = function.node[0]
    body.op_type, body.domain = "Called", "com.example"
    del body.attribute[:]
    function.opset_import.append(helper.make_opsetid("com.example", 1))
    return ["Called"]


@mutation
def function_reads_what_nothing_defines(model, rng):
    node, function = call(model, rng)
    if node is None:
        return None
    function.node[0].input[0] = "nothing_defines_this"
    return ["nothing_defines_this"]


@mutation
def function_with_inputs_of_one_name(model, rng):
    node, function = call(model, rng)
    if node is None or len(function.input) < 2:
        return None
    function.input[1] = function.input[0]
    return ["in_0", "in_1"]


@mutation
def function_with_outputs_of_one_name(model, rng):
    node, function = call(model, rng)
    if node is None:
        return None
    function.output.append(function.output[0])
    return ["out_0"]


@mutation
def function_output_undefined(model, rng):
    node, function = call(model, rng)
    if node is None:
        return None
    function.output[0] = "nothing_writes_this"
    return ["nothing_writes_this"]


@mutation
def function_operator_unknown(model, rng):
    node, function = call(model, rng)
    if node is None:
        return None
    function.node[0].op_type = "NoSuchOperator"
    return ["body"]


@mutation
def function_without_opset(model, rng):
    node, function = call(model, rng)
    if node is None:
        return None
    del function.opset_import[:]
    return ["body", "Called"]


@mutation
def function_of_other_opset(model, rng):
    node, function = call(model, rng)
    if node is None:
        return None
    function.opset_import[0].version = rng.randint(1, 27)
    return ["body", "Called"]


@mutation
def function_with_dangling_reference(model, rng):
    node, function = call(model, rng)
    if node is None or not function.node[0].attribute:
        return None
    attribute = function.node[0].attribute[0]
    name, kind = attribute.name, attribute.type
    attribute.Clear()
    attribute.name, attribute.type, attribute.ref_attr_name = name, kind, "which_it_does_not_have"
    return ["which_it_does_not_have", name]


@mutation
def function_attribute_twice(model, rng):
    node, function = call(model, rng)
    if node is None:
        return None
    function.attribute.extend(["alpha", "alpha"])
    return ["alpha"]


@mutation
def function_unnamed(model, rng):
    node, function = call(model, rng)
    if node is None:
        return None
    function.name = ""
    return ["Called", *names(node), "no name"]


@mutation
def function_call_without_import(model, rng):
    node, function = call(model, rng)
    if node is None:
        return None
    model.opset_import.pop()
    return names(node)
