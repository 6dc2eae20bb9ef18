"""Makes the golden files of compress-train with PyTorch.

    python -m venv target/venv-torch
    target/venv-torch/bin/pip install torch==2.13.0 numpy==2.4.6 safetensors==0.8.0
    target/venv-torch/bin/python crates/compress-train/tests/goldens/make.py

Configurations are told to the tests in the metadata of each file, so that both sides work from one list.
"""

import json
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
STEPS = 20
SHAPE = (7, 5)

torch.set_num_threads(1)


def save(name, tensors, cases):
    metadata = {"torch": torch.__version__.split("+")[0], "cases": json.dumps(cases)}
    tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    save_file(tensors, HERE / f"{name}.safetensors", metadata=metadata)


# Optimizers: 20 steps along given gradients.

OPTIMIZERS = {
    "sgd": ("SGD", dict(lr=0.1)),
    "sgd-decay": ("SGD", dict(lr=0.1, weight_decay=0.01)),
    "sgd-momentum": ("SGD", dict(lr=0.05, momentum=0.9, weight_decay=5e-4)),
    "sgd-dampened": ("SGD", dict(lr=0.05, momentum=0.8, dampening=0.3)),
    "sgd-nesterov": ("SGD", dict(lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)),
    "adam": ("Adam", dict(lr=0.01)),
    "adam-decay": ("Adam", dict(lr=0.01, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-6)),
    "adam-amsgrad": ("Adam", dict(lr=0.01, amsgrad=True)),
    "adam-low-beta": ("Adam", dict(lr=0.01, betas=(0.3, 0.99))),
    "adamw": ("AdamW", dict(lr=0.01, weight_decay=0.05)),
    "adamw-amsgrad": ("AdamW", dict(lr=0.02, weight_decay=0.1, amsgrad=True)),
    "lamb": ("LAMB", dict(lr=0.01, weight_decay=0.01)),
    "lamb-no-decay": ("LAMB", dict(lr=0.02, weight_decay=0.0, betas=(0.8, 0.99), eps=1e-5)),
    "lars": ("LARS", dict(lr=1.0, momentum=0.9, weight_decay=1e-3, trust=0.01)),
}


class LAMB(torch.optim.Optimizer):
    """Algorithm 2 of arXiv:1904.00962 with phi(z) = z, in single precision but for the norms."""

    def __init__(self, params, lr, weight_decay, betas=(0.9, 0.999), eps=1e-6):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, betas=betas, eps=eps))

    def step(self):
        for group in self.param_groups:
            (beta1, beta2), eps = group["betas"], group["eps"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(step=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["step"] += 1
                t, m, v, g = state["step"], state["m"], state["v"], p.grad
                m.lerp_(g, 1 - beta1)
                v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
                hat = m / (1 - beta1**t)
                r = hat / ((v / (1 - beta2**t)).sqrt() + eps) + group["weight_decay"] * p
                trust = p.double().norm() / r.double().norm()
                p.add_(r, alpha=-group["lr"] * trust.item())


class LARS(torch.optim.Optimizer):
    """Equation 6 of arXiv:1708.03888, then momentum on the scaled gradient."""

    def __init__(self, params, lr, momentum, weight_decay, trust):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, trust=trust))

    def step(self):
        for group in self.param_groups:
            decay = group["weight_decay"]
            for p in group["params"]:
                g, state = p.grad, self.state[p]
                w_norm, g_norm = p.double().norm().item(), g.double().norm().item()
                rate = group["trust"] * w_norm / (g_norm + decay * w_norm)
                d = g.mul(rate).add(p, alpha=decay * rate)
                if "b" not in state:
                    state["b"] = d.clone()
                else:
                    state["b"].mul_(group["momentum"]).add_(d)
                p.add_(state["b"], alpha=-group["lr"])


def optimizers():
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(SHAPE, generator=generator)
    gradients = torch.randn((STEPS, *SHAPE), generator=generator)
    # Layers differ by orders of magnitude; a scheduled learning rate changes in each step.
    gradients *= torch.logspace(-3, 2, SHAPE[0])[:, None]
    rates = [1.0 - 0.04 * step for step in range(STEPS)]
    tensors = {"start": start.numpy(), "gradients": gradients.numpy(), "rates": np.array(rates)}
    for name, (kind, settings) in OPTIMIZERS.items():
        weight = torch.nn.Parameter(start.clone())
        make = {"LAMB": LAMB, "LARS": LARS}.get(kind) or getattr(torch.optim, kind)
        settings = dict(settings)
        if kind in ("SGD", "Adam", "AdamW"):
            settings["foreach"] = False
        optimizer = make([weight], **settings)
        trace = []
        for gradient, rate in zip(gradients, rates):
            optimizer.param_groups[0]["lr"] = settings["lr"] * rate
            weight.grad = gradient.clone()
            with torch.no_grad():
                optimizer.step()
            trace.append(weight.detach().numpy().copy())
        tensors[name] = np.stack(trace)
    cases = {name: [kind, settings] for name, (kind, settings) in OPTIMIZERS.items()}
    save("optimizers", tensors, cases)


