"""Holds the checker and the writer of onnx-ir against onnx.checker, model by model.

    file_agreement.py VERDICTS

VERDICTS is what the example `resave` printed: a line `verdict<TAB>model<TAB>saved copy` for each
model. A model passes when both checkers agree on it and, where it is valid, onnx.checker takes
the saved copy as well. Prints the disagreements, then `N passed, N failed`.
"""

import collections
import pathlib
import sys

import onnx


def main():
    counts = collections.Counter()
    for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
        verdict, model, saved = line.split("\t")
        problem = disagreement(verdict, model, saved)
        counts["failed" if problem else "passed"] += 1
        if problem:
            print(f"{model}: {problem}")
    print(f"{counts['passed']} passed, {counts['failed']} failed")


def disagreement(verdict, model, saved):
    """What the two sides disagree on, or None."""
    reason = refusal(model)
    if verdict == "invalid":
        return None if reason else "refused here, valid for onnx.checker"
    if reason:
        return f"valid here, refused by onnx.checker: {reason}"
    reason = refusal(saved)
    return f"the saved copy is refused by onnx.checker: {reason}" if reason else None


def refusal(path):
    """Why onnx.checker refuses the file, in one line; None where it does not."""
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        return str(error).strip().splitlines()[0]
    return None


main()
