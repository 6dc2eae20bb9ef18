"""Holds shape inference against onnx.shape_inference: infer_agreement.py PROGRAM CASES ROOT KNOWN

PROGRAM is the example `infer` of onnx-ir, CASES the folder of the node tests, KNOWN the list of differences with
reasons. What onnx (strict, with data propagation) knows of a value's type and shape must be known here too, and
equally. Declared types of outputs and inner values are taken away first, in subgraphs as well.

Models: the node tests and the models of old opsets in the package, each also with symbols for all sizes of its inputs, with its integer inputs as constants, and
with both; the whole models; random graphs of operators (seeds 0, 1, ...). In random graphs onnxruntime has the last
word: it must refuse a node that is refused here, sizes that differ from onnx's must be those of its run, and so must be
all others of a graph that runs. Prints the differences, then how much was compared and `N passed, N failed`, counted by
model.
"""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

import onnx
from onnx import TensorProto

import random_graphs
import sources
from known import Known
from random_graphs import shown

RANDOM_GRAPHS = 1500
# Fewer runs of them in onnxruntime than this say that something else is wrong.
RUNS = 850
NOT_INFERRED = "not inferred"
INTEGERS = (TensorProto.INT64, TensorProto.INT32)


def main():
    program, cases, root, known = sys.argv[1:]
    known = Known(known)
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        bare, inferred = pathlib.Path(temporary) / "bare", pathlib.Path(temporary) / "inferred"
        bare.mkdir()
        inferred.mkdir()
        for name, model in models(cases, root):
            onnx.save(without_types(model), bare / f"{name}.onnx")
        printed = subprocess.run([program, bare, inferred], capture_output=True, text=True, check=True).stdout
        outcomes = dict(line.split("\t", 1) for line in printed.splitlines())
        for path in sorted(bare.glob("*.onnx")):
            differences = {}
            for place, difference in compare(path, inferred / path.name, outcomes[path.name], counts):
                if difference.startswith(NOT_INFERRED) or not known.excuses(f"{path.stem}/{place}"):
                    differences[place] = difference
            counts["failed" if differences else "passed"] += 1
            for place, difference in list(differences.items())[:3]:
                print(f"FAILED: {path.stem}/{place}: {difference}")
    for problem in known.problems():
        print(f"FAILED: {problem}")
        counts["failed"] += 1
    if counts["runs"] < RUNS:
        print(f"FAILED: only {counts['runs']} random graphs run in onnxruntime: {dict(counts)}")
        counts["failed"] += 1
    print(f"{counts['models']} models, {counts['values']} values, {counts['dims']} sizes known to onnx; {counts['ours']} "
          f"sizes known only here; {counts['both refuse']} models refused by both; {sum(known.used.values())} known differences:")
    print(*known.counts(), sep="\n")
    print(f"random graphs in onnxruntime: {counts['runs']} run, {counts['not run']} do not, {counts['run dims']} sizes the same; "
          f"{counts['invalid']} refused as here; {counts['settled']} differences from onnx settled")
    print(f"{counts['passed']} passed, {counts['failed']} failed")


def models(cases, root):
    for name, folder in sources.cases(cases):
        model = onnx.load(folder / "model.onnx")
        yield name, model
        constant = with_integer_constants(model, folder)
        if constant:
            yield f"{name}--constant", constant
            yield f"{name}--constant-symbolic", with_symbols(constant)
        yield f"{name}--symbolic", with_symbols(model)
    for path in sources.whole_models(root):
        yield path.stem, onnx.load(path)
    for seed in range(RANDOM_GRAPHS):
        model = random_graphs.build(seed)
        if model:
            yield f"random_{seed}", model


def copy_of(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def with_symbols(model):
    """Every size of an input is a symbol of its own size: equal sizes stay equal, ones stay."""
    model = copy_of(model)
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value > 1:
                dim.dim_param = f"d{dim.dim_value}"
    return model


def with_integer_constants(model, folder):
    """Integer tensor inputs become initializers that hold the test's data; None where there are none."""
    model = copy_of(model)
    kept, moved = [], False
    for index, value in enumerate(model.graph.input):
        path = folder / "test_data_set_0" / f"input_{index}.pb"
        if value.type.tensor_type.elem_type in INTEGERS and path.is_file():
            tensor = onnx.TensorProto.FromString(path.read_bytes())
            tensor.name = value.name
            model.graph.initializer.append(tensor)
            moved = True
        else:
            kept.append(value)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 4)  # Before, initializers were inputs.
    return model if moved else None


