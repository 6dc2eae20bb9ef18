"""Writes the backend node tests of the pinned onnx package.

    node_cases.py OUT

Each case is a folder OUT/<name> with model.onnx and test_data_set_<i>/{input,output}_<j>.pb, as
the ONNX project ships them. The random inputs are seeded.
"""

import pathlib
import sys
import warnings

import numpy
import onnx
from onnx import TensorProto, numpy_helper


def main():
    out = pathlib.Path(sys.argv[1])
    warnings.simplefilter("ignore")
    numpy.random.seed(0)
    from onnx.backend.test.case.node import collect_testcases

    count = 0
    for case in collect_testcases():
        folder = out / case.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(case.model.SerializeToString())
        graph = case.model.graph
        for number, (inputs, outputs) in enumerate(case.data_sets):
            data = folder / f"test_data_set_{number}"
            data.mkdir(exist_ok=True)
            for kind, values, infos in (("input", inputs, graph.input), ("output", outputs, graph.output)):
                for place, (value, info) in enumerate(zip(values, infos)):
                    message = to_message(value, info).SerializeToString()
                    (data / f"{kind}_{place}.pb").write_bytes(message)
        count += 1
    print(f"{count} node cases in {out}")


def to_message(value, info):
    kind = info.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list(value, info.name)
    if kind == "optional_type":
        return numpy_helper.from_optional(value, info.name)
    if kind == "map_type":
        return numpy_helper.from_dict(value, info.name)
    if isinstance(value, TensorProto):
        return value
    return numpy_helper.from_array(numpy.asarray(value), info.name)


main()
