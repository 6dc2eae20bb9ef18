"""Time of one run, ours beside ONNX Runtime: latency_study.py PROGRAM DATA [--threads N[,N...]] [CASE ...]

Batch 1. The int8 files are those that `quantize` writes. Both run in fresh processes in turn (A B A B ...), ROUNDS times; the
medians of the rounds' medians are printed with their ratio (below 1: ours is faster). Of several numbers of threads, all are taken in
the same rounds, and how much faster each side is than with the first number is printed too.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROUNDS, SECONDS, RUNS = 5, 1, 400
FLOAT = {"resnet8": ("resnet8_cifar10", {}), "resnet_large": ("resnet_large_cifar10", {}), "dscnn": ("dscnn_kws", {}),
         "ultraface": ("ultraface_rfb_320", {}), "magika": ("magika_standard_v3_3", {}), "silero": ("silero_vad", {}),
         "minilm_1": ("minilm_l6_v2", {"sequence": 1}), "minilm_16": ("minilm_l6_v2", {"sequence": 16}), "minilm_128": ("minilm_l6_v2", {"sequence": 128})}
STATIC = {"resnet8_int8": "resnet8", "resnet_large_int8": "resnet_large", "dscnn_int8": "dscnn", "minilm_16_int8": "minilm_16"}
DYNAMIC = {"minilm_16_dynamic": "minilm_16", "minilm_128_dynamic": "minilm_128"}
# Weights of 4 bits; the `a8` ones at accuracy level 4, at which both round activations to 8 bits.
BLOCKS = {"minilm_1_w4": "minilm_1", "minilm_16_w4": "minilm_16", "minilm_128_w4": "minilm_128",
          "minilm_16_w4a8": "minilm_16", "minilm_128_w4a8": "minilm_128"}


def shapes(case, session_inputs, dims):
    fixed = {"input": [1, 512], "state": [2, 1, 128], "sr": []} if case == "silero" else {}
    return {i.name: fixed.get(i.name, [d if isinstance(d, int) else dims.get(d, 1) for d in i.shape]) for i in session_inputs}


def feeds(case, session_inputs, dims):
    """Made-up inputs of the right types, the same for both."""
    random, types = np.random.default_rng(0), {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    made = {}
    for info, shape in zip(session_inputs, shapes(case, session_inputs, dims).values()):
        dtype = types[info.type]
        made[info.name] = (random.random(shape) * 100).astype(dtype) if dtype == np.float32 else np.ones(shape, dtype)
        if info.name == "sr":
            made[info.name] = np.array(16000, np.int64)
    return made


def has_vnni():
    """Whether the CPU sums bytes exactly at full speed, so that ONNX Runtime needs no option for it."""
    info = pathlib.Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.exists() else []
    return "avx512_vnni" in flags or "avx_vnni" in flags


def session(path, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not has_vnni():
        # Exact integer sums, as ours are.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_peer(path, threads, folder):
    """Prints the median milliseconds of ONNX Runtime."""
    inputs = {file.stem: np.load(file) for file in pathlib.Path(folder).glob("*.npy")}
    s, times = session(path, int(threads)), []
    for _ in range(10):
        s.run(None, inputs)
    end = time.perf_counter() + SECONDS
    while len(times) < RUNS and (time.perf_counter() < end or len(times) < 5):
        start = time.perf_counter()
        s.run(None, inputs)
        times.append(time.perf_counter() - start)
    print(1e3 * statistics.median(times))


def output_of(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def round_of(command, model, threads, arrays):
    """Median milliseconds of both with this many threads."""
    ours = json.loads(output_of([*command, "--threads", threads]))["p50_ms"]
    return ours, float(output_of([sys.executable, __file__, "--peer", model, threads, arrays]))


def quantized(program, case, model, data, folder):
    out = folder / f"{case}.onnx"
    command = [program, "quantize", model, "-o", out]
    if case in DYNAMIC:
        command += ["--mode", "dynamic"]
    elif case in BLOCKS:
        command += ["--mode", "weight-only", "--bits", 4]
    elif "resnet" in case:
        command += ["--calib", data / "cifar10/train_x.npy", "--limit", 100, "--layout", "nhwc"]
    elif "dscnn" in case:
        x = (np.load(data / "kws01/x_int8.npy")[:100].astype(np.float32) - 83) * np.float32(0.5847029089927673)
        np.save(folder / "kws.npy", np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        command += ["--calib", folder / "kws.npy"]
    else:
        for name, file in (("input_ids", "dev_ids1"), ("attention_mask", "dev_mask1")):
            np.save(folder / f"{name}.npy", np.load(data / f"stsb/{file}.npy")[:50].astype(np.int64))
            command += ["--calib", f"{name}={folder / name}.npy"]
        command += ["--calib", "token_type_ids=zeros", "--trim", "attention_mask", "--batch", 1]
    output_of(command)
    if case.endswith("w4a8"):
        import onnx

        file = onnx.load(out)
        for node in file.graph.node:
            if node.op_type == "MatMulNBits":
                node.attribute.append(onnx.helper.make_attribute("accuracy_level", 4))
        onnx.save(file, out)
    return out


def main():
    program, data, rest = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:]
    threads = [1]
    if rest[:1] == ["--threads"]:
        threads, rest = [int(count) for count in rest[1].split(",")], rest[2:]
    for case in rest or [*FLOAT, *STATIC, *DYNAMIC, *BLOCKS]:
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            arrays = folder / "inputs"
            arrays.mkdir()
            name, dims = FLOAT[{**STATIC, **DYNAMIC, **BLOCKS}.get(case, case)]
            model = data / f"models/{name}.onnx"
            if case not in FLOAT:
                model = quantized(program, case, model, data, folder)
            command = [program, "bench", model, "--json", "--max-seconds", SECONDS, "--runs", RUNS]
            for name, array in feeds(case, session(model, 1).get_inputs(), dims).items():
                np.save(arrays / f"{name}.npy", array)
                command += ["--input", f"{name}={arrays / name}.npy"]
            times = [[round_of(command, model, count, arrays) for count in threads] for _ in range(ROUNDS)]
        first = None
        for i, count in enumerate(threads):
            a, b = (statistics.median(t[i][side] for t in times) for side in range(2))
            first = first or (a, b)
            line = f"{case:<20} ours {a:9.3f} ms   onnxruntime {b:9.3f} ms   ratio {a / b:5.2f}"
            if len(threads) > 1:
                line += f"   threads {count}   faster by {first[0] / a:5.2f} and {first[1] / b:5.2f}"
            print(line, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        run_peer(*sys.argv[2:])
    else:
        main()
