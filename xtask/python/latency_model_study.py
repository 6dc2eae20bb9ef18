"""Predicted and measured latency: latency_model_study.py PROGRAM DATA [--shapes N] [--threads N] [FILE[:NAME=SIZE,...] ...]

Runs `bench --predict` on the models of the data pack and on the files given, and prints what the latency model predicts by its two
forms, what was measured (the median and the fastest run), and the errors against both; then the mean absolute errors, and Spearman's
rank correlation of predicted and measured time over random shapes of convolutions and matrix products, which are made with a fixed seed.
The rates that the predictions are made of are those of calls that nothing disturbed, measured once and kept in the user's cache folder:
where other programs run, the fastest run is what they predict. It fails nothing by itself.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx
from latency_cases import ANCHORS, FLOAT, anchor_script, output_of, prepared

SECONDS, RUNS, SEED = 2, 400, 20


def bench(program, model, threads, arguments):
    options = ["--json", "--predict", "--threads", threads, "--runs", RUNS, "--max-seconds", SECONDS]
    found = json.loads(output_of([program, "bench", model, *options, *arguments]))
    predicted = found["predicted"]
    return predicted["sum_ms"], predicted["overlapped_ms"], found["p50_ms"], found["min_ms"], predicted["unknown_steps"]


def errors_of(times):
    """Percent: of the sum and of the overlapped form, each against the median and against the fastest run."""
    total, overlapped, median, fastest, _ = times
    return [100 * (predicted / measured - 1) for predicted in (total, overlapped) for measured in (median, fastest)]


def line(name, times):
    total, overlapped, median, fastest, unknown = times
    errors = errors_of(times)
    rest = f"   {unknown} steps unknown" if unknown else ""
    print(f"{name:<28} median {median:9.3f} ms, fastest {fastest:9.3f}   sum {total:9.3f} {errors[0]:+6.1f} %, {errors[1]:+6.1f} %   "
          f"overlapped {overlapped:9.3f} {errors[2]:+6.1f} %, {errors[3]:+6.1f} %{rest}", flush=True)
    return errors


def mean_errors(errors):
    means = np.abs(errors).mean(axis=0)
    return "mean absolute error against median and fastest: sum {:.1f} % and {:.1f} %, overlapped {:.1f} % and {:.1f} %".format(*means)


def models(program, data, threads, files, folder):
    for case in FLOAT:
        if case in ANCHORS and not anchor_script(data).exists():
            continue
        own = folder / case
        own.mkdir()
        model, arrays = prepared(case, program, data, own)
        arguments = [word for file in sorted(arrays.glob("*.npy")) for word in ("--input", f"{file.stem}={file}")]
        yield case, bench(program, model, threads, arguments)
    for file in files:
        path, _, dims = file.partition(":")
        dims = [argument for dim in filter(None, dims.split(",")) for argument in ("--dim", dim)]
        yield pathlib.Path(path).stem + "".join(f" {dim}" for dim in dims[1::2]), bench(program, path, threads, dims)


def random_layer(random):
    """A convolution or a matrix product with weights, as a model."""
    size = lambda low, high: int(np.exp(random.uniform(np.log(low), np.log(high + 1))))
    if random.random() < 0.5:
        m, k, n = size(1, 256), size(16, 1024), size(16, 1024)
        shape, weight, node = [m, k], [k, n], onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
        name = f"MatMul {m} x {k} x {n}"
    else:
        channels, filters, pixels = size(4, 256), size(4, 256), size(7, 56)
        taps, stride, depthwise = int(random.choice([1, 3, 5])), int(random.choice([1, 2])), random.random() < 0.25
        filters, groups = (channels, channels) if depthwise else (filters, 1)
        shape, weight = [1, channels, pixels, pixels], [filters, channels // groups, taps, taps]
        node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=groups, strides=[stride] * 2, pads=[taps // 2] * 4)
        name = f"Conv {channels} to {filters}, {groups} groups, {taps} x {taps}, stride {stride}, {pixels} x {pixels}"
    data = (random.random(weight, np.float32) - np.float32(0.5)) / np.float32(np.sqrt(np.prod(weight[1:])))
    graph = onnx.helper.make_graph(
        [node], "layer", [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)], [onnx.numpy_helper.from_array(data, "w")])
    return name, onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)


def correlation(a, b):
    """Spearman's, of values of which no two are equal."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def main():
    program, data, rest = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:]
    options = {"--shapes": 60, "--threads": 1}
    while rest and rest[0] in options:
        options[rest[0]], rest = int(rest[1]), rest[2:]
    threads = options["--threads"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        print(mean_errors([line(name, times) for name, times in models(program, data, threads, rest, folder)]), flush=True)
        random, times = np.random.default_rng(SEED), []
        for _ in range(options["--shapes"]):
            name, model = random_layer(random)
            onnx.save(model, folder / "layer.onnx")
            times.append(bench(program, folder / "layer.onnx", threads, []))
            line(name[:60], times[-1])
        if len(times) > 1:
            total, overlapped, median, _, _ = np.array(times).T
            print(f"{len(times)} shapes: rank correlation with the median {correlation(total, median):.3f} (sum), "
                  f"{correlation(overlapped, median):.3f} (overlapped); {mean_errors([errors_of(t) for t in times])}")


if __name__ == "__main__":
    main()
