"""Nodes that move elements."""

from random_graphs.builder import BOOL, FLOAT, INT64, Rejected, proposal


@proposal
def transpose(b):
    x = b.pick((FLOAT, INT64, BOOL))
    order = list(range(len(b.shape(x))))
    b.rng.shuffle(order)
    b.node("Transpose", [x], **b.rng.choice([{}, {"perm": order} if order else {}]))


@proposal
def reshape(b):
    x = b.pick((FLOAT, INT64))
    shape = b.shape(x)
    at = b.rng.randint(0, len(shape))
    after = at + b.rng.randint(0, 2)
    if not all(isinstance(d, int) and d for d in shape[after:]):
        raise Rejected
    head = [0 if b.rng.random() < 0.7 or not isinstance(d, int) else d for d in shape[:at]]
    b.node("Reshape", [x, b.constant(head + [-1] + shape[after:])])


@proposal
def flatten(b):
    x = b.pick()
    rank = len(b.shape(x))
    b.node("Flatten", [x], axis=b.rng.randint(-rank, rank))


@proposal
def squeeze(b):
    x = b.pick((FLOAT, INT64))
    # An empty list of axes is none for onnx and all for onnxruntime.
    ones = [axis for axis, d in enumerate(b.shape(x)) if d == 1] or [0]
    if b.rng.random() < 0.2 and all(isinstance(d, int) for d in b.shape(x)):
        b.node("Squeeze", [x])
    else:
        b.node("Squeeze", [x, b.constant(b.rng.sample(ones, b.rng.randint(1, len(ones))))])


@proposal
def unsqueeze(b):
    x = b.pick((FLOAT, INT64))
    rank = len(b.shape(x)) + b.rng.randint(1, 2)
    b.node("Unsqueeze", [x, b.constant(b.rng.sample(range(-rank, rank), rank - len(b.shape(x))))])


@proposal
def concat(b):
    x = b.pick((FLOAT, INT64))
    like = [name for name, (elem, shape) in b.types.items()
            if elem == b.types[x][0] and shape is not None and len(shape) == len(b.shape(x))]
    b.node("Concat", [x] + b.rng.choices(like, k=b.rng.randint(0, 2)), axis=b.axis(x))


@proposal
def split(b):
    x = b.pick()
    axis = b.axis(x)
    size = b.shape(x)[axis]
    if isinstance(size, int) and size > 1 and b.rng.random() < 0.5:
        first = b.rng.randint(1, size - 1)
        b.node("Split", [x, b.constant([first, size - first])], 2, axis=axis)
    else:
        count = b.rng.randint(1, 3)
        b.node("Split", [x], count, axis=axis, num_outputs=count)


@proposal
def slice_(b):
    x = b.pick((FLOAT, INT64), range(1, 5))
    axes = b.axes(x) or [0]
    steps = [b.rng.choice([1, 1, 1, 2, 3, -1, -2]) for _ in axes]
    # With a negative step the largest numbers as ends stand for the beginning in onnxruntime, and there only.
    ends = [100 if step < 0 else 2**31 - 1 for step in steps]
    bounds = [b.constant([b.rng.choice([0, 1, -1, -2, 3, 100, -100, end]) for end in ends]) for _ in range(2)]
    steps = b.constant(steps)
    b.node("Slice", [x, *bounds, b.constant(axes), *b.rng.choice([[], [steps]])])


@proposal
def pad(b):
    x = b.pick()
    rank = len(b.shape(x))
    axes = b.axes(x)
    if b.rng.random() < 0.5:
        b.node("Pad", [x, b.constant([b.rng.randint(-1, 3) for _ in range(2 * rank)])])
    else:
        pads = b.constant([b.rng.randint(0, 2) for _ in range(2 * len(axes))])
        b.node("Pad", [x, pads, "", b.constant(axes)], mode=b.rng.choice(["constant", "edge"]))


@proposal
def expand(b):
    x = b.pick()
    target = [b.rng.choice([1, d if isinstance(d, int) else 1]) for d in b.shape(x)]
    b.node("Expand", [x, b.constant(b.rng.choice([[], [2], [3, 1]]) + target)])


@proposal
def tile(b):
    x = b.pick()
    b.node("Tile", [x, b.constant([b.rng.randint(0, 3) for _ in b.shape(x)])])


@proposal
def depth_to_space(b):
    def divides(number, axes):
        return lambda shape: all(isinstance(shape[axis], str) or shape[axis] % number == 0 for axis in axes)

    op, fits = b.rng.choice([("DepthToSpace", divides(4, [1])), ("SpaceToDepth", divides(2, [2, 3]))])
    b.node(op, [b.pick((FLOAT,), (4,), fits)], blocksize=2)


@proposal
def trilu(b):
    b.node("Trilu", [b.pick((FLOAT,), (2, 3, 4))], upper=b.rng.randint(0, 1))
