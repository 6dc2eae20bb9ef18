"""Initializers and their data."""

from onnx import TensorProto, helper

from mutations.catalog import all_graphs, mutation, names, pick


def any_initializer(model, rng, where=lambda tensor: True):
    return pick(rng, [t for graph, _ in all_graphs(model) for t in graph.initializer], where)


@mutation
def initializer_data_of_wrong_length(model, rng):
    tensor = any_initializer(model, rng, lambda t: t.raw_data)
    if tensor is None:
        return None
    tensor.raw_data = tensor.raw_data[:-1] if rng.random() < 0.5 else tensor.raw_data + b"\\0" * rng.choice([1, 4, 64])
    return [tensor.name]


@mutation
def initializer_of_other_shape(model, rng):
    tensor = any_initializer(model, rng, lambda t: t.dims)
    if tensor is None:
        return None
    tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice([-1, 0, 1, 1000, 2**62])
    return [tensor.name, *[name for node in model.graph.node for name in names(node)]]


@mutation
def initializer_of_other_type(model, rng):
    tensor = any_initializer(model, rng)
    if tensor is None:
        return None
    tensor.data_type = rng.choice([0, 1, 6, 7, 8, 10, 11, 99])
    return [tensor.name, *[name for node in model.graph.node if tensor.name in node.input for name in names(node)]]


@mutation
def initializer_with_two_data_fields(model, rng):
    tensor = any_initializer(model, rng)
    if tensor is None:
        return None
    rng.choice([tensor.float_data, tensor.int64_data, tensor.int32_data]).append(1)
    return [tensor.name]


@mutation
def initializer_without_data(model, rng):
    tensor = any_initializer(model, rng)
    if tensor is None:
        return None
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data"):
        tensor.ClearField(field)
    return [tensor.name]


@mutation
def initializer_twice(model, rng):
    graph, _ = rng.choice(all_graphs(model))
    tensor = pick(rng, graph.initializer)
    if tensor is None:
        return None
    graph.initializer.append(tensor)
    return [tensor.name]


@mutation
def initializer_unnamed(model, rng):
    tensor = any_initializer(model, rng)
    if tensor is None:
        return None
    old, tensor.name = tensor.name, ""
    return [old, "no name"]


@mutation
def initializer_external_and_missing(model, rng):
    tensor = any_initializer(model, rng)
    if tensor is None:
        return None
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", rng.choice(["missing.bin", "../outside.bin", "/etc/passwd"])
    return [tensor.name]


@mutation
def sparse_initializer(model, rng):
    """A sparse tensor that is fine or has one thing wrong."""
    wrong = rng.choice(["nothing", "order", "range", "count", "rank", "type", "dims", "name", "twice"])
    count = 3 if wrong == "count" else 2
    values = helper.make_tensor("" if wrong == "name" else "sparse", TensorProto.FLOAT, [2], [1.0, 2.0])
    where = {"order": [4, 1], "range": [1, 60], "twice": [1, 1]}.get(wrong, [1, 4])
    where = (where + [5])[:count]
    kind = TensorProto.INT32 if wrong == "type" else TensorProto.INT64
    dims = [1, 1, count] if wrong == "rank" else [count]
    indices = helper.make_tensor("where", kind, dims, where)
    sparse = helper.make_sparse_tensor(values, indices, [] if wrong == "dims" else [2, 3])
    model.graph.sparse_initializer.append(sparse)
    model.ir_version = max(model.ir_version, 5)
    return ["sparse", "no name"]
