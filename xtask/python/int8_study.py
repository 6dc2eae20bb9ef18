"""The accuracy tables of docs/measurements.md: int8_study.py PROGRAM DATA --split choose|test [resnet8|resnet_large|dscnn|minilm ...]

Quantizes with every variant listed here, runs each file in ONNX Runtime with exact integer sums, and prints all of them.

`--split choose` is for choosing among variants, by how close the int8 model stays to the float model (the share of equal
classes, SQNR and the mean cosine of outputs): labels are printed and choose nothing. `--split test` is for reporting.

    CIFAR-10  calibrate on train images 0..499, choose on train images 500..4499, test on the 10,000 test images
    keywords  calibrate on inputs 0..199, choose on inputs 200..999 without their labels, test on all 1,000 with labels
    STS-B     calibrate on 200 dev sentences, choose on the other dev pairs, test on the test pairs

The rows `onnxruntime ...` are its own quantizer (uint8 activations, int8 weights per channel) on the same samples; beside
them stands how many samples only the first variant or only that file gets right, with the exact McNemar test.

PROGRAM is a release build of `modelpress`, DATA the data pack.
"""

import argparse
import contextlib
import io
import math
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

PEERS = {"percentile 99.99": quantization.CalibrationMethod.Percentile, "minmax": quantization.CalibrationMethod.MinMax}
METHODS = [["mse"], ["minmax"], ["percentile", "--percentile", "99.99"], ["percentile", "--percentile", "99.999"],
           ["moving-average"], ["entropy"]]
ROUNDINGS = ["nearest", "calibrated"]
VARIANTS = [["--method", *method, "--rounding", rounding] for method in METHODS for rounding in ROUNDINGS]
VARIANTS += [["--method", "mse", "--rounding", rounding, "--weight-scale", "least-squares"] for rounding in ROUNDINGS]
DYNAMIC = [["--mode", "dynamic", "--weight-scale", scale] for scale in ("max", "least-squares")]
WEIGHTS = [["--mode", "weight-only", *form] for form in ([], ["--bits", "8", "--block", "32"], ["--bits", "4", "--block", "32"])]
SENTENCES = [[*variant, "--rounding", rounding] for variant in [*DYNAMIC, ["--method", "minmax"], *WEIGHTS]
             for rounding in ROUNDINGS]
KWS_SCALE, KWS_ZERO = np.float32(0.5847029089927673), 83


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def images(split, start, end):
    x = np.load(DATA / f"cifar10/{split}_x.npy", mmap_mode="r")[start:end].astype(np.float32).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x), np.load(DATA / f"cifar10/{split}_y.npy")[start:end]


def keywords():
    x = (np.load(DATA / "kws01/x_int8.npy").astype(np.float32) - KWS_ZERO) * KWS_SCALE
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), np.load(DATA / "kws01/y.npy")


