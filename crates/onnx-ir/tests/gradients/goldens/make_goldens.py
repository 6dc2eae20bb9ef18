"""Small models with random weights, and their gradients by PyTorch: the goldens of `whole_models.rs`.

Needs torch==2.13.0, onnx==1.23.2, numpy==2.4.6 (each pinned; the first is the peer whose gradients are held to be right).
Writes NAME.onnx (weights and a loss inside) and NAME.npz (the batch, and `grad/WEIGHT` for every trainable weight) beside itself.

Each model is written down once: every call below adds ONNX nodes and does the same in PyTorch. Weights are f32; PyTorch
computes with them in f64.
"""

import pathlib

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent


class Value:
    """A value of the graph and the same in PyTorch."""

    def __init__(self, name, tensor):
        self.name, self.tensor = name, tensor


class Builder:
    def __init__(self, name, opset, seed):
        self.name, self.opset = name, opset
        self.random = np.random.default_rng(seed)
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []
        self.weights, self.feeds, self.count = {}, {}, 0

    def node(self, op, inputs, tensors, **attributes):
        """One node whose outputs are these tensors (`None`: an output that is not compared)."""
        self.count += 1
        names = [f"{op.lower()}{self.count}_{i}" for i in range(len(tensors))]
        inputs = [x if isinstance(x, str) else x.name for x in inputs]
        self.nodes.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        values = [Value(n, t) for n, t in zip(names, tensors)]
        return values[0] if len(values) == 1 else values

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, name, shape, spread=None, centre=0.0):
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else shape[0]
        spread = spread if spread is not None else fan**-0.5
        array = (centre + spread * self.random.standard_normal(shape)).astype(np.float32)
        self.constant(name, array)
        self.weights[name] = torch.tensor(array, dtype=torch.float64, requires_grad=True)
        return Value(name, self.weights[name])

    def input(self, name, array, shape):
        kind = TensorProto.FLOAT if array.dtype == np.float32 else TensorProto.INT64
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        self.feeds[name] = array
        tensor = torch.tensor(array)
        return Value(name, tensor.double() if array.dtype == np.float32 else tensor)

    def conv(self, x, name, out, kernel, stride=1, group=1, pads=None, bias=False):
        channels = x.tensor.shape[1] // group
        w = self.weight(f"{name}.weight", (out, channels, *kernel))
        b = [self.weight(f"{name}.bias", (out,), 0.1)] if bias else []
        pads = pads or [kernel[0] // 2, kernel[1] // 2, kernel[0] // 2, kernel[1] // 2]
        padded = F.pad(x.tensor, (pads[1], pads[3], pads[0], pads[2]))
        y = F.conv2d(padded, w.tensor, b[0].tensor if b else None, stride=stride, groups=group)
        attributes = dict(kernel_shape=kernel, strides=[stride, stride], group=group, pads=pads)
        return self.node("Conv", [x, w, *b], [y], **attributes)

    def batch_norm(self, x, name):
        channels = x.tensor.shape[1]
        scale = self.weight(f"{name}.weight", (channels,), 0.2, 1.0)
        bias = self.weight(f"{name}.bias", (channels,), 0.1)
        mean = self.constant(f"{name}.running_mean", np.zeros(channels, np.float32))
        var = self.constant(f"{name}.running_var", np.ones(channels, np.float32))
        y = F.batch_norm(x.tensor, None, None, scale.tensor, bias.tensor, training=True)
        inputs = [x, scale, bias, mean, var]
        y, new_mean, new_var = self.node("BatchNormalization", inputs, [y, None, None], training_mode=1)
        self.outputs += [(new_mean.name, channels), (new_var.name, channels)]
        return y

    def relu(self, x):
        return self.node("Relu", [x], [F.relu(x.tensor)])

    def add(self, a, b):
        return self.node("Add", [a, b], [a.tensor + b.tensor])

    def pool_and_classify(self, x, classes, labels):
        pooled = self.node("GlobalAveragePool", [x], [x.tensor.mean((2, 3), keepdim=True)])
        flat = self.node("Flatten", [pooled], [pooled.tensor.flatten(1)])
        return self.classify(flat, classes, labels)

    def classify(self, x, classes, labels):
        w = self.weight("classifier.weight", (classes, x.tensor.shape[1]))
        b = self.weight("classifier.bias", (classes,), 0.1)
        logits = self.node("Gemm", [x, w, b], [F.linear(x.tensor, w.tensor, b.tensor)], transB=1)
        loss = F.cross_entropy(logits.tensor, labels.tensor)
        return self.node("SoftmaxCrossEntropyLoss", [logits, labels], [loss])

    def linear(self, x, name, out):
        width = x.tensor.shape[-1]
        w, b = self.weight(f"{name}.weight", (width, out), width**-0.5), self.weight(f"{name}.bias", (out,), 0.1)
        product = self.node("MatMul", [x, w], [x.tensor @ w.tensor])
        return self.add(product, b)

    def layer_norm(self, x, name):
        width = x.tensor.shape[-1]
        w = self.weight(f"{name}.weight", (width,), 0.2, 1.0)
        b = self.weight(f"{name}.bias", (width,), 0.1)
        y = F.layer_norm(x.tensor, (width,), w.tensor, b.tensor, 1e-5)
        return self.node("LayerNormalization", [x, w, b], [y], axis=-1, epsilon=1e-5)

    def finish(self, loss):
        loss.tensor.backward()
        infos = [helper.make_tensor_value_info(loss.name, TensorProto.FLOAT, [])]
        infos += [helper.make_tensor_value_info(n, TensorProto.FLOAT, [c]) for n, c in self.outputs]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, infos, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="make_goldens.py")
        onnx.checker.check_model(model)
        onnx.save(model, HERE / f"{self.name}.onnx")
        arrays = {f"feed/{n}": a for n, a in self.feeds.items()}
        arrays["loss"] = np.array(loss.tensor.item())
        for name, weight in self.weights.items():
            arrays[f"grad/{name}"] = weight.grad.numpy().astype(np.float32)
        np.savez(HERE / f"{self.name}.npz", **arrays)


