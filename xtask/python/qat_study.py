"""Quantization-aware training: qat_study.py PROGRAM DATA [--threads N] [--epochs N] [--samples N] [--seed N] [--split test|choose] [PART ...]

Parts: resnet8, resnet_large (fine-tuned on the CIFAR-10 training images), dscnn (keywords, five folds of the 1,000 of kws01: each trains on 800 and
answers the other 200). Beside every row stands the same fine-tuning as floats: the same samples, epochs, learning rate and seed.

    W8A8, W4A8             against the labels alone
    W4A4, ends at 8 / all  with what a ResNet-large, fine-tuned as floats, says beside the labels
    tflite                 W8A8 for LiteRT, with what of its rules for integer files the file breaks

`p` is McNemar's exact test of the answers of the file and of the floats; `same as ort` counts the samples for which ONNX Runtime has the class that
`modelpress eval` has. The Softmax of `tflite` gives codes of 1/256: one may differ, and with it the answer, where a probability lies between two.
`--split choose` holds out the last fifth of the training images and leaves the test images alone: for choosing settings.
"""

import argparse
import json
import math
import pathlib
import subprocess
import tempfile
import time

import numpy as np
import onnx
from onnx import numpy_helper
from ort_session import session

BATCH = 128
# By the number of points below the floats that are allowed, or by the paired test alone.
GOALS = {"W8A8": "no worse", "W4A8": 0.5, "W4A4, ends at 8": 1.0, "W4A4": 1.5, "tflite W8A8": "no worse"}
VARIANTS = {
    "W8A8": ["--weight-bits", 8, "--activation-bits", 8],
    "W4A8": ["--weight-bits", 4, "--activation-bits", 8],
    "W4A4, ends at 8": ["--weight-bits", 4, "--activation-bits", 4, "--end-bits", 8],
    "W4A4": ["--weight-bits", 4, "--activation-bits", 4],
    "tflite W8A8": ["--weight-bits", 8, "--activation-bits", 8, "--target", "tflite"],
}
FROM_TEACHER = {"W4A4, ends at 8", "W4A4"}
TEACHING = ["--alpha", 0.5, "--temperature", 4]
# kws01 holds the codes of the reference model's input.
KEYWORDS = ["--layout", "nhwc", "--offset", -83, "--scale", 0.5847029089927673]
FOLDS = 5
HEAD = "| network | variant | top-1 % [95 %] | to float | p | goal | same as ort | seconds |\n|---|---|---|---:|---:|---|---:|---:|"


def call(program, *arguments):
    """The outcome of a verb."""
    done = subprocess.run([program, *map(str, arguments), "--json"], check=True, capture_output=True)
    return json.loads(done.stdout)


def mcnemar(ours, theirs):
    """The exact two-sided p of so unequal a split of the samples that only one of two classifiers gets right."""
    a, b = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    # In logarithms: the counts go into the thousands.
    chances = [math.lgamma(a + b + 1) - math.lgamma(k + 1) - math.lgamma(a + b - k + 1) - (a + b) * math.log(2) for k in range(min(a, b) + 1)]
    return min(1.0, 2 * math.fsum(map(math.exp, chances)))


def wilson(right, count, z=1.959964):
    """The 95 % interval of a share."""
    share, extra = right / count, z * z / count
    middle, half = share + extra / 2, z * math.sqrt(share * (1 - share) / count + extra / (4 * count))
    return (middle - half) / (1 + extra), (middle + half) / (1 + extra)


def answers(program, model, x, y, preprocess, threads, folder):
    """The classes that the program says."""
    call(program, "eval", model, "--input", x, "--labels", y, *preprocess, "--threads", threads, "--predictions", folder / "predictions.npy")
    return np.load(folder / "predictions.npy")


def answers_of_ort(model, x):
    """The classes that ONNX Runtime says, with exact integer sums."""
    run, found = session(model), []
    fixed = run.get_inputs()[0].shape[0]
    batch = fixed if isinstance(fixed, int) else 500
    for i in range(0, len(x), batch):
        found.append(run.run(None, {run.get_inputs()[0].name: x[i:i + batch]})[0].argmax(1))
    return np.concatenate(found)


def row(network, variant, right, float_right, same, seconds):
    """Prints a line of the table."""
    share, (low, high) = right.mean(), wilson(right.sum(), len(right))
    text = f"{100 * share:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
    if variant == "float":
        print(f"| {network} | float | {text} | | | | {same} | {seconds:.0f} |", flush=True)
        return
    below, p, goal = 100 * (float_right.mean() - share), mcnemar(right, float_right), GOALS[variant]
    met = below <= 0 or p >= 0.05 if goal == "no worse" else below <= goal
    allowed = goal if goal == "no worse" else f"within {goal}"
    print(f"| {network} | {variant} | {text} | {0.0 - below:+.2f} | {p:.3f} | {allowed}: {'met' if met else 'missed'} | {same} | {seconds:.0f} |", flush=True)


