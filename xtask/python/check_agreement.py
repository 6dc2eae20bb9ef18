"""Holds the checker against onnx.checker on broken models: check_agreement.py PROGRAM CASES ROOT KNOWN

PROGRAM is the example `check` of onnx-ir, CASES the folder of the node tests, KNOWN the list of differences with
reasons. Each model is changed in one way (`mutations`); what onnx.checker refuses must be refused here, by a finding that
names the node or value, and what it takes must be valid here. Both levels are held: the rules alone, and with
shape inference (`full_check`, `--facts`). What only inference here finds must be confirmed by onnxruntime, or be listed.

Models: the node tests and the models of old opsets in the package, each with a few mutations by chance (seed 0), so that every mutation meets about a hundred; the
whole models, large weights made inputs, with every mutation; random graphs of operators with a few. Prints the
differences, then counts and `N passed, N failed`, counted by mutated model and level.
"""

import collections
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import onnx

import mutations
import random_graphs
import sources
from known import Known
from workers import ENDED, alone

PER_MODEL = 4
RANDOM_GRAPHS = 300
# Weights beyond this number of bytes become inputs, so that a mutated copy is small.
LARGE = 1 << 12
LEVELS = {"rules": ([], False), "facts": (["--facts"], True)}


def main():
    program, cases, root, known = sys.argv[1:]
    known = Known(known)
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        expected = {name: names for name, names in write(folder, cases, root)}
        for level, (flags, full_check) in LEVELS.items():
            judged = verdicts(program, flags, folder)
            if sorted(path.name for path, *_ in judged) != sorted(expected):
                raise SystemExit(f"{level}: the program judged {len(judged)} of {len(expected)} models")
            for path, verdict, findings in judged:
                reason = alone(refusal, str(path), full_check)
                kind = path.stem.split("--")[1]
                excuses, problem = judge(kind, verdict, findings, reason, expected[path.name], full_check)
                if problem and full_check and verdict == "invalid" and not reason and is_confirmed(path, findings):
                    counts["passed"] += 1
                    counts["confirmed"] += 1
                elif problem and any(listed(excuse, path.stem, known) for excuse in excuses):
                    counts["known"] += 1
                elif problem:
                    counts["failed"] += 1
                    print(f"FAILED: {level}: {path.stem}: {problem} {excuses}")
                else:
                    counts["passed"] += 1
                    counts["refused" if reason else "taken"] += 1
    for problem in known.problems():
        print(f"FAILED: {problem}")
        counts["failed"] += 1
    print(f"{len(expected)} models with {len(mutations.MUTATIONS)} mutations, on {len(LEVELS)} levels: both refuse "
          f"{counts['refused']}, both take {counts['taken']}, {counts['confirmed']} that only inference refuses are refused by "
          f"onnxruntime, {counts['known']} differ for a listed reason:")
    print(*known.counts(), sep="\n")
    print(f"{counts['passed']} passed, {counts['failed']} failed")


def listed(excuse, model, known):
    """Whether every part of the excuse is listed, for all models or this one; counts them if so."""
    parts = [next((text for text in (part, f"{part} {model}") if known.key_of(text)), None) for part in excuse]
    return None not in parts and all([known.excuses(text) for text in parts])


def write(folder, cases, root):
    """Writes mutated models; their file names and what a finding must name."""
    rng = random.Random(0)
    for name, case in sources.cases(cases):
        yield from mutated(folder, name, onnx.load(case / "model.onnx"), rng, PER_MODEL)
    for path in sources.whole_models(root):
        yield from mutated(folder, path.stem, small(onnx.load(path)), rng, len(mutations.MUTATIONS))
    for seed in range(RANDOM_GRAPHS):
        model = random_graphs.build(seed)
        if model:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
            if refusal(model, full_check=False):
                continue  # A shape that is known to neither, which onnx asks of outputs.
            yield from mutated(folder, f"random_{seed}", model, rng, PER_MODEL)


