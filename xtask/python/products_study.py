"""Matrix products beside ONNX Runtime: products_study.py PROGRAM DATA [--threads N] [--rounds N] [SHAPE ...]

Files of one `MatMul` with constant weights: in f32, and between `DequantizeLinear` and `QuantizeLinear` with u8 and with i8 activations
(i8 weights, one scale; the result is in 8 bits as well). Both run in fresh processes in turn; GFLOP/s (for bytes GOP/s) of the least of all
runs, a whole `run` of the session. SHAPE is a name or ROWSxDEPTHxCOLUMNS.
"""

import argparse
import pathlib
import tempfile

import numpy as np
import onnx
from latency_cases import in_turn, ours, peer
from onnx import TensorProto, helper, numpy_helper

# Rows, depth, columns: cubes, the convolutions of ResNet-50 and MobileNetV2 as products, layers of a transformer, a vector.
SHAPES = {
    "cube 256": (256, 256, 256), "cube 512": (512, 512, 512), "cube 1024": (1024, 1024, 1024), "cube 2048": (2048, 2048, 2048),
    "resnet50 conv1": (12544, 147, 64), "res2 3x3": (3136, 576, 64), "res3 1x1": (784, 512, 128), "res4 3x3": (196, 2304, 256),
    "res5 1x1": (49, 512, 2048), "mobilenetv2 expand": (12544, 16, 96), "mobilenetv2 project": (784, 192, 32),
    "transformer qkv": (128, 384, 384), "transformer ffn": (128, 384, 1536), "vector": (1, 2048, 1000), "tiny": (32, 32, 32),
}
KINDS = {"f32": None, "u8": np.uint8, "i8": np.int8}


def shape(name):
    if name in SHAPES:
        return name, SHAPES[name]
    try:
        rows, depth, columns = map(int, name.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{name} is neither of {', '.join(SHAPES)} nor ROWSxDEPTHxCOLUMNS") from None
    return name, (rows, depth, columns)


def written(folder, dtype, rows, depth, columns):
    """The file of a product and the folder of its input."""
    random = np.random.default_rng(0)
    if dtype is None:
        kind = TensorProto.FLOAT
        constants = {"w": random.standard_normal((depth, columns)).astype(np.float32)}
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        x = random.standard_normal((rows, depth)).astype(np.float32)
    else:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        low = np.iinfo(dtype).min
        constants = {"w": random.integers(-127, 128, (depth, columns)).astype(np.int8), "w_zero": np.int8(0),
                     "zero": dtype(low + 128), "scale": np.float32(0.02), "w_scale": np.float32(0.01),
                     "y_scale": np.float32(0.03 * np.sqrt(depth))}
        nodes = [helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["a"]),
                 helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["b"]),
                 helper.make_node("MatMul", ["a", "b"], ["c"]),
                 helper.make_node("QuantizeLinear", ["c", "y_scale", "zero"], ["y"])]
        x = random.integers(low, low + 256, (rows, depth)).astype(dtype)
    graph = helper.make_graph(nodes, "product", [helper.make_tensor_value_info("x", kind, [rows, depth])],
                              [helper.make_tensor_value_info("y", kind, [rows, columns])],
                              [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    arrays = folder / "inputs"
    arrays.mkdir()
    np.save(arrays / "x.npy", x)
    return folder / "model.onnx", arrays


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("data", help="not used")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", type=shape)
    options = parser.parse_intermixed_args()
    print("| rows x depth x columns | " + " | ".join(f"{kind}: ours / ONNX Runtime" for kind in KINDS) + " |")
    print("|---|" + "---:|" * len(KINDS))
    for name, (rows, depth, columns) in options.shapes or SHAPES.items():
        cells = []
        for dtype in KINDS.values():
            with tempfile.TemporaryDirectory() as temporary:
                model, arrays = written(pathlib.Path(temporary), dtype, rows, depth, columns)
                commands = {"ours": ours(options.program, model, arrays), "onnxruntime": peer("onnxruntime", model, arrays)}
                results, failures = in_turn(commands, [options.threads], options.rounds)
            for failure in failures.values():
                raise failure
            least = [min(r["min_ms"] for r in results[side, options.threads]) for side in commands]
            cells.append(" / ".join(f"{2e-6 * rows * depth * columns / ms:.1f}" for ms in least))
        print(f"| {name}: {rows} x {depth} x {columns} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
