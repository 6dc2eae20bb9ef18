"""The networks of the training study, as ONNX files and as PyTorch modules of the same layers."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# A list of layers: (kind, ...), where a block is what two branches add up to.
RESNET8 = ([("conv", 16, 3, 1)] + [("block", 16, 1), ("block", 32, 2), ("block", 64, 2)], (3, 32, 32), 10)
RESNET20 = ([("conv", 16, 3, 1)] + [("block", w, s) for w, first in ((16, 1), (32, 2), (64, 2))
                                    for s in (first, 1, 1)], (3, 32, 32), 10)
DSCNN = ([("conv", 64, (10, 4), 2)] + [("separable", 64)] * 4, (1, 49, 10), 12)
DIGITS = ([("conv", 24, 3, 1), ("block", 24, 1), ("conv", 48, 3, 2), ("conv", 64, 3, 1)], (1, 8, 8), 10)
NETWORKS = {"resnet8": RESNET8, "resnet20": RESNET20, "dscnn": DSCNN, "digits": DIGITS}


def same(window, stride, size):
    """Padding as TensorFlow's `same`: the larger half behind."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


class Onnx:
    """Writes the layers as nodes; weights are drawn by `modelpress train --initialize`."""

    def __init__(self, shape):
        self.nodes, self.weights = [], []
        self.at, self.shape = "image", shape

    def weight(self, name, shape, value=0.01):
        self.weights.append(numpy_helper.from_array(np.full(shape, value, np.float32), name))
        return name

    def node(self, operator, inputs, **attributes):
        name = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self.at = name
        return name

    def conv(self, outputs, window, stride, groups=1, norm=True, relu=True):
        window = window if isinstance(window, tuple) else (window, window)
        channels, *sizes = self.shape
        pads = [same(k, stride, n) for k, n in zip(window, sizes)]
        w = self.weight(f"w{len(self.nodes)}", (outputs, channels // groups, *window))
        self.node("Conv", [self.at, w], kernel_shape=window, strides=[stride] * 2, group=groups,
                  pads=[p[0] for p in pads] + [p[1] for p in pads])
        self.shape = (outputs, *(-(-n // stride) for n in sizes))
        if norm:
            k = len(self.nodes)
            parts = [self.weight(f"{p}{k}", (outputs,), v) for p, v in
                     (("scale", 1), ("bias", 0), ("mean", 0), ("var", 1))]
            self.node("BatchNormalization", [self.at, *parts])
        if relu:
            self.node("Relu", [self.at])

    def layer(self, kind, *sizes):
        if kind == "conv":
            self.conv(*sizes)
        elif kind == "separable":
            self.conv(self.shape[0], 3, 1, groups=self.shape[0])
            self.conv(sizes[0], 1, 1)
        else:
            outputs, stride = sizes
            start, shape = self.at, self.shape
            self.conv(outputs, 3, stride)
            self.conv(outputs, 3, 1, relu=False)
            ends, self.at = self.at, start
            if stride != 1:
                after, self.shape = self.shape, shape
                self.conv(outputs, 1, stride, norm=False, relu=False)
                self.shape = after
            self.node("Relu", [self.node("Add", [ends, self.at])])

    def finish(self, shape, classes):
        self.node("Flatten", [self.node("GlobalAveragePool", [self.at])])
        inputs = [self.at, self.weight("classifier_w", (classes, self.shape[0])), self.weight("classifier_b", (classes,))]
        self.node("Gemm", inputs, transB=1)
        self.nodes[-1].output[0] = "logits"
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *shape])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])
        graph = helper.make_graph(self.nodes, "network", [image], [logits], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write(name, path):
    """The network as an ONNX file."""
    layers, shape, classes = NETWORKS[name]
    network = Onnx(shape)
    for layer in layers:
        network.layer(*layer)
    model = network.finish(shape, classes)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def module(name):
    """The network as a PyTorch module."""
    import torch
    from torch import nn

    class Padded(nn.Module):
        def __init__(self, inputs, outputs, window, stride, shape, groups=1, norm=True, relu=True):
            super().__init__()
            window = window if isinstance(window, tuple) else (window, window)
            pads = [same(k, stride, n) for k, n in zip(window, shape)]
            even = all(a == b for a, b in pads)
            self.pads = None if even else [*pads[1], *pads[0]]
            padding = [p[0] for p in pads] if even else 0
            self.conv = nn.Conv2d(inputs, outputs, window, stride, padding, groups=groups, bias=False)
            self.norm = nn.BatchNorm2d(outputs) if norm else None
            self.relu = relu

        def forward(self, x):
            x = self.conv(x if self.pads is None else nn.functional.pad(x, self.pads))
            x = x if self.norm is None else self.norm(x)
            return nn.functional.relu(x) if self.relu else x

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride, shape):
            super().__init__()
            after = [-(-n // stride) for n in shape]
            self.first = Padded(inputs, outputs, 3, stride, shape)
            self.second = Padded(outputs, outputs, 3, 1, after, relu=False)
            self.short = Padded(inputs, outputs, 1, stride, shape, norm=False, relu=False) if stride != 1 else nn.Identity()

        def forward(self, x):
            return nn.functional.relu(self.second(self.first(x)) + self.short(x))

    layers, (channels, *shape), classes = NETWORKS[name]
    parts = []
    for kind, outputs, *sizes in layers:
        if kind == "conv":
            parts.append(Padded(channels, outputs, *sizes, shape))
            shape = [-(-n // sizes[1]) for n in shape]
        elif kind == "separable":
            parts += [Padded(channels, channels, 3, 1, shape, groups=channels), Padded(channels, outputs, 1, 1, shape)]
        else:
            parts.append(Block(channels, outputs, sizes[0], shape))
            shape = [-(-n // sizes[0]) for n in shape]
        channels = outputs
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)).to(
        memory_format=torch.channels_last)
