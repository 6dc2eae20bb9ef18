"""What quantizing costs, ours beside onnxruntime.quantization: cost_study.py PROGRAM DATA [JOB ...]

Whole processes with the same model, samples and method, one after the other and in turn (A B A B ...), ROUNDS times. Prints
the medians of wall time, CPU time and peak memory, and their ratios. Jobs: dscnn resnet8 resnet_large minilm_dynamic minilm.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROUNDS = 5


def arrays(job, data, folder):
    """The calibration arrays of a job as files, and the names of the inputs that they feed."""
    if job == "dscnn":
        x = (np.load(data / "kws01/x_int8.npy")[:200].astype(np.float32) - 83) * np.float32(0.5847029089927673)
        feeds = {"input": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}
    elif job in ("resnet8", "resnet_large"):
        x = np.load(data / "cifar10/train_x.npy")[:500].astype(np.float32)
        feeds = {"input": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}
    elif job == "minilm":
        names = {"input_ids": "dev_ids1", "attention_mask": "dev_mask1"}
        feeds = {name: np.load(data / f"stsb/{file}.npy")[:200].astype(np.int64) for name, file in names.items()}
    else:
        feeds = {}
    for name, array in feeds.items():
        np.save(folder / f"{name}.npy", array)
    return {name: folder / f"{name}.npy" for name in feeds}


MODELS = {"dscnn": "dscnn_kws", "resnet8": "resnet8_cifar10", "resnet_large": "resnet_large_cifar10",
          "minilm_dynamic": "minilm_l6_v2", "minilm": "minilm_l6_v2"}


def ours(program, job, model, files, out):
    command = [program, "quantize", str(model), "-o", str(out)]
    if job == "minilm_dynamic":
        return command + ["--mode", "dynamic"]
    for name, file in files.items():
        command += ["--calib", f"{name}={file}"]
    if job == "minilm":
        command += ["--calib", "token_type_ids=zeros", "--trim", "attention_mask"]
    return command + ["--method", "minmax", "--rounding", "nearest", "--batch", "1"]


def peer(job, model, files, out):
    return [sys.executable, __file__, "--peer", job, str(model), str(out), *(f"{n}={f}" for n, f in files.items())]


def run_peer(job, model, out, *files):
    """The same work as a user of onnxruntime.quantization writes it."""
    from onnxruntime.quantization import (CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType,
                                          quantize_dynamic, quantize_static)
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if job == "minilm_dynamic":
        quantize_dynamic(model, out, per_channel=True)
        return
    feeds = {name: np.load(file) for name, file in (f.split("=", 1) for f in files)}

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.samples = self.all()

        def all(self):
            for i in range(len(next(iter(feeds.values())))):
                sample = {name: array[i:i + 1] for name, array in feeds.items()}
                if job == "minilm":
                    n = int(sample["attention_mask"].sum())
                    sample = {name: array[:, :n] for name, array in sample.items()}
                    sample["token_type_ids"] = np.zeros((1, n), np.int64)
                yield sample

        def get_next(self):
            return next(self.samples, None)

    prepared = str(pathlib.Path(out).with_suffix(".prepared.onnx"))
    # Symbolic shape inference fails on MiniLM.
    quant_pre_process(model, prepared, skip_symbolic_shape=job == "minilm")
    only = {"op_types_to_quantize": ["MatMul"]} if job == "minilm" else {}
    quantize_static(prepared, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.MinMax, **only)


def measured(command, folder):
    """Wall seconds, CPU seconds and peak megabytes of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)}: {errors.decode()}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    program, data, jobs = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:] or MODELS
    print(f"{'job':<15} {'ours: wall s, CPU s, MB':>28} {'peer: wall s, CPU s, MB':>28}   peer / ours: wall, CPU, MB")
    for job in jobs:
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            model, files = data / "models" / f"{MODELS[job]}.onnx", arrays(job, data, folder)
            commands = [ours(program, job, model, files, folder / "ours.onnx"), peer(job, model, files, folder / "peer.onnx")]
            rounds = [[measured(command, folder) for command in commands] for _ in range(ROUNDS)]
        a, b = ([statistics.median(r[side][k] for r in rounds) for k in range(3)] for side in range(2))
        show = lambda x: f"{x[0]:.2f}  {x[1]:.2f}  {x[2]:.0f}"
        print(f"{job:<15} {show(a):>28} {show(b):>28}   {'  '.join(f'{y / x:.2f}' for x, y in zip(a, b))}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        run_peer(*sys.argv[2:])
    else:
        main()
