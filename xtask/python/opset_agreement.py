"""Holds opset conversion against the peers: opset_agreement.py PROGRAM CASES ROOT KNOWN

PROGRAM is the example `convert` of onnx-ir, CASES the folder of the node tests, KNOWN the list of differences with
reasons. Each model goes across each version at which one of its operators changed, upwards to that version, downwards
to the one before it. What is converted must pass onnx.checker and give the original's outputs (in onnxruntime; in
onnx.reference where that lacks the opset or the operator). What is refused must be refused by onnx.version_converter too, or
come out wrong there.

Models: the node tests, the models of old opsets in the package, the whole models, random graphs of operators. Prints the differences, then
counts and `N passed, N failed`, counted by conversion.
"""

import collections
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
import onnx.reference
import onnx.version_converter
from onnx import numpy_helper

import random_graphs
import sources
from known import Known
from ort_session import inputs_for, session

RANDOM_GRAPHS = 300
OLDEST, NEWEST = 7, onnx.defs.onnx_opset_version()
LATEST_OF_ORT = 26
# What onnx.reference says of versions of an operator that it does not have.
NO_REFERENCE = "No implementation for operator"
# A few draws of zeros and ones are equal by chance, so many runs agree before a model is not random.
RUNS_OF_RANDOM = 20


def main():
    program, cases, root, known = sys.argv[1:]
    known = Known(known)
    warnings.simplefilter("ignore")
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        work = list(conversions(folder, cases, root))
        lines = [f"{path}\t{target}\t{copy}" for _, path, target, copy, _ in work]
        (folder / "list").write_text("\n".join(lines))
        printed = subprocess.run([program, folder / "list"], stdout=subprocess.PIPE, text=True, check=True).stdout
        for (name, path, target, copy, original), outcome in zip(work, printed.splitlines(), strict=True):
            problem = judge(original, target, copy, outcome, counts)
            place = f"{name}/{target}"
            is_known = problem and known.excuses(f"{place} {problem}")
            counts["known" if is_known else "failed" if problem else "passed"] += 1
            if problem and not is_known:
                print(f"FAILED: {place} {problem}")
    for problem in known.problems():
        print(f"FAILED: {problem}")
        counts["failed"] += 1
    print(f"{len(work)} conversions: {counts['same outputs']} give the same outputs ({counts['in onnxruntime']} in "
          f"onnxruntime, {counts['in onnx.reference']} in onnx.reference), {counts['not run']} run in neither; "
          f"{counts['refused']} refused; {counts['known']} differ for a listed reason:")
    print(*known.counts(), sep="\n")
    print(f"onnx.version_converter: {counts['only here']} it refuses or gets wrong are right here, {counts['both']} right "
          f"in both; of those refused here it refuses {counts['onnx refused']}, gets {counts['onnx wrong']} wrong, and makes "
          f"{counts['onnx not run']} that neither runtime runs")
    print(f"{counts['passed']} passed, {counts['failed']} failed")


class Original:
    """A model with inputs and what a runtime makes of them."""

    def __init__(self, model, feeds):
        self.model, self.feeds, self.results = model, feeds, {}

    def expected(self, runtime):
        if runtime not in self.results:
            self.results[runtime] = run(runtime, self.model, self.feeds)
        return self.results[runtime]

    def is_random(self, runtime):
        """Whether some of many runs on the same inputs differ."""
        expected = self.expected(runtime)
        return any(not same(expected, run(runtime, self.model, self.feeds)) for _ in range(RUNS_OF_RANDOM))


def conversions(folder, cases, root):
    """(name, path, target, path of the copy, the original) of each conversion."""
    for name, path, original in models(folder, cases, root):
        opset = opset_of(original.model)
        operators = {node.op_type for node in nodes(original.model) if node.domain in ("", "ai.onnx")}
        for target in sorted(targets(operators, opset)):
            yield name, path, target, folder / f"{name}--{target}.onnx", original


def models(folder, cases, root):
    for name, case in sources.cases(cases):
        model = onnx.load(case / "model.onnx")
        if all(value.type.HasField("tensor_type") for value in model.graph.input):
            yield name, case / "model.onnx", Original(model, feeds_of_case(model, case))
    for path in sources.whole_models(root):
        yield path.stem, path, Original(onnx.load(path), inputs_for(path))
    for seed in range(RANDOM_GRAPHS):
        model = random_graphs.build(seed)
        if model:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
            if refusal(model):
                continue
            path = folder / f"random_{seed}.onnx"
            onnx.save(model, path)
            yield path.stem, path, Original(model, random_graphs.feeds(model, seed))


