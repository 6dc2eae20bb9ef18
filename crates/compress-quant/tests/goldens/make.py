#!/usr/bin/env python3
"""Makes `qat.json`: what fake quantization gives and its gradients, by PyTorch's automatic differentiation.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make.py

LSQ is written as its paper's appendix has it (arXiv:1902.08153, appendix A: `grad_scale` and `round_pass` around autograd's own clamp), the other
methods from the formulae of their papers in the same manner, in f64. Nothing is shared with the crate.
"""

import json
import math
import pathlib

import torch

CASES = []


def grad_scale(x, scale):
    return (x - x * scale).detach() + x * scale


def round_pass(x):
    return (x.round() - x).detach() + x


class Ewgs(torch.autograd.Function):
    """arXiv:2104.00903, eq. 6: of numbers from 0 to 1, of which a code is 1 / levels."""

    @staticmethod
    def forward(cx, v, delta, levels):
        q = v.round()
        cx.save_for_backward((v - q) / levels)
        cx.delta = delta
        return q

    @staticmethod
    def backward(cx, dy):
        (apart,) = cx.saved_tensors
        return dy * (1 + cx.delta * dy.sign() * apart), None, None


def stairs(v, alpha):
    """arXiv:1908.05033, eq. 4 to 8: soft steps."""
    i, kappa = v.detach().floor(), math.log(2 / alpha - 1)
    return i + 0.5 * (1 + torch.tanh(kappa * (v - i - 0.5)) / (1 - alpha))


def quantize(method, x, step, offset, low, high, shared, settings):
    """`step` and `offset` broadcast over `x`; `shared` elements have one step."""
    if method == "pact":
        # arXiv:1805.06085, eq. 1 to 3, of α in the place of a step.
        alpha, levels = step, high - low
        y = torch.minimum(torch.clamp(x, min=0), alpha)
        return y + (torch.round(y * levels / alpha) * alpha / levels - y).detach()
    factor = 1 / math.sqrt(shared * high)
    if offset is not None:
        factor = (1 / torch.sqrt(shared * (high - torch.round(-offset / step)))).detach()
        offset = grad_scale(offset, factor)
    if method == "ste":
        factor = 1
    step = grad_scale(step, factor)
    zero = 0 if offset is None else round_pass(-offset / step)
    v = x / step
    v = torch.minimum(torch.maximum(v, low - zero + 0 * v), high - zero + 0 * v)
    if method == "ewgs":
        return Ewgs.apply(v, settings["delta"], high - low) * step
    if method == "dsq":
        # Outside the ends count, inside the stairs: hard ones with all gradients of the soft ones, that of the step as a factor too.
        inside = (x / step > low) & (x / step < high)
        soft = torch.where(inside, stairs(v, settings["alpha"]), v) * step
        return soft + (v.round() * step - soft).detach()
    return round_pass(v) * step


def case(method, codes, shape, axis, steps, offsets=None, **settings):
    low, high = codes
    count = len(steps)
    by = [1] * len(shape)
    if axis is not None:
        by[axis] = count
    x = torch.randn(*shape, dtype=torch.float32).double()
    step = torch.tensor(steps, dtype=torch.float32).double().reshape(by)
    # PACT learns from what lies above its range.
    x = (x * step * (high - low) / (1.0 if method == "pact" else 2.5)).float().double()
    # The two sides must not fall on other codes by a rounding.
    of_code = (x / step - 0.5) % 1
    near = (of_code < 0.01) | (of_code > 0.99) | (((x / step) % 1) < 0.01) | (((x / step) % 1) > 0.99)
    x = torch.where(near, x + 0.13 * step, x).float().double()
    dy = torch.randn(*shape, dtype=torch.float32).double()
    offset = None if offsets is None else torch.tensor(offsets, dtype=torch.float32).double().reshape(by)
    leaves = [t.clone().requires_grad_(True) for t in (x, step) if t is not None]
    if offset is not None:
        leaves.append(offset.clone().requires_grad_(True))
    learned = leaves[1]
    # The range ends at α.
    given = learned * high if method == "pact" else learned
    y = quantize(method, leaves[0], given, leaves[2] if offset is not None else None, low, high, x.numel() // count, settings)
    found = torch.autograd.grad((y * dy).sum(), leaves)
    CASES.append({
        "method": method, "codes": codes, "shape": shape, "axis": axis, "settings": settings, "x": x.flatten().tolist(), "dy": dy.flatten().tolist(),
        "step": step.flatten().tolist(), "offset": None if offset is None else offset.flatten().tolist(), "y": y.detach().flatten().tolist(),
        "gradients": [g.flatten().tolist() for g in found],
    })


torch.manual_seed(1)
for method in ("ste", "lsq"):
    case(method, [-8, 7], [24], None, [0.11])
    case(method, [0, 15], [24], None, [0.3])
    case(method, [-127, 127], [3, 2, 4], 0, [0.02, 0.5, 0.007])
    case(method, [-8, 7], [6, 4], 1, [0.1, 0.2, 0.05, 0.9])
case("lsq+", [-8, 7], [24], None, [0.11], [0.37])
case("lsq+", [0, 255], [24], None, [0.05], [-3.1])
case("pact", [0, 15], [24], None, [0.2])
case("ewgs", [-8, 7], [6, 4], 1, [0.1, 0.2, 0.05, 0.9], delta=0.3)
case("dsq", [-8, 7], [6, 4], 1, [0.1, 0.2, 0.05, 0.9], alpha=0.2)
path = pathlib.Path(__file__).parent / "qat.json"
path.write_text("[\n" + ",\n".join(json.dumps(c) for c in CASES) + "\n]\n")
