"""Where the models lie that are held against the peers."""

import os
import pathlib

import onnx


def data_folder(root):
    """The data pack: named by MODELPRESS_DATA, or ../shared/data beside the repository; it may be missing."""
    return pathlib.Path(os.environ.get("MODELPRESS_DATA", pathlib.Path(root).parent / "shared" / "data"))


def whole_models(root):
    """Models of the data pack, where it is there, and the one embedded in the program's demo."""
    models = sorted((data_folder(root) / "models").glob("*.onnx"))
    if not models:
        print("the data pack is not there: only the model in the repository is held against the peers")
    return models + sorted((pathlib.Path(root) / "crates").glob("**/demo/*.onnx"))


def cases(folder):
    """Models with inputs and outputs: the backend node tests in `folder`, and the models of old opsets in the package.

    A pair of name and folder for each.
    """
    paths = sorted(pathlib.Path(folder).glob("*/model.onnx"))
    yield from ((path.parent.name, path.parent) for path in paths)
    data = pathlib.Path(onnx.__file__).parent / "backend/test/data"
    for kind in ("pytorch-converted", "pytorch-operator", "simple"):
        for path in sorted((data / kind).glob("*/model.onnx")):
            yield f"{kind}-{path.parent.name}", path.parent