# Operators that LiteRT's kernels run on the codes of their input, `TIED` on those of all inputs: `same_scale` of the target, and those that move values.
# A mean (`GlobalAveragePool`, `ReduceMean`) rescales.
COPIES = ("AveragePool", "Flatten", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze")
TIED = ("Concat", "Max", "Min")


def rules_of_litert(path):
    """What a file breaks of the rules that LiteRT has for integer files, as lines."""
    graph = onnx.load(path).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    readers = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    broken = []

    def numbers(node):
        """Scale and zero point of a Q or a DQ."""
        scale = constants[node.input[1]]
        return scale, constants[node.input[2]] if len(node.input) > 2 else np.zeros(scale.shape, np.uint8)

    def read(name):
        """Of what a node reads: the DQ before it."""
        node = producer.get(name)
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def written(name):
        """Of what a node writes: the Q behind it, or behind the Relu that becomes one with it."""
        for node in readers.get(name, []):
            if node.op_type == "QuantizeLinear":
                return node
            if node.op_type in ("Relu", "Clip"):
                return written(node.output[0])
        return None

    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[0] not in constants:
            scale, zero = numbers(node)
            if zero.dtype == np.int8 and scale.size == 1:
                continue
            broken.append(f"{node.name}: an activation that is not int8 with one scale")
        if node.op_type in ("Conv", "Gemm", "MatMul", "ConvTranspose"):
            sources = [read(name) for name in node.input]
            if any(source is None for source in sources):
                broken.append(f"{node.name}: an input without codes")
                continue
            codes = constants.get(sources[1].input[0])
            if codes is None:
                continue
            (s_w, z_w), (s_x, _) = numbers(sources[1]), numbers(sources[0])
            if codes.dtype != np.int8 or z_w.any() or codes.min() < -127:
                broken.append(f"{node.name}: a weight that is not int8 within ±127 with zero point 0")
            if node.op_type == "Conv" and s_w.size != codes.shape[0]:
                broken.append(f"{node.name}: a weight without a scale for each channel")
            if len(sources) > 2:
                bias, (s_b, z_b) = constants[sources[2].input[0]], numbers(sources[2])
                if bias.dtype != np.int32 or z_b.any() or not np.allclose(s_b.ravel(), (s_x * s_w).ravel(), rtol=1e-6):
                    broken.append(f"{node.name}: a bias that is not int32 in steps of s_x s_w")
        if node.op_type in COPIES + TIED:
            behind = written(node.output[0])
            for name in node.input[: None if node.op_type in TIED else 1]:
                if behind is not None and read(name) is not None and list(map(float, numbers(read(name)))) != list(map(float, numbers(behind))):
                    broken.append(f"{node.name}: {node.op_type} with another scale behind it")
        if node.op_type == "Softmax":
            behind = written(node.output[0])
            if behind is None or list(map(float, numbers(behind))) != [1 / 256, -128.0]:
                broken.append(f"{node.name}: a Softmax whose codes are not those of 1/256 and -128")
    return broken


def rules_row(network, path):
    broken = rules_of_litert(path)
    print(f"{network}: {len(broken)} breaches of LiteRT's rules{''.join(f'{chr(10)}  {line}' for line in broken)}", flush=True)


class Images:
    """CIFAR-10: fine-tuning of the networks of the data pack, which take pixels of 0 to 255."""

    def __init__(self, program, data, folder, given):
        self.program, self.data, self.folder, self.given = program, data, folder, given
        files = {name: data / f"cifar10/{name}.npy" for name in ("train_x", "train_y", "test_x", "test_y")}
        cut = len(np.load(files["train_y"]))
        if given.split == "choose":
            held = cut - cut // 5
            for side in "xy":
                all_of = np.load(files[f"train_{side}"])
                np.save(folder / f"held_{side}.npy", all_of[held:])
                files[f"test_{side}"] = folder / f"held_{side}.npy"
            cut = held
        cut = min(cut, given.samples or cut)
        for side in "xy":
            np.save(folder / f"train_{side}.npy", np.load(files[f"train_{side}"])[:cut])
        self.test = files["test_x"], files["test_y"]
        self.y = np.load(files["test_y"])
        self.x = np.ascontiguousarray(np.load(files["test_x"]).transpose(0, 3, 1, 2).astype(np.float32))
        self.run = ["--train", folder / "train_x.npy", "--labels", folder / "train_y.npy", "--layout", "nhwc", "--augment", "flip", "--augment", "crop:4",
                    "--epochs", given.epochs, "--batch", BATCH, "--lr", given.lr, "--seed", given.seed, "--threads", given.threads]
        self.floats = {}

    def float_of(self, name):
        """The file fine-tuned as floats, and how long that took; trained once."""
        if name not in self.floats:
            out = self.folder / f"{name}_float.onnx"
            done = call(self.program, "train", self.data / f"models/{name}_cifar10.onnx", "-o", out, *self.run)
            self.floats[name] = out, done["seconds"]
        return self.floats[name]

    def right(self, path):
        """Which answers are right, and how many are those of ONNX Runtime."""
        found = answers(self.program, path, *self.test, ["--layout", "nhwc"], self.given.threads, self.folder)
        same = int((answers_of_ort(path, self.x) == found).sum())
        return found == self.y, f"{same} of {len(found)}"

    def network(self, name):
        before, same = self.right(self.data / f"models/{name}_cifar10.onnx")
        print(f"{name}: {100 * before.mean():.2f} % before fine-tuning; {same} as ONNX Runtime\n{HEAD}", flush=True)
        out, seconds = self.float_of(name)
        float_right, same = self.right(out)
        row(name, "float", float_right, float_right, same, seconds)
        file = self.folder / f"{name}_int8.onnx"
        for variant in self.given.variants or VARIANTS:
            teacher = ["--teacher", self.float_of("resnet_large")[0], *TEACHING] if variant in FROM_TEACHER else []
            done = call(self.program, "qat", self.data / f"models/{name}_cifar10.onnx", "-o", file, *self.run, *VARIANTS[variant], *teacher)
            right, same = self.right(file)
            row(name, variant, right, float_right, same, done["seconds"])
            if "--target" in VARIANTS[variant]:
                rules_row(name, file)


def keywords(program, data, folder, given):
    """DS-CNN by folds: every sample is answered by a network that did not see it."""
    x, y = np.load(data / "kws01/x_int8.npy"), np.load(data / "kws01/y.npy")
    # Each fold has its share of every class.
    fold = np.empty(len(y), int)
    fold[np.argsort(y, kind="stable")] = np.arange(len(y)) % FOLDS
    real = np.ascontiguousarray(((x.astype(np.float32) - 83) * np.float32(0.5847029089927673)).transpose(0, 3, 1, 2))
    model, out = data / "models/dscnn_kws.onnx", folder / "keywords.onnx"
    files = {name: folder / f"keywords_{name}.npy" for name in ("x", "y", "held_x", "held_y")}
    print(HEAD)
    float_right = None
    for variant in ["float", *(given.variants or ["W8A8", "W4A8", "tflite W8A8"])]:
        found, same, began = np.empty(len(y), np.int64), 0, time.perf_counter()
        for k in range(FOLDS):
            kept, held = fold != k, fold == k
            for name, array in (("x", x[kept]), ("y", y[kept]), ("held_x", x[held]), ("held_y", y[held])):
                np.save(files[name], array)
            verb = ["train"] if variant == "float" else ["qat", *VARIANTS[variant]]
            call(program, *verb, model, "-o", out, "--train", files["x"], "--labels", files["y"], *KEYWORDS, "--epochs", given.epochs, "--batch", 32,
                 "--lr", given.lr_keywords, "--seed", given.seed, "--threads", given.threads)
            found[held] = answers(program, out, files["held_x"], files["held_y"], KEYWORDS, given.threads, folder)
            same += int((answers_of_ort(out, real[held]) == found[held]).sum())
        right = found == y
        float_right = right if variant == "float" else float_right
        row("dscnn", variant, right, float_right, f"{same} of {len(y)}", time.perf_counter() - began)
        if variant == "tflite W8A8":
            rules_row("dscnn, last fold", out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--lr-keywords", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=["test", "choose"], default="test")
    parser.add_argument("--variants", type=lambda text: text.split(";"), default=[], help="; between them: " + "; ".join(VARIANTS))
    parts = ["resnet8", "resnet_large", "dscnn"]
    parser.add_argument("parts", nargs="*", help=" ".join(parts))
    # Options may stand between the data and the parts.
    given = parser.parse_intermixed_args()
    unknown = set(given.parts) - set(parts) or set(given.variants) - set(VARIANTS)
    if unknown:
        parser.error(f"no such part or variant: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        wanted = given.parts or parts
        # The teacher of both is trained once.
        images = Images(given.program, given.data, folder, given) if set(wanted) & {"resnet8", "resnet_large"} else None
        for name in wanted:
            if name == "dscnn":
                keywords(given.program, given.data, folder, given)
            else:
                images.network(name)


if __name__ == "__main__":
    main()