def small(model):
    """The model with its large weights as inputs."""
    large = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) > LARGE]
    listed = {value.name for value in model.graph.input}
    for tensor in large:
        if tensor.name not in listed:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            model.graph.input.append(info)
        model.graph.initializer.remove(tensor)
    return model


def mutated(folder, name, model, rng, count):
    for mutation in rng.sample(mutations.MUTATIONS, count):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        names = mutation(copy, rng)
        if names is not None:
            file = f"{name}--{mutation.__name__}.onnx"
            (folder / file).write_bytes(copy.SerializeToString())
            yield file, names


def verdicts(program, flags, folder):
    """What the program says of each model: path, verdict, findings."""
    done = subprocess.run([program, *flags, folder], capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1 where a model is invalid.
        raise SystemExit(f"the program ended with {done.returncode}: {done.stderr[-2000:]}")
    found = []
    for line in done.stdout.splitlines():
        if line.startswith("  "):
            found[-1][2].append(line.strip())
        else:
            verdict, path = line.split("\t")
            found.append((pathlib.Path(path), verdict, []))
    return found


def refusal(path, full_check):
    """Why onnx.checker refuses the model, in one line; None where it does not."""
    try:
        onnx.checker.check_model(path, full_check=full_check)
    except Exception as error:  # ValidationError, InferenceError, and what its parser throws.
        return " ".join(str(error).split())[:300] or type(error).__name__
    return None


def judge(kind, verdict, findings, reason, names, full_check):
    """Sets of keys, one of which must be listed for the difference, and the difference; None where there is none."""
    errors = [finding for finding in findings if finding.startswith("error")]
    warnings = [finding for finding in findings if finding.startswith("warning")]
    if reason == ENDED:
        return [{f"ended/{kind}"}], f"onnx ended its process; here {verdict}: {findings[:2]}"
    if verdict != "invalid" and reason:
        # A warning about something else does not excuse that nothing was said of the change.
        rules = [{f"warns/{rule(finding)}"} for finding in warnings if not names or is_named(names, [finding])]
        return [{f"looser/{kind}"}, *rules], f"refused by onnx: {reason}; here {findings[:2]}"
    if verdict == "invalid" and not reason:
        rules = {rule(finding) for finding in errors}
        return [{f"stricter/{name}/{kind}" if name == "load" else f"stricter/{name}" for name in rules}], f"taken by onnx; here {errors[:2]}"
    # What inference finds is found at any node behind the change, by both.
    if verdict == "invalid" and names and not full_check and not is_named(names, errors):
        return [], f"no finding names one of {names[:3]}: {errors[:2]}"
    return [], None


def is_named(names, findings):
    """Whether a finding holds one of the names as a word."""
    patterns = [rf"(?<![\w]){re.escape(name)}(?![\w])" for name in names if name]
    return any(re.search(pattern, finding) for pattern in patterns for finding in findings)


def is_confirmed(path, findings):
    """Whether onnxruntime, on zeros, refuses an operator that was found fault with, or gives outputs of other sizes than
    the model declares."""
    model = onnx.load(path)
    if not all(value.type.HasField("tensor_type") for value in model.graph.input):
        return False
    found = alone(random_graphs.run, model.SerializeToString(), random_graphs.feeds(model))
    if isinstance(found, str):
        operators = re.findall(r"\((\w+)\):", " ".join(findings))
        return "NOT_IMPLEMENTED" not in found and any(operator in found for operator in operators)
    return any(contradicts(value.type.tensor_type, array) for value, array in zip(model.graph.output, found))


def contradicts(declared, array):
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in declared.shape.dim]
    if not declared.HasField("shape") or not hasattr(array, "shape"):
        return False
    return len(sizes) != array.ndim or any(size not in (None, found) for size, found in zip(sizes, array.shape))


def rule(finding):
    return re.search(r"\[([\w-]+)\]", finding).group(1)


if __name__ == "__main__":
    main()
