"""Inputs, outputs, operators and versions of nodes."""

from onnx import helper

from mutations.catalog import all_graphs, any_node, mutation, names, pick


@mutation
def input_dropped(model, rng):
    node = any_node(model, rng, lambda n: n.input)
    if node is None:
        return None
    del node.input[rng.randrange(len(node.input))]
    return names(node)


@mutation
def input_left_out(model, rng):
    node = any_node(model, rng, lambda n: any(n.input))
    if node is None:
        return None
    node.input[rng.randrange(len(node.input))] = ""
    return names(node)


@mutation
def input_added(model, rng):
    node = any_node(model, rng, lambda n: any(n.input))
    if node is None:
        return None
    node.input.append(next(filter(None, node.input)))
    return names(node)


@mutation
def input_undefined(model, rng):
    node = any_node(model, rng, lambda n: n.input)
    if node is None:
        return None
    node.input[rng.randrange(len(node.input))] = "nothing_defines_this"
    return ["nothing_defines_this"]


@mutation
def output_dropped(model, rng):
    node = any_node(model, rng, lambda n: n.output)
    if node is None:
        return None
    dropped = node.output.pop(rng.randrange(len(node.output)))
    return [*names(node), dropped]


@mutation
def output_left_out(model, rng):
    node = any_node(model, rng, lambda n: n.output)
    if node is None:
        return None
    index = rng.randrange(len(node.output))
    dropped, node.output[index] = node.output[index], ""
    return [*names(node), dropped]


@mutation
def output_added(model, rng):
    node = any_node(model, rng)
    if node is None:
        return None
    node.output.append("one_more_output")
    return names(node)


@mutation
def output_renamed(model, rng):
    node = any_node(model, rng, lambda n: n.output)
    if node is None:
        return None
    index = rng.randrange(len(node.output))
    old, node.output[index] = node.output[index], "renamed"
    return [old, *names(node)]


@mutation
def output_written_twice(model, rng):
    graph, _ = rng.choice(all_graphs(model))
    writers = [node for node in graph.node if node.output and node.output[0]]
    if len(writers) < 2:
        return None
    first, second = rng.sample(writers, 2)
    old, second.output[0] = second.output[0], first.output[0]
    return [first.output[0], old]


@mutation
def node_twice(model, rng):
    graph, _ = rng.choice(all_graphs(model))
    node = pick(rng, graph.node)
    if node is None:
        return None
    graph.node.append(node)
    return list(node.output)


@mutation
def output_over_input(model, rng):
    node = pick(rng, model.graph.node, lambda n: n.output)
    value = pick(rng, model.graph.input)
    if node is None or value is None:
        return None
    old, node.output[0] = node.output[0], value.name
    return [value.name, old]


@mutation
def output_over_initializer(model, rng):
    node = pick(rng, model.graph.node, lambda n: n.output)
    value = pick(rng, model.graph.initializer)
    if node is None or value is None:
        return None
    old, node.output[0] = node.output[0], value.name
    return [value.name, old]


@mutation
def node_without_edges(model, rng):
    node = any_node(model, rng)
    if node is None:
        return None
    outputs = list(node.output)
    del node.input[:], node.output[:]
    return [node.name or node.op_type, node.op_type, *outputs]


@mutation
def cycle(model, rng):
    graph = model.graph
    node = pick(rng, graph.node, lambda n: n.input and n.output and n.output[0])
    if node is None:
        return None
    node.input[rng.randrange(len(node.input))] = node.output[0]
    return [*node.output, *names(node)]


@mutation
def cycle_of_two(model, rng):
    for node in rng.sample(list(model.graph.node), len(model.graph.node)):
        reader = pick(rng, model.graph.node, lambda n: set(n.input) & set(node.output) and n.output and n.output[0])
        if reader is not None and node.input:
            node.input[0] = reader.output[0]
            return [*names(node), *names(reader)]
    return None


@mutation
def nodes_reversed(model, rng):
    if len(model.graph.node) < 2:
        return None
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return [name for node in nodes for name in [*names(node), *node.input]]


@mutation
def operator_unknown(model, rng):
    node = any_node(model, rng)
    if node is None:
        return None
    node.op_type = "NoSuchOperator"
    return names(node)


@mutation
def operator_empty(model, rng):
    node = any_node(model, rng)
    if node is None:
        return None
    node.op_type = ""
    return [*names(node), *node.output]


@mutation
def operator_other(model, rng):
    node = any_node(model, rng)
    if node is None:
        return None
    node.op_type = rng.choice(["Relu", "Add", "Conv", "Concat", "Gemm", "If", "Upsample", "Scatter", "Reshape", "Cast"])
    return [*names(node), *node.output]


@mutation
def domain_not_imported(model, rng):
    node = any_node(model, rng)
    if node is None:
        return None
    node.domain = rng.choice(["com.example", "ai.onnx.ml"])
    return names(node)


@mutation
def domain_foreign(model, rng):
    node = any_node(model, rng)
    if node is None:
        return None
    node.domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return names(node)


@mutation
def opset_other(model, rng):
    if not model.opset_import:
        return None
    rng.choice(model.opset_import).version = rng.randint(1, 27)
    return [name for graph, _ in all_graphs(model) for node in graph.node for name in names(node)]


@mutation
def opset_impossible(model, rng):
    if not model.opset_import:
        return None
    rng.choice(model.opset_import).version = rng.choice([0, -1, 99, 2**40])
    return ["version"]


@mutation
def opset_missing(model, rng):
    if not model.opset_import:
        return None
    del model.opset_import[rng.randrange(len(model.opset_import))]
    return []


@mutation
def opset_twice(model, rng):
    if not model.opset_import:
        return None
    model.opset_import.append(helper.make_opsetid(model.opset_import[0].domain, rng.randint(1, 27)))
    return []


@mutation
def ir_version_other(model, rng):
    model.ir_version = rng.choice([0, 1, 2, 3, 4, 7, 10, 14, 99])
    return []


@mutation
def metadata_twice(model, rng):
    for value in ("a", "b"):
        entry = model.metadata_props.add()
        entry.key, entry.value = "key", value
    return ["key"]
