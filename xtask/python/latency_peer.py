"""Time of one run in a Python runtime: latency_peer.py onnxruntime|litert MODEL INPUTS SECONDS RUNS THREADS

INPUTS is a folder with one .npy file per input, named after it. Prints one line of JSON, as the Rust peers in `benches/peers` do:
median and least milliseconds, and the root mean square of the first output. LiteRT is given its input before its time is taken.
"""

import json
import pathlib
import statistics
import sys
import time

import numpy as np

WARMUP = 10


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


def onnxruntime(path, inputs, threads):
    """What runs the model once, and what reads the first output of such a run."""
    s = session(path, threads)
    return lambda: s.run(None, inputs), lambda outputs: outputs[0]


def litert(path, inputs, threads):
    """The same; the one image goes from channels first to last and into the type of the file's input."""
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(path, num_threads=threads)
    model.allocate_tensors()
    (wanted,), result = model.get_input_details(), model.get_output_details()[0]
    (image,) = inputs.values()
    image, (scale, zero) = image.transpose(0, 2, 3, 1), wanted["quantization"]
    if wanted["dtype"] == np.int8:
        image = np.clip(np.round(image / scale) + zero, -128, 127)
    model.set_tensor(wanted["index"], image.astype(wanted["dtype"]))

    def first(_):
        array, (scale, zero) = model.get_tensor(result["index"]), result["quantization"]
        return (array.astype(np.float32) - zero) * scale if scale else array

    return model.invoke, first


def measured(run, first, seconds, runs):
    end = time.perf_counter() + seconds
    outputs = run()
    for _ in range(1, WARMUP):
        if time.perf_counter() > end:
            break
        outputs = run()
    rms = float(np.sqrt(np.mean(np.square(first(outputs).astype(np.float64)))))
    times, end = [], time.perf_counter() + seconds
    while not times or (len(times) < runs and time.perf_counter() < end):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return {"p50_ms": 1e3 * statistics.median(times), "min_ms": 1e3 * min(times), "runs": len(times), "rms": rms}


def main():
    peer, model, folder, seconds, runs, threads = sys.argv[1:]
    inputs = {file.stem: np.load(file) for file in pathlib.Path(folder).glob("*.npy")}
    peers = {"onnxruntime": onnxruntime, "litert": litert}
    try:
        found = measured(*peers[peer](model, inputs, int(threads)), float(seconds), int(runs))
    except Exception as error:
        sys.exit(f"refuses: {' '.join(str(error).split())}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