# Schedules: the learning rates of the first steps. The settings of ours stand beside what torch is told.

def sequential(optimizer, steps, start, then):
    sched = torch.optim.lr_scheduler
    warm = sched.LinearLR(optimizer, start_factor=start, end_factor=1.0, total_iters=steps)
    return sched.SequentialLR(optimizer, [warm, then(optimizer)], milestones=[steps])


def schedules():
    sched = torch.optim.lr_scheduler
    cases = [
        ("constant", lambda o: sched.LambdaLR(o, lambda _: 1.0), 20),
        ({"step": {"every": 7, "factor": 0.3}}, lambda o: sched.StepLR(o, 7, 0.3), 40),
        ({"multi-step": {"milestones": [3, 10, 11], "factor": 0.1}},
         lambda o: sched.MultiStepLR(o, [3, 10, 11], 0.1), 20),
        ({"exponential": {"factor": 0.93}}, lambda o: sched.ExponentialLR(o, 0.93), 60),
        ({"cosine": {"steps": 50, "minimum": 0.001}}, lambda o: sched.CosineAnnealingLR(o, 50, 0.001), 51),
        ({"cosine-restarts": {"first": 8, "factor": 1, "minimum": 0.0}},
         lambda o: sched.CosineAnnealingWarmRestarts(o, 8, 1, 0.0), 40),
        ({"cosine-restarts": {"first": 5, "factor": 2, "minimum": 0.01}},
         lambda o: sched.CosineAnnealingWarmRestarts(o, 5, 2, 0.01), 80),
        ({"polynomial": {"steps": 30, "power": 1.7}}, lambda o: sched.PolynomialLR(o, 30, 1.7), 35),
        ({"one-cycle": {"steps": 40}}, lambda o: sched.OneCycleLR(o, 0.2, total_steps=40), 40),
        ({"one-cycle": {"steps": 37, "rising": 0.25, "divisor": 10.0, "last_divisor": 100.0, "annealing": "linear",
                        "momentum": [0.8, 0.95]}},
         lambda o: sched.OneCycleLR(o, 0.2, total_steps=37, pct_start=0.25, div_factor=10, final_div_factor=100,
                                    anneal_strategy="linear", base_momentum=0.8, max_momentum=0.95), 37),
        ({"one-cycle": {"steps": 50, "rising": 0.4, "three_phases": True, "momentum": [0.85, 0.95]}},
         lambda o: sched.OneCycleLR(o, 0.2, total_steps=50, pct_start=0.4, three_phase=True), 50),
        ({"warm-up": {"steps": 6, "start": 0.1, "then": {"step": {"every": 4, "factor": 0.5}}}},
         lambda o: sequential(o, 6, 0.1, lambda o: sched.StepLR(o, 4, 0.5)), 30),
        ({"warm-up": {"steps": 10, "start": 0.25, "then": {"exponential": {"factor": 0.9}}}},
         lambda o: sequential(o, 10, 0.25, lambda o: sched.ExponentialLR(o, 0.9)), 30),
    ]
    tensors = {}
    for index, (_, make, count) in enumerate(cases):
        weight = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([weight], lr=0.2, momentum=0.9)
        scheduler = make(optimizer)
        rates, momenta = [], []
        for step in range(count):
            rates.append(optimizer.param_groups[0]["lr"])
            momenta.append(optimizer.param_groups[0]["momentum"])
            optimizer.step()
            if step + 1 < count:
                scheduler.step()
        tensors[f"rates-{index}"] = np.array(rates, dtype=np.float64)
        tensors[f"momenta-{index}"] = np.array(momenta, dtype=np.float64)
    save("schedules", tensors, [case[0] for case in cases])


# Losses: values and gradients in double precision, from single-precision outputs.

