"""Sizes that become data, and data that becomes sizes."""

from onnx import helper

from random_graphs.builder import FLOAT, INT32, INT64, proposal


@proposal
def shape_of(b):
    x = b.pick()
    rank = len(b.shape(x))
    attributes = {}
    if b.rng.random() < 0.5:
        attributes["start"] = b.rng.randint(-rank - 1, rank)
    if b.rng.random() < 0.5:
        attributes["end"] = b.rng.randint(-rank - 1, rank + 1)
    b.node("Shape", [x], **attributes)


@proposal
def size_of(b):
    b.node("Size", [b.pick()])


def sizes(b):
    """A vector of sizes that Shape gave, or what became of one."""
    return b.pick((INT64,), (1,))


@proposal
def gather_of_sizes(b):
    x = sizes(b)
    index = b.rng.choice([b.constant(b.rng.randint(-2, 2)), b.constant([b.rng.randint(-2, 2)])])
    b.node("Gather", [x, index], axis=0)


@proposal
def arithmetic_of_sizes(b):
    op = b.rng.choice(["Add", "Sub", "Mul", "Div"])
    other = b.rng.choice([b.constant(2), b.constant([2])] + ([b.pick((INT64,), (0, 1))] if op != "Div" else []))
    b.node(op, [b.pick((INT64,), (0, 1)), other])


@proposal
def unsqueezed_size(b):
    b.node("Unsqueeze", [b.pick((INT64,), (0,)), b.constant([0])])


@proposal
def concat_of_sizes(b):
    parts = [b.rng.choice([sizes(b), b.constant([b.rng.choice([1, 2, -1])])]) for _ in range(b.rng.randint(1, 3))]
    b.node("Concat", parts, axis=0)


@proposal
def sliced_sizes(b):
    ends = [b.constant([b.rng.choice([0, 1, -1])]), b.constant([b.rng.choice([1, 2, -1, 100])])]
    b.node("Slice", [sizes(b), *ends, b.constant([0])])


@proposal
def cast_of_sizes(b):
    b.node("Cast", [b.pick((INT64, INT32), (0, 1))], to=b.rng.choice([INT64, INT32]))


@proposal
def reshape_to_sizes(b):
    b.node("Reshape", [b.pick(), sizes(b)])


@proposal
def reshape_by_own_shape(b):
    """The chain that exporters write: Shape, Gather, Unsqueeze, Concat, Reshape."""
    x = b.pick((FLOAT,), range(1, 5))
    kept = b.rng.randrange(len(b.shape(x)))
    shape = b.node("Shape", [x])[0]
    if b.rng.random() < 0.5:
        kept = b.node("Gather", [shape, b.constant(kept)], axis=0)[0]
        kept = b.node("Unsqueeze", [kept, b.constant([0])])[0]
    else:
        kept = b.node("Slice", [shape, b.constant([kept]), b.constant([kept + 1])])[0]
    target = b.node("Concat", b.rng.choice([[kept, b.constant([-1])], [b.constant([-1]), kept]]), axis=0)[0]
    b.node("Reshape", [x, target])


@proposal
def filled(b):
    value = helper.make_tensor("value", FLOAT, [1], [1.0])
    b.node("ConstantOfShape", [sizes(b)], **b.rng.choice([{}, {"value": value}]))


@proposal
def expand_to_sizes(b):
    b.node("Expand", [b.pick(), sizes(b)])


@proposal
def range_of_size(b):
    b.node("Range", [b.constant(0), b.rng.choice([b.pick((INT64,), (0,)), b.constant(7)]), b.constant(b.rng.choice([1, 2]))])


@proposal
def tile_by_sizes(b):
    repeats = sizes(b)
    b.node("Tile", [b.pick(ranks=b.shape(repeats)), repeats])
