#!/usr/bin/env python3
"""Makes `goldens.json`: values and gradients of the losses by PyTorch's own losses and by automatic differentiation.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make.py

What PyTorch has as a loss is computed by it; the others are written down here from the formulae of the papers, in f64, and
differentiated by PyTorch. Nothing is shared with the crate.
"""

import json
import pathlib

import torch
import torch.nn.functional as F

CASES = []


def draw(*shape, size=2.0):
    return (torch.rand(*shape, dtype=torch.float64) * 2 - 1) * size


def array(x):
    x = x.detach()
    return {"shape": list(x.shape), "data": [v for v in x.flatten().tolist()]}


def case(loss, inputs, settings, function, by):
    """Adds a case: `function(**inputs)` and its gradients by the inputs named in `by`."""
    inputs = {name: x.clone().requires_grad_(name in by) for name, x in inputs.items()}
    value = function(**inputs)
    gradients = torch.autograd.grad(value, [inputs[name] for name in by])
    CASES.append(
        {
            "loss": loss,
            "settings": settings,
            "inputs": {name: array(x) for name, x in inputs.items()},
            "value": value.item(),
            "gradients": {name: array(g) for name, g in zip(by, gradients)},
        }
    )


def kl(student, teacher, t):
    log_q, log_p = F.log_softmax(student / t, 1), F.log_softmax(teacher / t, 1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * t * t


def logits():
    student, teacher = draw(5, 7, size=4), draw(5, 7, size=4)
    labels = torch.tensor([3, 0, 6, 3, 1])
    soft = torch.softmax(draw(5, 7), 1)
    weight = torch.rand(7, dtype=torch.float64) + 0.5
    both = {"student": student, "teacher": teacher}
    for t in [1.0, 4.0]:
        case("kl", both, {"t": t}, lambda student, teacher: kl(student, teacher, t), ["student"])
        case(
            "reverse_kl", both, {"t": t}, lambda student, teacher: kl(teacher, student, t), ["student"]
        )
    half = lambda student, teacher: F.mse_loss(student, teacher, reduction="sum") / 2 / len(student)
    case("regression", both, {}, half, ["student"])
    for smoothing, weights, ignore in [(0, None, -100), (0.1, None, 3), (0.2, weight, 0)]:
        options = {"label_smoothing": smoothing, "weight": weights}
        settings = {
            "smoothing": smoothing,
            "weights": None if weights is None else weights.tolist(),
            "ignore": ignore,
            "labels": labels.tolist(),
        }
        hard = lambda student: F.cross_entropy(student, labels, ignore_index=ignore, **options)
        case("cross_entropy", {"student": student}, settings, hard, ["student"])
        of_soft = lambda student, targets: F.cross_entropy(student, targets, **options)
        inputs = {"student": student, "targets": soft}
        case("cross_entropy_soft", inputs, settings, of_soft, ["student"])
        t, alpha = 3.0, 0.7
        mixed = lambda student, teacher: (1 - alpha) * hard(student) + alpha * kl(student, teacher, t)
        case("mixed", both, {"t": t, "alpha": alpha, **settings}, mixed, ["student"])

    targets = (torch.rand(5, 7, dtype=torch.float64) > 0.6).double()

    def binary(student, teacher, targets):
        hard = F.binary_cross_entropy_with_logits(student, targets, pos_weight=weight)
        bernoulli = torch.distributions.Bernoulli
        p, q = bernoulli(logits=teacher / t), bernoulli(logits=student / t)
        soft = torch.distributions.kl_divergence(p, q).mean()
        return (1 - alpha) * hard + alpha * t * t * soft

    t, alpha = 2.0, 0.6
    settings = {"t": t, "alpha": alpha, "weights": weight.tolist()}
    case("binary", {**both, "targets": targets}, settings, binary, ["student"])

    def decoupled(student, teacher):
        # Zhao et al. 2022, eq. 7, from probabilities.
        one_hot = F.one_hot(labels, 7).bool()
        p, q = torch.softmax(teacher / t, 1), torch.softmax(student / t, 1)
        p_t, q_t = p[one_hot], q[one_hot]
        tckd = p_t * (p_t / q_t).log() + (1 - p_t) * ((1 - p_t) / (1 - q_t)).log()
        p_o = p[~one_hot].view(5, 6) / (1 - p_t)[:, None]
        q_o = q[~one_hot].view(5, 6) / (1 - q_t)[:, None]
        nckd = (p_o * (p_o / q_o).log()).sum(1)
        return (alpha * tckd + beta * nckd).mean() * t * t

    t, alpha, beta = 4.0, 1.5, 8.0
    settings = {"t": t, "alpha": alpha, "beta": beta, "labels": labels.tolist()}
    case("decoupled", both, settings, decoupled, ["student"])


def features():
    student, teacher = draw(2, 3, 4, 2), draw(2, 5, 4, 2)
    weight, bias = draw(5, 3, size=1), draw(5, size=1)

    def hint(student, teacher, weight, bias):
        r = F.conv2d(student, weight[:, :, None, None], bias)
        return F.mse_loss(r, teacher, reduction="sum") / 2 / len(student)

    inputs = {"student": student, "teacher": teacher, "weight": weight, "bias": bias}
    case("hint", inputs, {}, hint, ["student", "weight", "bias"])
    for power in [1.0, 2.0, 3.0]:
        q = lambda x: F.normalize(x.abs().pow(power).sum(1).flatten(1))
        both = {"student": student, "teacher": teacher}
        squares = lambda student, teacher: (q(student) - q(teacher)).pow(2).mean()
        case("attention_squares", both, {"power": power}, squares, ["student"])
        for p in [1.0, 2.0, 3.0]:
            norm = lambda student, teacher: (q(student) - q(teacher)).norm(p, 1).mean() / 2
            case("attention_norm", both, {"power": power, "p": p}, norm, ["student"])
    both = {"student": draw(6, 5), "teacher": draw(6, 5)}
    labels = torch.tensor([1, -1, 1, -1, -1, 1])
    for margin in [-0.5, 0.0, 0.3]:
        of = lambda student, teacher: F.cosine_embedding_loss(student, teacher, labels, margin)
        settings = {"margin": margin, "labels": labels.tolist()}
        case("cosine", both, settings, of, ["student"])


def relations():
    both = {"student": draw(6, 4), "teacher": draw(6, 9)}

    def distances(x):
        d = (x[:, None] - x[None]).pow(2).sum(2)
        # The root has no gradient at zero.
        return torch.where(d > 0, d, 1.0).sqrt() * (d > 0)

    def rkd_distance(student, teacher):
        d, t = distances(student), distances(teacher)
        return F.smooth_l1_loss(d / d[d > 0].mean(), t / t[t > 0].mean())

    def angles(x):
        e = F.normalize(x[None] - x[:, None], dim=2)
        return e @ e.transpose(1, 2)

    def pkt(student, teacher):
        k = lambda x: (F.normalize(x) @ F.normalize(x).T + 1) / 2 + 1e-7
        others = 1 - torch.eye(len(student), dtype=torch.float64)
        p, q = (k(x) * others for x in (teacher, student))
        p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
        apart = ~torch.eye(len(student), dtype=torch.bool)
        return (p[apart] * (p[apart] / q[apart]).log()).sum() / len(student)

    g = lambda x: F.normalize(x @ x.T)
    rbf = lambda x: (-0.4 * (x[:, None] - x[None]).pow(2).sum(2)).exp()
    case("rkd_distance", both, {}, rkd_distance, ["student"])
    angle = lambda student, teacher: F.smooth_l1_loss(angles(student), angles(teacher))
    case("rkd_angle", both, {}, angle, ["student"])
    similarity = lambda student, teacher: (g(student) - g(teacher)).pow(2).mean()
    case("similarity", both, {}, similarity, ["student"])
    bilinear = lambda student, teacher: F.mse_loss(student @ student.T, teacher @ teacher.T)
    case("correlation_bilinear", both, {}, bilinear, ["student"])
    gaussian = lambda student, teacher: F.mse_loss(rbf(student), rbf(teacher))
    case("correlation_gaussian", both, {"gamma": 0.4}, gaussian, ["student"])
    case("pkt", both, {}, pkt, ["student"])


def transformer():
    n, l, heads = 2, 5, 2
    lengths = [5, 3]
    mask = torch.arange(l)[None] < torch.tensor(lengths)[:, None]
    inputs = {
        "q_s": draw(n, l, 6), "k_s": draw(n, l, 6), "q_t": draw(n, l, 8), "k_t": draw(n, l, 8),
    }  # fmt: skip

    def divergence(scores_s, scores_t):
        """Wang et al. 2020, sec. 3.1, on samples cut to their lengths."""
        total = 0
        for i, length in enumerate(lengths):
            s, t = (x[i, :, :length, :length] for x in (scores_s, scores_t))
            log_q, log_p = F.log_softmax(s, 2), F.log_softmax(t, 2)
            total += F.kl_div(log_q, log_p, reduction="sum", log_target=True) / heads / length
        return total / n

    def split(x):
        return x.view(n, l, heads, -1).transpose(1, 2)

    def scores(a, b):
        a, b = split(a), split(b)
        return a @ b.transpose(2, 3) / a.shape[3] ** 0.5

    settings = {"heads": heads, "mask": mask.int().tolist()}
    attention = lambda q_s, k_s, q_t, k_t: divergence(scores(q_s, k_s), scores(q_t, k_t))
    case("relation", inputs, settings, attention, ["q_s", "k_s"])
    values = {"student": inputs["q_s"], "teacher": inputs["q_t"]}
    within = lambda student, teacher: divergence(scores(student, student), scores(teacher, teacher))
    case("relation_within", values, settings, within, ["student"])
    both = {"student": draw(n, heads, l, l), "teacher": draw(n, heads, l, l)}
    divergence_of = lambda student, teacher: divergence(student, teacher)
    case("attention_divergence", both, settings, divergence_of, ["student"])
    pairs = (mask[:, None, :, None] & mask[:, None, None, :]).expand(n, heads, l, l)
    mse = lambda student, teacher: F.mse_loss(student[pairs], teacher[pairs])
    case("attention_regression", both, settings, mse, ["student"])

    def hidden(student, teacher, weight):
        return F.mse_loss(F.linear(student, weight)[mask], teacher[mask])

    inputs = {"student": draw(n, l, 3), "teacher": draw(n, l, 4), "weight": draw(4, 3, size=1)}
    case("hidden_state", inputs, settings, hidden, ["student", "weight"])


def contrast():
    """Tian et al. 2020, sec. 3, with Z from the batch."""
    n, d, samples, negatives, tau = 3, 4, 9, 5, 0.07
    memory_s, memory_t = F.normalize(draw(samples, d)), F.normalize(draw(samples, d))
    entries = torch.randint(0, samples, (n, 1 + negatives))

    def anchored(anchor, memory):
        e = (torch.einsum("nd,njd->nj", F.normalize(anchor), memory[entries]) / tau).exp()
        x = e / (e.mean().detach() * samples)
        noise = negatives / samples
        h = x / (x + noise)
        return -(h[:, 0].log().sum() + (1 - h[:, 1:]).log().sum()) / n

    def crd(student, teacher, memory_s, memory_t):
        return anchored(student, memory_t) + anchored(teacher, memory_s)

    inputs = {"student": draw(n, d), "teacher": draw(n, d), "memory_s": memory_s, "memory_t": memory_t}
    settings = {"tau": tau, "entries": entries.tolist()}
    case("crd", inputs, settings, crd, ["student", "teacher"])


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for family in [logits, features, relations, transformer, contrast]:
        family()
    made_by = f"make.py with torch {torch.__version__.split('+')[0]}, f64 on the CPU"
    path = pathlib.Path(__file__).with_name("goldens.json")
    rows = ",\n".join(json.dumps(case, separators=(",", ":")) for case in CASES)
    path.write_text(f'{{"made_by":"{made_by}","cases":[\n{rows}\n]}}\n')
    print(f"{len(CASES)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
