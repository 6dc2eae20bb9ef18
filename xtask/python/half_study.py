"""Models in f16 and bfloat16 beside f32: half_study.py PROGRAM DATA [--threads N[,N...]] [--rounds N] [CASE ...]

The f16 files are made by ONNX Runtime's own converter, the bfloat16 ones by turning every f32 tensor of the file; inputs and outputs
stay f32. Batch 1, all in fresh processes in turn (A B A B ...): the least of all runs, in milliseconds. ONNX Runtime's CPU provider does
not take bfloat16. Errors are those of the first output against ONNX Runtime's in f32: the largest, as a share of the largest number,
and the signal-to-noise ratio in dB.
"""

import pathlib
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latency_cases import FLOAT, arguments, in_turn, ours, output_of, peer, prepared
from latency_peer import session

CASES = ("resnet_large", "ultraface", "resnet50", "mobilenetv2", "minilm_1", "minilm_16", "minilm_128")


def in_f16(source, out):
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), out)


def in_bf16(source, out):
    model = onnx.load(source)
    graph, names = model.graph, {}
    turn = lambda tensor: tensor.CopyFrom(brain(tensor)) if tensor.data_type == TensorProto.FLOAT else None
    for tensor in graph.initializer:
        turn(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                turn(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.BFLOAT16
    stored = {tensor.name for tensor in graph.initializer}
    casts = [[], []]
    for side, values in enumerate((graph.input, graph.output)):
        for value in values:
            if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in stored:
                names[value.name] = inner = f"{value.name}.bf16"
                ends, to = ([value.name], [inner]), TensorProto.BFLOAT16
                if side:
                    ends, to = ([inner], [value.name]), TensorProto.FLOAT
                casts[side].append(helper.make_node("Cast", *ends, to=to))
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
    nodes = [*casts[0], *graph.node, *casts[1]]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.save(model, out)


def brain(tensor):
    """The tensor rounded to bfloat16, halves to even."""
    bits = numpy_helper.to_array(tensor).astype(np.float32).view(np.uint32)
    upper = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    made = TensorProto(data_type=TensorProto.BFLOAT16, dims=tensor.dims, name=tensor.name)
    made.raw_data = upper.tobytes()
    return made


def first_output(program, model, arrays, folder):
    command = [program, "run", model, "--output-dir", folder]
    for file in sorted(arrays.glob("*.npy")):
        command += ["--input", f"{file.stem}={file}"]
    output_of(command)
    name = onnx.load(model, load_external_data=False).graph.output[0].name
    return np.load(next(folder.glob("*.npy")) if len(list(folder.glob("*.npy"))) == 1 else folder / f"{name}.npy")


def errors(found, expected):
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    noise = max(np.square(found - expected).sum(), 1e-300)
    largest = np.abs(expected).max()
    return f"{np.abs(found - expected).max() / largest:.1e} {10 * np.log10(np.square(expected).sum() / noise):5.1f} dB"


def study(case, options, folder):
    model, arrays = prepared(case, options.program, options.data, folder)
    files = {"f32": model, "f16": folder / "f16.onnx", "bf16": folder / "bf16.onnx"}
    in_f16(model, files["f16"])
    in_bf16(model, files["bf16"])
    inputs = {file.stem: np.load(file) for file in arrays.glob("*.npy")}
    expected = session(model, 1).run(None, inputs)[0]
    commands = {}
    for kind, file in files.items():
        commands["ours", kind] = ours(options.program, file, arrays)
        if kind != "bf16":
            commands["onnxruntime", kind] = peer("onnxruntime", file, arrays)
    results, failures = in_turn(commands, options.threads, options.rounds)
    for failure in failures.values():
        print(failure)
    for count in options.threads:
        least = {key: min(r["min_ms"] for r in runs) for (key, n), runs in results.items() if n == count}
        print(f"{case:<13} threads {count}", *(f"  {side} {kind} {ms:8.3f} ms" for (side, kind), ms in least.items()), flush=True)
    for kind, file in files.items():
        made = folder / f"outputs-{kind}"
        made.mkdir()
        line = f"{'':<13} {kind:<5} ours {errors(first_output(options.program, file, arrays, made), expected)}"
        if kind == "f16":
            line += f"   onnxruntime {errors(session(file, 1).run(None, inputs)[0], expected)}"
        print(line, flush=True)


def main():
    options = arguments(__doc__, "program")
    for case in options.cases if len(options.cases) < len(FLOAT) else CASES:
        with tempfile.TemporaryDirectory() as temporary:
            study(case, options, pathlib.Path(temporary))


if __name__ == "__main__":
    main()