def feeds_of_case(model, case):
    """The inputs of a test; old models list their weights behind them."""
    feeds = {}
    for index, value in enumerate(model.graph.input):
        path = case / f"test_data_set_0/input_{index}.pb"
        if path.is_file():
            feeds[value.name] = numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))
    return feeds


def opset_of(model):
    return next((i.version for i in model.opset_import if i.domain in ("", "ai.onnx")), 1)


def nodes(model):
    graphs = [model.graph]
    for graph in graphs:
        graphs.extend(inner for node in graph.node for inner in random_graphs.subgraphs(node))
    return [node for graph in graphs for node in graph.node] + [n for f in model.functions for n in f.node]


HISTORY = collections.defaultdict(set)
for schema in onnx.defs.get_all_schemas_with_history():
    if schema.domain == "":
        HISTORY[schema.name].add(schema.since_version)


def targets(operators, opset):
    """Just across each version of the operators."""
    crossed = set().union(*(HISTORY[op] for op in operators)) if operators else set()
    return ({v for v in crossed | {OLDEST} if max(opset + 1, OLDEST) <= v <= NEWEST} | {v - 1 for v in crossed if OLDEST < v <= opset})


def judge(original, target, copy, outcome, counts):
    """What is wrong with the conversion; None where nothing is."""
    if outcome != "ok":
        counts["refused"] += 1
        verdict = of_onnx(original, target)
        counts[f"onnx {verdict}"] += 1
        return f"refused: {outcome}; onnx converts it" if verdict == "right" else None
    converted = onnx.load(copy)
    reason = refusal(str(copy))
    if reason:
        return f"onnx.checker refuses it: {reason}"
    runtime, difference = differs(original, converted)
    if difference:
        return f"{difference} in {runtime}"
    counts["same outputs" if runtime else "not run"] += 1
    counts[f"in {runtime}"] += 1
    if runtime:
        counts["both" if of_onnx(original, target) == "right" else "only here"] += 1
    return None


def refusal(model):
    """Why onnx.checker refuses the model; None where it does not."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # ValidationError and InferenceError.
        return " ".join(str(error).split())[:200]
    return None


def of_onnx(original, target):
    """Whether onnx.version_converter refuses, is right or wrong, or makes what is not run."""
    try:
        converted = onnx.version_converter.convert_version(original.model, target)
    except Exception:
        return "refused"
    try:
        onnx.checker.check_model(converted)
    except Exception:
        return "wrong"
    runtime, difference = differs(original, converted)
    return "wrong" if difference else "right" if runtime else "not run"


def differs(original, converted):
    """The runtime that could say, and how the outputs differ."""
    for runtime in ("onnxruntime", "onnx.reference"):
        expected = original.expected(runtime)
        if isinstance(expected, str):
            continue
        found = run(runtime, converted, original.feeds)
        if isinstance(found, str):
            if "NOT_IMPLEMENTED" in found or NO_REFERENCE in found or opset_of(converted) > LATEST_OF_ORT and runtime == "onnxruntime":
                continue
            return runtime, f"not run: {found[:200]}"
        if not same(expected, found):
            if original.is_random(runtime):
                continue
            return runtime, "other outputs"
        return runtime, None
    return None, None


def run(runtime, model, feeds):
    """The outputs, or the reason why there are none."""
    try:
        if runtime == "onnxruntime":
            if opset_of(model) > LATEST_OF_ORT:
                return "later than onnxruntime"
            return session(model.SerializeToString()).run(None, feeds)
        return onnx.reference.ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # Whatever it throws is the reason.
        return " ".join(str(error).split()) or type(error).__name__


def same(a, b):
    if isinstance(a, list) or isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if a is None or b is None:
        return a is b
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind in "fc":
        return np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
    if a.dtype.kind == "V" or a.dtype.name.startswith(("bfloat", "float")):
        return np.allclose(a.astype(np.float32), b.astype(np.float32), rtol=1e-2, atol=1e-3, equal_nan=True)
    return bool((a == b).all())


if __name__ == "__main__":
    main()
