"""The list of mutations, and what they share: picking at random, walking through graphs, naming nodes."""

from onnx import AttributeProto

MUTATIONS = []


def mutation(function):
    MUTATIONS.append(function)
    return function


def pick(rng, items, where=lambda item: True):
    items = [item for item in items if where(item)]
    return rng.choice(items) if items else None


def subgraphs(nodes):
    return [attribute.g for node in nodes for attribute in node.attribute if attribute.type == AttributeProto.GRAPH]


def all_graphs(model):
    """The main graph and those within it, with their depth."""
    found = [(model.graph, 0)]
    for graph, depth in found:
        found.extend((inner, depth + 1) for inner in subgraphs(graph.node))
    return found


def any_node(model, rng, where=lambda node: True):
    nodes = [node for graph, _ in all_graphs(model) for node in graph.node]
    return pick(rng, nodes, where)


def names(node):
    """How findings name the node: by its name, or by its first output that has one."""
    return [node.name or next(filter(None, node.output), node.op_type)]