def losses():
    generator = torch.Generator().manual_seed(2)
    F = torch.nn.functional
    logits = 3 * torch.randn((6, 5), generator=generator)
    spatial = torch.randn((2, 4, 3, 2), generator=generator)
    labels = torch.tensor([0, 4, 2, -1, 3, 2])
    spatial_labels = torch.randint(0, 4, (2, 3, 2), generator=generator)
    shares = torch.softmax(torch.randn((6, 5), generator=generator), 1)
    values = 2 * torch.randn((4, 3), generator=generator)
    targets = torch.randn((4, 3), generator=generator)
    chances = torch.rand((4, 3), generator=generator)
    weights = [0.5, 2.0, 1.0, 0.25, 3.0]
    w = torch.tensor(weights, dtype=torch.float64)
    cases = [
        ("cross-entropy", {"ignored_class": -1}, "logits", "labels",
         lambda y, t: F.cross_entropy(y, t, ignore_index=-1)),
        ("cross-entropy", {"ignored_class": -1, "class_weights": weights, "label_smoothing": 0.1}, "logits", "labels",
         lambda y, t: F.cross_entropy(y, t, weight=w, ignore_index=-1, label_smoothing=0.1)),
        ("cross-entropy", {"ignored_class": -1, "class_weights": weights, "reduction": "sum"}, "logits", "labels",
         lambda y, t: F.cross_entropy(y, t, weight=w, ignore_index=-1, reduction="sum")),
        ("cross-entropy", {"label_smoothing": 0.2}, "spatial", "spatial_labels",
         lambda y, t: F.cross_entropy(y, t, label_smoothing=0.2)),
        ("cross-entropy", {}, "logits", "shares", lambda y, t: F.cross_entropy(y, t.double())),
        ("cross-entropy", {"class_weights": weights, "label_smoothing": 0.1}, "logits", "shares",
         lambda y, t: F.cross_entropy(y, t.double(), weight=w, label_smoothing=0.1)),
        ("mse", {"reduction": "mean"}, "values", "targets", lambda y, t: F.mse_loss(y, t.double())),
        ("mse", {"reduction": "sum"}, "values", "targets", lambda y, t: F.mse_loss(y, t.double(), reduction="sum")),
        ("l1", {"reduction": "mean"}, "values", "targets", lambda y, t: F.l1_loss(y, t.double())),
        ("huber", {"delta": 0.7, "reduction": "mean"}, "values", "targets",
         lambda y, t: F.huber_loss(y, t.double(), delta=0.7)),
        ("smooth-l1", {"beta": 0.7, "reduction": "mean"}, "values", "targets",
         lambda y, t: F.smooth_l1_loss(y, t.double(), beta=0.7)),
        ("smooth-l1", {"beta": 0.0, "reduction": "sum"}, "values", "targets",
         lambda y, t: F.smooth_l1_loss(y, t.double(), beta=0.0, reduction="sum")),
        ("binary", {}, "values", "chances", lambda y, t: F.binary_cross_entropy_with_logits(y, t.double())),
        ("binary", {"positive_weight": 2.5, "reduction": "sum"}, "values", "chances",
         lambda y, t: F.binary_cross_entropy_with_logits(
             y, t.double(), pos_weight=torch.tensor(2.5, dtype=torch.float64), reduction="sum")),
    ]
    arrays = dict(logits=logits, spatial=spatial, labels=labels, spatial_labels=spatial_labels, shares=shares,
                  values=values, targets=targets, chances=chances)
    tensors = {name: array.numpy() for name, array in arrays.items()}
    for index, (_, _, output, target, loss) in enumerate(cases):
        y = arrays[output].double().requires_grad_()
        value = loss(y, arrays[target])
        value.backward()
        tensors[f"value-{index}"] = np.array([value.item()])
        tensors[f"gradient-{index}"] = y.grad.numpy()
    save("losses", tensors, [case[:4] for case in cases])


# Clipping and averages.

def gradients():
    generator = torch.Generator().manual_seed(3)
    parts = [torch.randn(n, generator=generator) * 10 for n in (40, 3, 17)]
    tensors = {f"part-{i}": part.numpy().copy() for i, part in enumerate(parts)}
    leaves = [torch.nn.Parameter(torch.zeros_like(part)) for part in parts]
    for leaf, part in zip(leaves, parts):
        leaf.grad = part.clone()
    norm = torch.nn.utils.clip_grad_norm_(leaves, 2.5)
    tensors["norm"] = np.array([norm.item()])
    for i, leaf in enumerate(leaves):
        tensors[f"clipped-{i}"] = leaf.grad.numpy()
    module = torch.nn.Linear(4, 3, bias=False)
    averaged = torch.optim.swa_utils.AveragedModel(
        module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    walk = torch.randn((10, 3, 4), generator=generator)
    trace = []
    for weight in walk:
        with torch.no_grad():
            module.weight.copy_(weight)
        averaged.update_parameters(module)
        trace.append(averaged.module.weight.detach().numpy().copy())
    tensors["walk"] = walk.numpy()
    tensors["averages"] = np.stack(trace)
    save("gradients", tensors, {"limit": 2.5, "decay": 0.9})


optimizers()
schedules()
losses()
gradients()