def resnet8():
    g = Builder("resnet8", 17, 8)
    images = g.random.standard_normal((4, 3, 16, 16)).astype(np.float32)
    x = g.input("images", images, ["batch", 3, 16, 16])
    labels = g.input("labels", np.array([3, 1, 9, 0]), ["batch"])
    x = g.relu(g.batch_norm(g.conv(x, "stem", 4, [3, 3]), "stem_bn"))
    for i, (width, stride) in enumerate([(4, 1), (8, 2), (16, 2)]):
        y = g.relu(g.batch_norm(g.conv(x, f"block{i}.conv0", width, [3, 3], stride), f"block{i}.bn0"))
        y = g.batch_norm(g.conv(y, f"block{i}.conv1", width, [3, 3]), f"block{i}.bn1")
        if stride > 1:
            x = g.conv(x, f"block{i}.shortcut", width, [1, 1], stride, bias=True)
        x = g.relu(g.add(x, y))
    g.finish(g.pool_and_classify(x, 10, labels))


def ds_cnn():
    g = Builder("ds_cnn", 17, 12)
    sounds = g.random.standard_normal((4, 1, 25, 10)).astype(np.float32)
    x = g.input("sounds", sounds, ["batch", 1, 25, 10])
    labels = g.input("labels", np.array([3, 11, 0, 7]), ["batch"])
    x = g.relu(g.batch_norm(g.conv(x, "stem", 8, [10, 4], 2, pads=[4, 1, 5, 1]), "stem_bn"))
    for i in range(4):
        x = g.relu(g.batch_norm(g.conv(x, f"block{i}.depthwise", 8, [3, 3], group=8), f"block{i}.bn0"))
        x = g.relu(g.batch_norm(g.conv(x, f"block{i}.pointwise", 8, [1, 1]), f"block{i}.bn1"))
    g.finish(g.pool_and_classify(x, 12, labels))


