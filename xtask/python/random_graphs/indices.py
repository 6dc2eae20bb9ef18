"""Nodes that select by position."""

import numpy as np

from random_graphs.builder import BOOL, FLOAT, INT32, INT64, proposal
from random_graphs.sizes import sizes


@proposal
def gather(b):
    x = b.pick()
    index = b.rng.choice([b.constant(0), b.constant([0, 0]), b.constant([[0, 0, 0]]), b.pick((INT64, INT32))])
    b.node("Gather", [x, index], axis=b.axis(x))


@proposal
def gather_elements(b):
    x = b.pick()
    index = b.pick((INT64,), (len(b.shape(x)),))
    b.node("GatherElements", [x, index], axis=b.axis(x))


@proposal
def gather_nd(b):
    x = b.pick()
    b.node("GatherND", [x, b.pick((INT64,), range(1, 4))], batch_dims=b.rng.choice([0, 0, 1]))


@proposal
def scatter_elements(b):
    x = b.pick()
    index = b.pick((INT64,), (len(b.shape(x)),))
    b.node("ScatterElements", [x, index, b.pick()], axis=b.axis(x))


@proposal
def arg_extreme(b):
    x = b.pick()
    b.node(b.rng.choice(["ArgMax", "ArgMin"]), [x], axis=b.axis(x), keepdims=b.rng.randint(0, 1))


@proposal
def top_k(b):
    x = b.pick()
    b.node("TopK", [x, b.rng.choice([b.constant([b.rng.randint(0, 3)]), sizes(b)])], 2, axis=b.axis(x))


@proposal
def one_hot(b):
    depth = b.rng.choice([b.constant(5), b.constant([3]), b.pick((INT64,), (0, 1))])
    x = b.pick((INT64, INT32))
    b.node("OneHot", [x, depth, b.constant([0, 1], np.float32)], axis=b.axis(x, 1))


@proposal
def non_zero(b):
    # For a scalar, onnx gives no row and onnxruntime one.
    b.node("NonZero", [b.pick((FLOAT, BOOL), range(1, 5))])


@proposal
def unique(b):
    x = b.pick()
    b.node("Unique", [x], b.rng.randint(1, 4), **b.rng.choice([{}, {"axis": b.axis(x)}]))


@proposal
def compress(b):
    x = b.pick()
    b.node("Compress", [x, b.pick((BOOL,), (1,))], **b.rng.choice([{}, {"axis": b.axis(x)}]))


@proposal
def eye_like(b):
    b.node("EyeLike", [b.pick((FLOAT, INT64), (2,))], **b.rng.choice([{}, {"dtype": INT32}]))
