"""Nodes that work element by element."""

import numpy as np

from random_graphs.builder import BOOL, FLOAT, INT32, INT64, proposal


@proposal
def unary(b):
    op = b.rng.choice(["Relu", "Sigmoid", "Exp", "Neg", "Erf", "Softplus", "HardSwish", "Identity", "Gelu", "Floor"])
    b.node(op, [b.pick()])


@proposal
def binary(b):
    x = b.pick((FLOAT, INT64, INT32))
    y = b.pick((b.types[x][0],))
    # A division of integers by zero ends onnxruntime's process.
    division = ["Div"] if b.types[x][0] == FLOAT else []
    b.node(b.rng.choice(["Add", "Mul", "Sub", "Max", "Min", "Equal", "Less", "Pow", *division]), [x, y])


@proposal
def binary_with_constant(b):
    x = b.pick((FLOAT, INT64))
    dtype = np.float32 if b.types[x][0] == FLOAT else np.int64
    shape = [d if isinstance(d, int) and b.rng.random() < 0.6 else 1 for d in b.shape(x)]
    y = b.constant(np.ones(shape[b.rng.randint(0, len(shape)):]), dtype)
    b.node(b.rng.choice(["Add", "Mul", "Sub"]), b.rng.sample([x, y], 2))


@proposal
def where(b):
    b.node("Where", [b.pick((BOOL,)), *b.rng.choices([b.pick(), b.pick()], k=2)])


@proposal
def cast(b):
    b.node("Cast", [b.pick((FLOAT, INT64, INT32, BOOL))], to=b.rng.choice([FLOAT, INT64, INT32, BOOL]))


@proposal
def clip(b):
    b.node("Clip", [b.pick(), b.constant(0, np.float32), b.rng.choice(["", b.constant(6, np.float32)])])
