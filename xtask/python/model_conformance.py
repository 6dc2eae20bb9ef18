"""Holds whole models against ONNX Runtime: model_conformance.py PROGRAM ROOT

For each model: `optimize` writes a file that passes onnx.checker and loads in ONNX Runtime; `run` on the original and on
the optimized file gives ONNX Runtime's outputs within 1e-4 relative to the largest value (f32) or exactly (integers). For
the image classifiers also: int8 by `quantize` fuses fully in ONNX Runtime (a QLinearConv for every Conv), and our
session gives its class.

Models: those of the data pack (folder named by MODELPRESS_DATA, or ../shared/data) where it is there, and the one embedded
in the program's demo. Prints `N passed, N failed`.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx

import sources
from ort_session import inputs_for, session

PROGRAM, ROOT = sys.argv[1], pathlib.Path(sys.argv[2])
passed, failed = 0, 0


def check(name, ok, detail=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print(f"FAILED: {name} {detail}", flush=True)


def program(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.strip()


def same(ours, theirs):
    if not np.issubdtype(theirs.dtype, np.floating):
        return ours.shape == theirs.shape and (ours == theirs).all()
    scale = max(np.abs(theirs).max(initial=0), 1e-6)
    return ours.shape == theirs.shape and np.abs(ours - theirs).max(initial=0) <= 1e-4 * scale


def run_ours(path, feeds, folder):
    arguments = []
    for name, value in feeds.items():
        np.save(folder / f"{name}.npy", value)
        arguments += ["--input", f"{name}={folder / (name + '.npy')}"]
    out = pathlib.Path(tempfile.mkdtemp(dir=folder))
    code, _, error = program("run", path, *arguments, "--output-dir", out)
    return error if code else {f.stem: np.load(f) for f in out.glob("*.npy")}


def whole_model(path, folder):
    name = path.stem
    feeds = inputs_for(path)
    reference = session(path)
    expected = dict(zip([o.name for o in reference.get_outputs()], reference.run(None, feeds), strict=True))
    for verb in ("check", "inspect"):
        code, _, error = program(verb, path)
        check(f"{name} {verb}", code == 0, error)
    optimized = folder / f"{name}_optimized.onnx"
    code, _, error = program("optimize", path, "-o", optimized)
    check(f"{name} optimize", code == 0, error)
    for file in [path] + [optimized] * (code == 0):
        ours = run_ours(file, feeds, folder)
        if isinstance(ours, str):
            check(f"{file.stem} run", False, ours)
            continue
        check(f"{file.stem} outputs", sorted(ours) == sorted(expected), f"{sorted(ours)}")
        for output, value in expected.items():
            check(f"{file.stem} {output}", output in ours and same(ours[output], value))
    if code == 0:
        try:
            onnx.checker.check_model(str(optimized))
            theirs = session(optimized).run(None, feeds)
            check(f"{name} optimized in onnxruntime", all(same(a, b) for a, b in zip(theirs, expected.values(), strict=True)))
        except Exception as error:  # Whatever a peer throws is the finding.
            check(f"{name} optimized in the peers", False, str(error)[:200])


def classifier(path, images, folder):
    """`images` f32, fed as they are; the first 64 calibrate, 256 are compared."""
    np.save(folder / "images.npy", images)
    quantized = folder / f"{path.stem}_int8.onnx"
    calibration = folder / "images.npy"
    code, _, error = program("quantize", path, "-o", quantized, "--calib", calibration, "--limit", 64)
    check(f"{path.stem} quantize", code == 0, error)
    if code:
        return
    fused = folder / "fused.onnx"
    peer = session(quantized, fused)
    operators = [n.op_type for n in onnx.load(fused).graph.node]
    convolutions = sum(n.op_type == "Conv" for n in onnx.load(path).graph.node)
    check(f"{path.stem} fuses", operators.count("QLinearConv") == convolutions, str(operators))
    name = peer.get_inputs()[0].name
    theirs = np.concatenate([peer.run(None, {name: images[i:i + 1]})[0] for i in range(256)])
    ours = run_ours(quantized, {name: images[:256]}, folder)
    if isinstance(ours, str):
        check(f"{path.stem} int8 run", False, ours)
    else:
        agree = (next(iter(ours.values())).argmax(1) == theirs.argmax(1)).mean()
        check(f"{path.stem} int8 class", agree >= 0.999, f"{agree:.4f}")


def main():
    data = sources.data_folder(ROOT)
    with tempfile.TemporaryDirectory() as temporary:
        for path in sources.whole_models(ROOT):
            folder = pathlib.Path(temporary) / path.stem
            folder.mkdir()
            try:
                whole_model(path, folder)
            except Exception as error:
                check(path.stem, False, f"{type(error).__name__}: {str(error)[:300]}")
        if (data / "cifar10").is_dir():
            folder = pathlib.Path(temporary)
            images = np.load(data / "cifar10" / "train_x.npy")[:256].astype(np.float32).transpose(0, 3, 1, 2)
            for name in ("resnet8_cifar10", "resnet_large_cifar10"):
                classifier(data / "models" / f"{name}.onnx", np.ascontiguousarray(images), folder)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
