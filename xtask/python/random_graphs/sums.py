"""Reductions, normalization, products and windows."""

import numpy as np

from random_graphs.builder import FLOAT, INT64, Rejected, proposal


@proposal
def reduction(b):
    x = b.pick((FLOAT, INT64))
    op = b.rng.choice(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2", "ReduceProd"])
    inputs = b.rng.choice([[x], [x, b.constant(b.axes(x))]])
    b.node(op, inputs, keepdims=b.rng.randint(0, 1), noop_with_empty_axes=b.rng.randint(0, 1))


@proposal
def softmax(b):
    x = b.pick()
    b.node(b.rng.choice(["Softmax", "LogSoftmax", "Hardmax"]), [x], axis=b.axis(x))


@proposal
def cum_sum(b):
    x = b.pick()
    b.node("CumSum", [x, b.constant(b.axis(x))])


@proposal
def layer_norm(b):
    x = b.pick(where=lambda shape: shape and isinstance(shape[-1], int))
    b.node("LayerNormalization", [x, b.constant(np.ones(b.shape(x)[-1:]), np.float32)], b.rng.randint(1, 3), axis=-1)


def channels(shape):
    return len(shape) > 1 and isinstance(shape[1], int) and shape[1] > 0


@proposal
def batch_norm(b):
    x = b.pick((FLOAT,), range(2, 5), channels)
    scale = b.constant(np.ones(b.shape(x)[1]), np.float32)
    b.node("BatchNormalization", [x] + [scale] * 4)


@proposal
def matmul(b):
    x = b.pick((FLOAT,), range(1, 5))
    inner = b.shape(x)[-1]
    if isinstance(inner, int) and b.rng.random() < 0.6:
        shape = b.rng.choice([[inner, 3], [inner], [2, inner, 3], [1, inner, 2]])
        b.node("MatMul", [x, b.constant(np.ones(shape), np.float32)])
    else:
        b.node("MatMul", [x, b.pick((FLOAT,), range(1, 5))])


@proposal
def gemm(b):
    x = b.pick((FLOAT,), (2,))
    flip, inner = b.rng.randint(0, 1), b.shape(x)[-1]
    if not isinstance(inner, int):
        raise Rejected
    weight = b.constant(np.ones([4, inner] if flip else [inner, 4]), np.float32)
    b.node("Gemm", [x, weight], transB=flip)


@proposal
def einsum(b):
    x = b.pick((FLOAT,), (2, 3))
    y = b.pick((FLOAT,), (2, 3), lambda shape: shape[0] == b.shape(x)[1])
    left, right = "ijk"[: len(b.shape(x))], "jlk"[: len(b.shape(y))]
    b.node("Einsum", [x, y], equation=f"{left},{right}" + b.rng.choice(["", "->il", "->li"]))


def kernel(b, x):
    """Sizes of a window that fits on the image, mostly."""
    return [b.rng.randint(1, min(3, size) or 1) if isinstance(size, int) else b.rng.randint(1, 3) for size in b.shape(x)[2:]]


def window(b, x, kernel):
    attributes, rank = {}, len(kernel)
    if b.rng.random() < 0.6:
        attributes["strides"] = [b.rng.randint(1, 3) for _ in range(rank)]
    if b.rng.random() < 0.4:
        # A window that is larger than the padded image is refused here; the peers round its count towards zero.
        room = [isinstance(size, str) or 2 * k - 1 <= size for size, k in zip(b.shape(x)[2:], kernel)]
        attributes["dilations"] = [b.rng.randint(1, 1 + int(fits)) for fits in room]
    if b.rng.random() < 0.6:
        attributes["pads"] = [b.rng.randint(0, int(size > 1)) for size in kernel * 2]
    elif b.rng.random() < 0.6:
        attributes["auto_pad"] = b.rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
    return attributes


@proposal
def conv(b):
    x = b.pick((FLOAT,), (3, 4), channels)
    inputs, size = b.shape(x)[1], kernel(b, x)
    group = b.rng.choice([1, inputs])
    weight = b.constant(np.ones([inputs * 2, inputs // group, *size]), np.float32)
    b.node("Conv", [x, weight], group=group, **window(b, x, size))


@proposal
def conv_transpose(b):
    x = b.pick((FLOAT,), (3, 4), channels)
    inputs, size = b.shape(x)[1], [b.rng.randint(1, 3) for _ in b.shape(x)[2:]]
    weight = b.constant(np.ones([inputs, 2, *size]), np.float32)
    extra = {"output_padding": [b.rng.randint(0, 1) for _ in size]} if b.rng.random() < 0.3 else {}
    b.node("ConvTranspose", [x, weight], **extra, **window(b, x, size))


@proposal
def pool(b):
    x = b.pick((FLOAT,), (3, 4))
    size = kernel(b, x)
    attributes = window(b, x, size)
    if b.rng.random() < 0.5:
        attributes["ceil_mode"] = 1
    op = b.rng.choice(["MaxPool", "AveragePool", "LpPool"])
    outputs = b.rng.randint(1, 2) if op == "MaxPool" else 1
    b.node(op, [x], outputs, kernel_shape=size, **attributes)


@proposal
def global_pool(b):
    b.node(b.rng.choice(["GlobalAveragePool", "GlobalMaxPool"]), [b.pick((FLOAT,), (3, 4))])


@proposal
def resize(b):
    x = b.pick((FLOAT,), (2, 3, 4))
    rank = len(b.shape(x))
    if b.rng.random() < 0.5:
        scales = b.constant([b.rng.choice([0.5, 1, 1.5, 2]) for _ in range(rank)], np.float32)
        b.node("Resize", [x, "", scales])
    else:
        sized = b.constant([b.rng.randint(1, 6) for _ in range(rank)])
        policy = b.rng.choice(["stretch", "not_larger", "not_smaller"])
        b.node("Resize", [x, "", "", sized], keep_aspect_ratio_policy=policy)
