"""The accuracy tables of docs/measurements.md: int8_study.py PROGRAM DATA [resnet8|resnet_large|dscnn|minilm ...]

Quantizes with every method listed here, runs each file in ONNX Runtime with exact integer sums, and prints all of them: the
test figures choose nothing. PROGRAM is a release build of `modelpress`, DATA the data pack.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime as ort

PROGRAM, DATA = sys.argv[1], pathlib.Path(sys.argv[2])
METHODS = [["mse"], ["minmax"], ["percentile", "--percentile", "99.99"], ["moving-average"], ["entropy"]]
KWS_SCALE, KWS_ZERO = np.float32(0.5847029089927673), 83


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def images(split):
    x = np.load(DATA / f"cifar10/{split}_x.npy").astype(np.float32).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x), np.load(DATA / f"cifar10/{split}_y.npy")


def keywords():
    x = (np.load(DATA / "kws01/x_int8.npy").astype(np.float32) - KWS_ZERO) * KWS_SCALE
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), np.load(DATA / "kws01/y.npy")


def quantize(model, out, *arguments):
    subprocess.run([PROGRAM, "quantize", str(model), "-o", str(out), *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)


def classifier(name, calibration, x, y, folder):
    model = DATA / "models" / f"{name}.onnx"
    np.save(folder / "calibration.npy", calibration)

    def classes(path):
        s = session(path)
        return np.concatenate([s.run(None, {"input": x[i:i + 100]})[0] for i in range(0, len(x), 100)]).argmax(1)

    reference = classes(model)
    print(f"{name}: float {100 * (reference == y).mean():.2f} %, {len(x)} samples")
    for method in METHODS:
        out = folder / "int8.onnx"
        quantize(model, out, "--calib", folder / "calibration.npy", "--batch", 1, "--method", *method)
        found = classes(out)
        print(f"  {' '.join(method):40} {100 * (found == y).mean():.2f} / {100 * (found == reference).mean():.2f}")


def ranks(values):
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def sentences(folder):
    model = DATA / "models/minilm_l6_v2.onnx"
    load = lambda name: np.load(DATA / f"stsb/{name}.npy")
    np.save(folder / "ids.npy", load("dev_ids1")[:200].astype(np.int64))
    np.save(folder / "mask.npy", load("dev_mask1")[:200].astype(np.int64))

    def vectors(path):
        s = session(path)
        both = []
        for side in "12":
            rows = []
            for ids, mask in zip(load(f"test_ids{side}"), load(f"test_mask{side}")):
                n = int(mask.sum())
                feed = {"input_ids": ids[None, :n].astype(np.int64), "attention_mask": np.ones((1, n), np.int64),
                        "token_type_ids": np.zeros((1, n), np.int64)}
                mean = s.run(None, feed)[0][0].mean(0)
                rows.append(mean / np.linalg.norm(mean))
            both.append(np.stack(rows))
        return np.stack(both)

    reference, scores = vectors(model), load("test_score")
    calibration = ["--calib", f"input_ids={folder / 'ids.npy'}", "--calib", f"attention_mask={folder / 'mask.npy'}",
                   "--calib", "token_type_ids=zeros", "--trim", "attention_mask", "--batch", 1]
    for name, arguments in (("static minmax", [*calibration, "--method", "minmax"]), ("dynamic", ["--mode", "dynamic"])):
        out = folder / "int8.onnx"
        quantize(model, out, *arguments)
        found = vectors(out)
        spearman = np.corrcoef(ranks((found[0] * found[1]).sum(1)), ranks(scores))[0, 1]
        print(f"  minilm {name:20} {100 * spearman:.2f} / {(found * reference).sum(-1).mean():.4f}")


def main():
    wanted = sys.argv[3:] or ["resnet8", "resnet_large", "dscnn", "minilm"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        if "dscnn" in wanted:
            x, y = keywords()
            classifier("dscnn_kws", x[:200], x, y, folder)
        for name in ("resnet8", "resnet_large"):
            if name in wanted:
                classifier(f"{name}_cifar10", images("train")[0][:500], *images("test"), folder)
        if "minilm" in wanted:
            sentences(folder)


if __name__ == "__main__":
    main()