def quantize(model, out, *arguments):
    subprocess.run([PROGRAM, "quantize", str(model), "-o", str(out), *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)


class Samples(quantization.CalibrationDataReader):
    def __init__(self, x):
        self.samples = iter([{"input": x[i:i + 1]} for i in range(len(x))])

    def get_next(self):
        return next(self.samples, None)


def quantize_by_onnxruntime(model, out, calibration, method):
    prepared = out.with_suffix(".prepared.onnx")
    with contextlib.redirect_stdout(io.StringIO()):
        quant_pre_process(str(model), str(prepared))
        quantization.quantize_static(str(prepared), str(out), Samples(calibration), per_channel=True, calibrate_method=method,
                                     activation_type=quantization.QuantType.QUInt8,
                                     weight_type=quantization.QuantType.QInt8,
                                     extra_options={"CalibPercentile": 99.99} if "PERCENTILE" in str(method).upper() else {})


def mcnemar(ours, theirs):
    """Samples that only one of two classifiers gets right, and the exact two-sided p of so unequal a split."""
    a, b = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    tail = sum(math.comb(a + b, k) for k in range(min(a, b) + 1)) / 2 ** (a + b)
    return f"only ours right {a}, only theirs {b}, p = {min(1.0, 2 * tail):.2f}"


def sqnr(reference, found):
    return 10 * np.log10(np.square(reference).sum() / max(np.square(reference - found).sum(), 1e-30))


def classifier(name, calibration, x, y, folder):
    model = DATA / "models" / f"{name}.onnx"
    np.save(folder / "calibration.npy", calibration)

    def outputs(path):
        s = session(path)
        return np.concatenate([s.run(None, {"input": x[i:i + 100]})[0] for i in range(0, len(x), 100)])

    reference = outputs(model)
    right = lambda found: "      -" if y is None else f"{100 * (found.argmax(1) == y).mean():7.2f}"
    print(f"{name}, {len(x)} samples, float {right(reference).strip()} %\n   top-1 %  same %  SQNR dB", flush=True)

    def row(found, text):
        same = 100 * (found.argmax(1) == reference.argmax(1)).mean()
        print(f"   {right(found)} {same:7.2f}  {sqnr(reference, found):7.2f}  {text}", flush=True)

    out, first = folder / "int8.onnx", None
    for variant in VARIANTS:
        quantize(model, out, "--calib", folder / "calibration.npy", "--batch", 1, *variant)
        found = outputs(out)
        first = found if first is None else first
        row(found, " ".join(variant))
    for text, method in PEERS.items():
        quantize_by_onnxruntime(model, out, calibration, method)
        found = outputs(out)
        paired = "" if y is None else f" ({mcnemar(first.argmax(1) == y, found.argmax(1) == y)})"
        row(found, f"onnxruntime {text}{paired}")


def ranks(values):
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def sentences(split, start, folder):
    model = DATA / "models/minilm_l6_v2.onnx"
    load = lambda name: np.load(DATA / f"stsb/{name}.npy")
    np.save(folder / "ids.npy", load("dev_ids1")[:200].astype(np.int64))
    np.save(folder / "mask.npy", load("dev_mask1")[:200].astype(np.int64))

    def vectors(path):
        s = session(path)
        both = []
        for side in "12":
            rows = []
            for ids, mask in zip(load(f"{split}_ids{side}")[start:], load(f"{split}_mask{side}")[start:]):
                n = int(mask.sum())
                feed = {"input_ids": ids[None, :n].astype(np.int64), "attention_mask": np.ones((1, n), np.int64),
                        "token_type_ids": np.zeros((1, n), np.int64)}
                mean = s.run(None, feed)[0][0].mean(0)
                rows.append(mean / np.linalg.norm(mean))
            both.append(np.stack(rows))
        return np.stack(both)

    reference, scores = vectors(model), load(f"{split}_score")[start:]
    spearman = lambda v: 100 * np.corrcoef(ranks((v[0] * v[1]).sum(1)), ranks(scores))[0, 1]
    print(f"minilm, {len(scores)} pairs, float {spearman(reference):.2f}\n  Spearman   cosine      s", flush=True)
    calibration = ["--calib", f"input_ids={folder / 'ids.npy'}", "--calib", f"attention_mask={folder / 'mask.npy'}",
                   "--calib", "token_type_ids=zeros", "--trim", "attention_mask", "--batch", 1]
    for variant in SENTENCES:
        out = folder / "int8.onnx"
        sampled = "--mode" not in variant or "calibrated" in variant
        began = time.perf_counter()
        quantize(model, out, *(calibration if sampled else []), *variant)
        seconds = time.perf_counter() - began
        found = vectors(out)
        cosine = (found * reference).sum(-1).mean()
        print(f"   {spearman(found):7.2f}  {cosine:7.4f} {seconds:6.2f}  {' '.join(variant)}", flush=True)


def main():
    global PROGRAM, DATA
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("models", nargs="*", default=[])
    parser.add_argument("--split", choices=["choose", "test"], required=True)
    arguments = parser.parse_intermixed_args()
    PROGRAM, DATA = arguments.program, arguments.data
    choose = arguments.split == "choose"
    wanted = arguments.models or ["dscnn", "resnet8", "resnet_large", "minilm"]
    unknown = set(wanted) - {"dscnn", "resnet8", "resnet_large", "minilm"}
    if unknown:
        sys.exit(f"no such model: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        if "dscnn" in wanted:
            x, y = keywords()
            classifier("dscnn_kws", x[:200], *((x[200:], None) if choose else (x, y)), folder)
        for name in ("resnet8", "resnet_large"):
            if name in wanted:
                evaluated = images("train", 500, 4500) if choose else images("test", 0, 10_000)
                classifier(f"{name}_cifar10", images("train", 0, 500)[0], *evaluated, folder)
        if "minilm" in wanted:
            sentences(*(("dev", 200) if choose else ("test", 0)), folder)


if __name__ == "__main__":
    main()
