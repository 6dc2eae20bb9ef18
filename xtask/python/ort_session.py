"""Sessions of onnxruntime as all comparisons use them: one thread, the CPU, quiet."""

import numpy as np
import onnxruntime as ort


def session(model, optimized=None):
    """A session of a file or of the bytes of a model."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # Exact integer sums on CPUs without VNNI; its default saturates there.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if optimized:
        options.optimized_model_filepath = str(optimized)
    model = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def inputs_for(path):
    """Random inputs of the declared types (seed 0): symbolic dimensions become 2, sequences 16."""
    rng = np.random.default_rng(0)
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    feeds = {}
    for info in session(path).get_inputs():
        shape = [d if isinstance(d, int) else {"sequence": 16}.get(d, 2) for d in info.shape]
        dtype = types[info.type]
        if info.name == "sr":
            value = np.array(16000, np.int64)
        elif info.name == "attention_mask":
            value = np.ones(shape, dtype)
        elif info.name == "token_type_ids":
            value = np.zeros(shape, dtype)
        elif np.issubdtype(dtype, np.integer):
            value = rng.integers(0, 256, shape).astype(dtype)
        elif info.name == "input" and shape[1:] == [3, 32, 32]:
            value = rng.integers(0, 256, shape).astype(np.float32)
        else:
            value = rng.standard_normal([512 if (info.name, i) == ("input", 1) and len(shape) == 2 else d
                                         for i, d in enumerate(shape)]).astype(np.float32)
        feeds[info.name] = value
    return feeds