def without_types(model):
    """A copy without the declared types of outputs and inner values."""
    model = copy_of(model)
    for graph in graphs(model.graph):
        del graph.value_info[:]
        for value in graph.output:
            value.ClearField("type")
    for function in model.functions:
        del function.value_info[:]
    return model


def graphs(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)


def compare(path, ours, outcome, counts):
    """Pairs of a value and what onnx knows of it and the inferred copy does not say; the first is the cause of others."""
    model = onnx.load(path)
    try:
        theirs = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        counts["both refuse"] += outcome != "ok"
        return [("", f"refused by onnx: {' '.join(str(error).split())[:300]}")] if outcome == "ok" else []
    if not ours.is_file():
        return [("", f"{NOT_INFERRED}: {outcome}")]
    counts["models"] += 1
    is_random = path.stem.startswith("random")
    run = random_graphs.Run(theirs) if is_random else None
    refused = re.findall(r"node node_(v\d+) ", outcome)
    if is_random and refused and run.refuses(refused[:1]):
        counts["invalid"] += 1
        return []
    inferred = onnx.load(ours).graph
    known = types_by_place(inferred)
    differences = []
    for place, (expected, node) in types_by_place(theirs.graph).items():
        found, _ = known.get(place, (onnx.TypeProto(), None))
        difference = worse(found, expected, counts)
        if difference and is_random and run.has_shape(place, found.tensor_type):
            counts["settled"] += 1
        elif difference:
            differences.append((place, f"{difference}; {described(node, theirs.graph)}; {outcome}"))
    if is_random and not differences:
        differences += run.disagreements(inferred, counts)
    return differences


def described(node, graph):
    """The node with the types of its inputs."""
    if node is None:
        return ""
    types = {value.name: value.type.tensor_type for value in [*graph.input, *graph.value_info, *graph.output]}
    types |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    inputs = [types.get(name) for name in node.input]
    inputs = [str(i if isinstance(i, list) or i is None else shown(i)) for i in inputs]
    attributes = [f"{a.name}={onnx.helper.get_attribute_value(a)}" for a in node.attribute if a.type < 4 or a.type == 7]
    return f"{node.op_type}({', '.join(inputs)}) {' '.join(attributes)}"


def types_by_place(graph, place=""):
    """Types and writers of all values that nodes write, in their order; values of subgraphs below node and attribute."""
    declared = {value.name: value.type for value in [*graph.value_info, *graph.output] if value.type.WhichOneof("value")}
    types = {}
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                types |= types_by_place(inner, f"{place}{node.output[0]}/{attribute.name}/")
        types |= {place + name: (declared[name], node) for name in node.output if name in declared}
    return types


def worse(ours, theirs, counts):
    """What `theirs` says and `ours` does not; None where `ours` says it all."""
    kind = theirs.WhichOneof("value")
    if kind is None:
        return None
    counts["values"] += 1
    if ours.WhichOneof("value") != kind:
        return f"{kind} in onnx, {ours.WhichOneof('value')} here"
    ours, theirs = getattr(ours, kind), getattr(theirs, kind)
    if kind in ("sequence_type", "optional_type"):
        return worse(ours.elem_type, theirs.elem_type, counts)
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return None
    if theirs.elem_type and ours.elem_type != theirs.elem_type:
        return f"element type {theirs.elem_type} in onnx, {ours.elem_type} here"
    if not theirs.HasField("shape"):
        counts["ours"] += sum(map(is_known, ours.shape.dim))
        return None
    if not ours.HasField("shape") or len(ours.shape.dim) != len(theirs.shape.dim):
        return f"shape {shown(theirs)} in onnx, {shown(ours)} here"
    for here, there in zip(ours.shape.dim, theirs.shape.dim):
        if not is_known(there):
            counts["ours"] += is_known(here)
            continue
        counts["dims"] += 1
        same = here.dim_value == there.dim_value and here.dim_param == there.dim_param
        narrower = there.dim_param and here.HasField("dim_value")
        if not same and not narrower:
            return f"shape {shown(theirs)} in onnx, {shown(ours)} here"
    return None


def is_known(dim):
    """Symbols that onnx made up say nothing."""
    return dim.HasField("dim_value") or bool(dim.dim_param) and not dim.dim_param.startswith("unk__")


if __name__ == "__main__":
    main()
