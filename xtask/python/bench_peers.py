"""Time of one run beside other runtimes: bench_peers.py PROGRAM PEERS DATA [--threads N[,N...]] [--rounds N] [CASE ...]

All run in fresh processes in turn (A B C D A B C D ...), batch 1. Prints a Markdown table: the median of the rounds' medians and the
least of all runs in ms, the best peer's name, and ours over the best peer's, of both (below 1: ours is faster); at its end the
geometric means of these ratios. What a peer says that does not run a model goes to stderr, and so does whose result differs from that
of ONNX Runtime.
"""

import pathlib
import statistics
import sys
import tempfile

from latency_cases import FLOAT, KINDS, arguments, in_turn, ours, peer, prepared

RUNTIMES = ["modelpress", "onnxruntime", "LiteRT", "rten", "tract"]
# The same architecture and weights in files of Google's converter.
TFLITE = {"resnet8": "resnet8_float", "resnet8_int8": "resnet8_int8",
          "resnet_large": "resnet_large_float", "resnet_large_int8": "resnet_large_int8",
          "dscnn": "dscnn_kws_savedmodel_float", "dscnn_int8": "dscnn_kws_savedmodel_int8"}
# How far the root mean square of a peer's first output may lie from that of ONNX Runtime.
TOLERANCE = 0.05


def commands(case, options, folder):
    """What times a case in each runtime that has it."""
    model, arrays = prepared(case, options.program, options.data, folder)
    found = {"modelpress": ours(options.program, model, arrays), "onnxruntime": peer("onnxruntime", model, arrays)}
    if case in TFLITE:
        found["LiteRT"] = peer("litert", options.data / f"reference_tflite/{TFLITE[case]}.tflite", arrays)
    return found | {name: peer(name, model, arrays, (options.peers,)) for name in ("rten", "tract")}


def verdict(failure):
    """One word for a cell."""
    return next((word for word in ("refuses", "panics") if f"{word}: " in str(failure)), "fails")


def tell_what_went_wrong(case, results, failures):
    for name, failure in failures.items():
        print(f"{case}, {name}: {failure}", file=sys.stderr)
    rms = {name: rounds[0]["rms"] for (name, _), rounds in results.items() if rounds and "rms" in rounds[0]}
    anchor = rms.get("onnxruntime")
    for name, found in rms.items():
        # LiteRT's int8 files are of another quantization.
        is_same = case in FLOAT or name != "LiteRT"
        if anchor and is_same and not abs(found - anchor) <= TOLERANCE * anchor:
            print(f"{case}, {name}: its first output has a root mean square of {found:.6g}, not {anchor:.6g}", file=sys.stderr)


def row(case, count, results, failures):
    """The cells of a row, and ours over the best peer's by medians and by least times where there are any."""
    times = {name: (statistics.median(r["p50_ms"] for r in results[name, count]), min(r["min_ms"] for r in results[name, count]))
             for name in RUNTIMES if name not in failures and (name, count) in results}
    cells = [f"{times[name][0]:.3f} / {times[name][1]:.3f}" if name in times else verdict(failures[name]) if name in failures else ""
             for name in RUNTIMES]
    mine, peers = times.pop("modelpress", None), times
    if not mine or not peers:
        return [case, count, *cells, "", "", ""], None
    ratios = [mine[i] / min(time[i] for time in peers.values()) for i in range(2)]
    best = min(peers, key=lambda name: peers[name][0])
    return [case, count, *cells, best, *(f"{ratio:.2f}" for ratio in ratios)], ratios


def print_row(cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main():
    options = arguments(__doc__, "program", "peers")
    print_row(["model", "threads", *RUNTIMES, "best peer", "ratio of medians", "ratio of least"])
    print_row(["---", "---:", *["---:"] * len(RUNTIMES), "---", "---:", "---:"])
    ratios = {}
    for case in options.cases:
        with tempfile.TemporaryDirectory() as temporary:
            results, failures = in_turn(commands(case, options, pathlib.Path(temporary)), options.threads, options.rounds)
        tell_what_went_wrong(case, results, failures)
        kind = next(kind for kind, cases in KINDS.items() if case in cases)
        for count in options.threads:
            cells, found = row(case, count, results, failures)
            print_row(cells)
            if found:
                ratios.setdefault((kind, count), []).append(found)
    for (kind, count), found in sorted(ratios.items(), key=lambda entry: (list(KINDS).index(entry[0][0]), entry[0][1])):
        means = [f"{statistics.geometric_mean(pair[i] for pair in found):.2f}" for i in range(2)]
        print_row([f"geometric mean, {kind}, of {len(found)}", count, *[""] * len(RUNTIMES), "", *means])


if __name__ == "__main__":
    main()
