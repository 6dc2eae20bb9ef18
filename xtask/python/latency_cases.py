"""What latencies are taken on: cases by name, the files and the arrays of each, and processes that time it in turn."""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np

from latency_peer import session

ROUNDS, SECONDS, RUNS = 5, 1, 400
PEER = pathlib.Path(__file__).parent / "latency_peer.py"
# Made by a script beside the data pack, with random weights.
ANCHORS = ("resnet50", "mobilenetv2")
FLOAT = {"resnet8": ("resnet8_cifar10", {}), "resnet_large": ("resnet_large_cifar10", {}), "dscnn": ("dscnn_kws", {}),
         "ultraface": ("ultraface_rfb_320", {}), "magika": ("magika_standard_v3_3", {}), "silero": ("silero_vad", {}),
         "minilm_1": ("minilm_l6_v2", {"sequence": 1}), "minilm_16": ("minilm_l6_v2", {"sequence": 16}),
         "minilm_128": ("minilm_l6_v2", {"sequence": 128}), **{name: (name, {}) for name in ANCHORS}}
STATIC = {f"{name}_int8": name for name in ("resnet8", "resnet_large", "dscnn", "minilm_16", *ANCHORS)}
DYNAMIC = {"minilm_16_dynamic": "minilm_16", "minilm_128_dynamic": "minilm_128"}
# Weights of 4 bits; the `a8` ones at accuracy level 4, at which both round activations to 8 bits.
BLOCKS = {"minilm_1_w4": "minilm_1", "minilm_16_w4": "minilm_16", "minilm_128_w4": "minilm_128",
          "minilm_16_w4a8": "minilm_16", "minilm_128_w4a8": "minilm_128"}
KINDS = {"f32": FLOAT, "int8": {**STATIC, **DYNAMIC}, "4 bits": BLOCKS}
SOURCES = {**{name: name for name in FLOAT}, **STATIC, **DYNAMIC, **BLOCKS}


class Failed(SystemExit):
    """A process that ended badly; what it said last."""


def arguments(about, *programs):
    """The command line: programs, the data pack, numbers of threads, rounds and cases."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in [*programs, "data"]:
        parser.add_argument(name, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--threads", type=counts, default=[1], metavar="N[,N...]")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_intermixed_args()
    unknown = [case for case in options.cases if case not in SOURCES]
    if unknown or options.rounds < 1 or min(options.threads) < 1:
        parser.error(f"counts are 1 or more, cases are {' '.join(SOURCES)}; found {' '.join(unknown) or 'a count below 1'}")
    if not options.cases:
        has_anchors = anchor_script(options.data).exists()
        options.cases = [case for case, source in SOURCES.items() if has_anchors or source not in ANCHORS]
        if not has_anchors:
            print(f"without {', '.join(ANCHORS)}: {anchor_script(options.data)} is not there", file=sys.stderr)
    return options


def counts(text):
    return [int(count) for count in text.split(",")]


def anchor_script(data):
    return data.parent / "tools/make_anchor_models.py"


def anchors(program, data):
    """The folder of the anchors, in the build folder that the program lies in; makes them on first use."""
    folder = program.parent.parent / "anchor-models"
    if not all((folder / f"{name}.onnx").exists() for name in ANCHORS):
        output_of([sys.executable, anchor_script(data), folder])
    return folder


def shapes(source, session_inputs, dims):
    fixed = {"input": [1, 512], "state": [2, 1, 128], "sr": []} if source == "silero" else {}
    return {i.name: fixed.get(i.name, [d if isinstance(d, int) else dims.get(d, 1) for d in i.shape]) for i in session_inputs}


def feeds(source, session_inputs, dims):
    """Made-up inputs of the right types, the same for all."""
    random, types = np.random.default_rng(0), {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    made = {}
    for info, shape in zip(session_inputs, shapes(source, session_inputs, dims).values()):
        dtype = types[info.type]
        if info.name == "sr":
            made[info.name] = np.array(16000, np.int64)
        elif dtype != np.float32:
            made[info.name] = np.ones(shape, dtype)
        elif source in ANCHORS:
            made[info.name] = random.standard_normal(shape, np.float32)
        else:
            made[info.name] = (random.random(shape) * 100).astype(np.float32)
    return made


def prepared(case, program, data, folder):
    """The file of a case and the folder of its arrays, both made in `folder` where they are not there yet."""
    source = SOURCES[case]
    name, dims = FLOAT[source]
    model = (anchors(program, data) if source in ANCHORS else data / "models") / f"{name}.onnx"
    if case != source:
        model = quantized(program, case, model, data, folder)
    arrays = folder / "inputs"
    arrays.mkdir()
    for name, array in feeds(source, session(model, 1).get_inputs(), dims).items():
        np.save(arrays / f"{name}.npy", array)
    return model, arrays


def quantized(program, case, model, data, folder):
    out = folder / f"{case}.onnx"
    command = [program, "quantize", model, "-o", out]
    if case in DYNAMIC:
        command += ["--mode", "dynamic"]
    elif case in BLOCKS:
        command += ["--mode", "weight-only", "--bits", 4]
    elif STATIC[case] in ANCHORS:
        np.save(folder / "images.npy", np.random.default_rng(1).standard_normal((16, 3, 224, 224), np.float32))
        command += ["--calib", folder / "images.npy"]
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


def ours(program, model, arrays):
    """The command that times our run of a model, but for its last word, the number of threads."""
    command = [program, "bench", model, "--json", "--max-seconds", SECONDS, "--runs", RUNS]
    for file in sorted(arrays.glob("*.npy")):
        command += ["--input", f"{file.stem}={file}"]
    return [*command, "--threads"]


def peer(name, model, arrays, program=(sys.executable, PEER)):
    """The same for a peer that `program` knows."""
    return [*program, name, model, arrays, SECONDS, RUNS]


def output_of(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip() or f"ended with {done.returncode}"
        raise Failed(f"{' '.join(map(str, command))}: {said}")
    return done.stdout


def in_turn(commands, threads, rounds):
    """Times each command of a dictionary in fresh processes in turn, with each number of threads in each round.

    Gives the results of all rounds by name and number of threads, and by name what a process said that failed, which is not
    tried again.
    """
    results, failures = {}, {}
    for _ in range(rounds):
        for count in threads:
            for name, command in commands.items():
                if name in failures:
                    continue
                try:
                    results.setdefault((name, count), []).append(json.loads(output_of([*command, count])))
                except Failed as failure:
                    failures[name] = failure
    return results, failures