def transformer():
    g = Builder("transformer", 20, 17)
    width, heads, length = 16, 2, 6
    tokens = g.input("tokens", g.random.integers(0, 20, (3, length)), ["batch", length])
    keep = np.zeros((3, 1, 1, length), np.float32)
    keep[1, ..., 4:] = -1e4
    mask = g.input("mask", keep, ["batch", 1, 1, length])
    labels = g.input("labels", np.array([2, 0, 4]), ["batch"])
    table = g.weight("embedding", (20, width), 0.5)
    x = g.node("Gather", [table, tokens], [table.tensor[tokens.tensor]])
    x = g.layer_norm(g.add(x, g.weight("positions", (length, width), 0.5)), "embedding_norm")
    split = g.constant("split", np.array([0, length, heads, width // heads]))
    join = g.constant("join", np.array([0, length, width]))
    scale = g.constant("scale", np.array((width // heads) ** -0.5, np.float32))

    def by_head(v, perm):
        t = v.tensor.reshape(-1, length, heads, width // heads)
        v = g.node("Reshape", [v, split], [t])
        return g.node("Transpose", [v], [t.permute(perm)], perm=perm)

    for i in range(2):
        name = f"layer{i}"
        q = by_head(g.linear(x, f"{name}.query", width), [0, 2, 1, 3])
        k = by_head(g.linear(x, f"{name}.key", width), [0, 2, 3, 1])
        v = by_head(g.linear(x, f"{name}.value", width), [0, 2, 1, 3])
        scores = g.node("MatMul", [q, k], [q.tensor @ k.tensor])
        factor = torch.tensor(np.float32((width // heads) ** -0.5)).double()
        scores = g.node("Mul", [scores, scale], [scores.tensor * factor])
        shares = g.add(scores, mask)
        shares = g.node("Softmax", [shares], [shares.tensor.softmax(-1)], axis=-1)
        y = g.node("MatMul", [shares, v], [shares.tensor @ v.tensor])
        y = g.node("Transpose", [y], [y.tensor.permute(0, 2, 1, 3)], perm=[0, 2, 1, 3])
        y = g.node("Reshape", [y, join], [y.tensor.reshape(-1, length, width)])
        x = g.layer_norm(g.add(x, g.linear(y, f"{name}.output", width)), f"{name}.norm0")
        y = g.linear(x, f"{name}.wide", 2 * width)
        y = g.node("Gelu", [y], [F.gelu(y.tensor)])
        x = g.layer_norm(g.add(x, g.linear(y, f"{name}.narrow", width)), f"{name}.norm1")
    axes = g.constant("time", np.array([1]))
    pooled = g.node("ReduceMean", [x, axes], [x.tensor.mean(1)], keepdims=0)
    g.finish(g.classify(pooled, 5, labels))


def lstm():
    g = Builder("lstm", 17, 21)
    steps, inputs, hidden = 7, 5, 6
    values = g.random.standard_normal((steps, 3, inputs)).astype(np.float32)
    x = g.input("values", values, [steps, "batch", inputs])
    labels = g.input("labels", np.array([2, 0, 3]), ["batch"])
    for layer in range(2):
        width = x.tensor.shape[-1]
        w = g.weight(f"layer{layer}.W", (2, 4 * hidden, width), hidden**-0.5)
        r = g.weight(f"layer{layer}.R", (2, 4 * hidden, hidden), hidden**-0.5)
        b = g.weight(f"layer{layer}.B", (2, 8 * hidden), 0.2)
        module = torch.nn.LSTM(width, hidden, bidirectional=True).double()

        def torch_order(rows):
            """ONNX orders the gates i, o, f, c; PyTorch i, f, c, o."""
            i, o, f, c = rows.split(hidden)
            return torch.cat([i, f, c, o])

        parameters = {}
        for d, suffix in enumerate(["", "_reverse"]):
            parameters[f"weight_ih_l0{suffix}"] = torch_order(w.tensor[d])
            parameters[f"weight_hh_l0{suffix}"] = torch_order(r.tensor[d])
            parameters[f"bias_ih_l0{suffix}"] = torch_order(b.tensor[d, : 4 * hidden])
            parameters[f"bias_hh_l0{suffix}"] = torch_order(b.tensor[d, 4 * hidden :])
        y, (h, _) = torch.func.functional_call(module, parameters, (x.tensor,))
        by_direction = y.reshape(steps, -1, 2, hidden).permute(0, 2, 1, 3)
        attributes = dict(hidden_size=hidden, direction="bidirectional")
        y_value, h_value = g.node("LSTM", [x, w, r, b], [by_direction, h], **attributes)
        y_value = g.node("Transpose", [y_value], [by_direction.permute(0, 2, 1, 3)], perm=[0, 2, 1, 3])
        shape = g.constant(f"joined{layer}", np.array([steps, -1, 2 * hidden]))
        x = g.node("Reshape", [y_value, shape], [y])
    last = g.node("Transpose", [h_value], [h.permute(1, 0, 2)], perm=[1, 0, 2])
    flat = g.node("Flatten", [last], [last.tensor.flatten(1)])
    g.finish(g.classify(flat, 4, labels))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for make in (resnet8, ds_cnn, transformer, lstm):
        make()
