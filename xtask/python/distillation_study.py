"""Distillation: distillation_study.py PROGRAM DATA [--threads N] [--epochs N] [--seeds N] [--samples N] [--losses A,B] [--students N] [PART ...]

Parts: cifar (teacher ResNet-large, students ResNet-8 and one of half its width, from new weights on the CIFAR-10 training images, each by every loss; the
top-1 on the test images), minilm (MiniLM with 3 of its 6 layers, without labels on the sentences of STS-B dev; Spearman on the test pairs, the layers alone
before they are trained, and the time of a run).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

import numpy as np
import onnx

BATCH = 128
# Loss arguments; features are those before the pooling of both networks.
LOSSES = {
    "labels alone": ["--loss", "cross-entropy"],
    "kd": ["--loss", "kd"],
    "kl": ["--loss", "kl"],
    "reverse-kl": ["--loss", "reverse-kl", "--loss", "cross-entropy"],
    "regression": ["--loss", "regression:0.1", "--loss", "cross-entropy"],
    "dkd": ["--loss", "dkd", "--beta", "2", "--loss", "cross-entropy"],
    "fitnet": ["--loss", "kd", "--loss", "fitnet:0.001"],
    "attention": ["--loss", "kd", "--loss", "attention:100"],
    "cosine": ["--loss", "kd", "--loss", "cosine"],
    "rkd": ["--loss", "kd", "--loss", "rkd:10"],
    "similarity": ["--loss", "kd", "--loss", "similarity:100"],
    "correlation": ["--loss", "kd", "--loss", "correlation"],
    "pkt": ["--loss", "kd", "--loss", "pkt"],
    "crd": ["--loss", "kd", "--loss", "crd:0.8", "--negatives", "4096"],
}
ON_FEATURES = {"fitnet", "attention", "rkd", "similarity", "correlation", "pkt", "crd"}


def call(program, *arguments):
    """The outcome of a verb."""
    done = subprocess.run([program, *map(str, arguments), "--json"], check=True, capture_output=True)
    return json.loads(done.stdout)


def before_pooling(path):
    """The tensor that the last pooling reads."""
    nodes = [node for node in onnx.load(path).graph.node if node.op_type in ("AveragePool", "GlobalAveragePool")]
    return nodes[-1].input[0]


def cifar(program, data, folder, given):
    """Students by every loss."""
    teacher, small = (data / f"models/{name}_cifar10.onnx" for name in ("resnet_large", "resnet8"))
    x, y, test_x, test_y = (data / f"cifar10/{name}.npy" for name in ("train_x", "train_y", "test_x", "test_y"))
    if given.samples:
        for name, path in (("x", x), ("y", y)):
            np.save(folder / f"{name}.npy", np.load(path)[: given.samples])
        x, y = folder / "x.npy", folder / "y.npy"
    tap = f"{before_pooling(small)}={before_pooling(teacher)}"
    run = ["--train", x, "--labels", y, "--layout", "nhwc", "--augment", "crop:4", "--augment", "flip", "--initialize", "he", "--batch", BATCH,
           "--epochs", given.epochs, "--threads", given.threads]
    half = folder / "half.onnx"
    # Half of ResNet-8: one epoch on a handful of images writes the file, whose weights are drawn anew afterwards.
    for name, path in (("few_x", x), ("few_y", y)):
        np.save(folder / f"{name}.npy", np.load(path)[:BATCH])
    call(program, "distill", "--teacher", small, "--student-width", 0.5, "-o", half, "--train", folder / "few_x.npy", "--layout", "nhwc",
         "--loss", "kl", "--epochs", 1)
    print("| student | loss | top-1 % | runs | seconds |\n|---|---|---:|---:|---:|")
    for student, path in (("ResNet-8", small), ("half of ResNet-8", half))[: given.students]:
        for name in given.losses or LOSSES:
            found, seconds = [], []
            for seed in range(given.seeds):
                taps = ["--tap", tap] if name in ON_FEATURES else []
                out = folder / "student.onnx"
                done = call(program, "distill", "--teacher", teacher, "--student", path, "-o", out, *run, *LOSSES[name], *taps, "--seed", seed)
                score = call(program, "eval", out, "--input", test_x, "--labels", test_y, "--layout", "nhwc", "--threads", given.threads)
                found.append(100 * score["value"])
                seconds.append(done["seconds"])
            spread = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
            print(f"| {student} | {name} | {statistics.mean(found):.2f}{spread} | {len(found)} | {statistics.median(seconds):.0f} |", flush=True)


def minilm(program, data, folder, given):
    """Three of six layers."""
    teacher = data / "models/minilm_l6_v2.onnx"
    load = lambda kind, split, side: np.load(data / f"stsb/{split}_{kind}{side}.npy").astype(np.int64)
    sentences = np.unique(np.concatenate([np.stack([load("ids", "dev", k), load("mask", "dev", k)], 1) for k in (1, 2)])[:, :, :32], axis=0)
    if given.samples:
        sentences = sentences[np.random.default_rng(0).permutation(len(sentences))[: given.samples]]
    inputs = {"input_ids": sentences[:, 0], "attention_mask": sentences[:, 1], "token_type_ids": np.zeros_like(sentences[:, 0])}
    feeds = []
    for name, array in inputs.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array))
        feeds += ["--train", f"{name}={folder / name}.npy"]
    pairs = []
    for flag, side in (("--input", 1), ("--input-b", 2)):
        pairs += [flag, f"input_ids={data}/stsb/test_ids{side}.npy", flag, f"attention_mask={data}/stsb/test_mask{side}.npy", flag, "token_type_ids=zeros"]
    spearman = lambda model: 100 * call(program, "eval", model, "--metric", "spearman-cosine", "--trim", "attention_mask", *pairs, "--labels",
                                        data / "stsb/test_score.npy", "--threads", given.threads)["value"]
    made = ["distill", "--teacher", teacher, "--student-layers", 3, *feeds, "--loss", "hidden-state:10", "--loss", "cosine", "--pool", "--mask",
            "attention_mask", "--optimizer", "adamw", "--batch", 32, "--threads", given.threads]
    layers, short = folder / "layers.onnx", folder / "short.onnx"
    # A step of nearly nothing: the layers as they are in the teacher.
    call(program, *made, "-o", layers, "--epochs", 1, "--lr", 1e-12)
    done = call(program, *made, "-o", short, "--epochs", given.epochs, "--lr", 2e-4, "--warm-up", 0.2)
    time = lambda model: call(program, "bench", model, "--dim", "batch=1", "--dim", "sequence=16", "--threads", given.threads)["p50_ms"]
    print("| model | Spearman on STS-B test | ms for 16 tokens | parameters |\n|---|---:|---:|---:|")
    print(f"| 6 layers | {spearman(teacher):.2f} | {time(teacher):.2f} | {done['teacher_parameters']} |")
    print(f"| 3 of them | {spearman(layers):.2f} | {time(layers):.2f} | {done['student_parameters']} |")
    print(f"| 3 of them, distilled in {done['seconds']:.0f} s | {spearman(short):.2f} | {time(short):.2f} | {done['student_parameters']} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--students", type=int, default=2)
    parser.add_argument("--losses", type=lambda text: text.split(","), default=[])
    parts = {"cifar": cifar, "minilm": minilm}
    parser.add_argument("parts", nargs="*", help=" ".join(parts))
    # Options may stand between the data and the parts.
    given = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in given.parts or parts:
            parts[name](given.program, given.data, pathlib.Path(folder), given)


if __name__ == "__main__":
    main()
