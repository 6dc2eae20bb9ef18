"""Time of one run, ours beside ONNX Runtime: latency_study.py PROGRAM DATA [--threads N[,N...]] [--rounds N] [CASE ...]

Batch 1. The int8 files are those that `quantize` writes. Both run in fresh processes in turn (A B A B ...); the medians of the rounds'
medians are printed with their ratio (below 1: ours is faster), and the same of the least of all runs. Of several numbers of threads,
all are taken in the same rounds, and how much faster each side is than with the first number is printed too.
"""

import pathlib
import statistics
import tempfile

from latency_cases import arguments, in_turn, ours, peer, prepared


def main():
    options = arguments(__doc__, "program")
    for case in options.cases:
        with tempfile.TemporaryDirectory() as temporary:
            model, arrays = prepared(case, options.program, options.data, pathlib.Path(temporary))
            commands = {"ours": ours(options.program, model, arrays), "onnxruntime": peer("onnxruntime", model, arrays)}
            results, failures = in_turn(commands, options.threads, options.rounds)
        for failure in failures.values():
            raise failure
        first = None
        for count in options.threads:
            a, b = (statistics.median(r["p50_ms"] for r in results[side, count]) for side in commands)
            least_a, least_b = (min(r["min_ms"] for r in results[side, count]) for side in commands)
            first = first or (a, b)
            line = f"{case:<20} ours {a:9.3f} ms   onnxruntime {b:9.3f} ms   ratio {a / b:5.2f}"
            line += f"   least {least_a:9.3f} and {least_b:9.3f} ms   ratio {least_a / least_b:5.2f}"
            if len(options.threads) > 1:
                line += f"   threads {count}   faster by {first[0] / a:5.2f} and {first[1] / b:5.2f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
