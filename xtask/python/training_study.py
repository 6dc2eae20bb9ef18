"""Training, ours beside PyTorch: training_study.py PROGRAM DATA [--threads N[,N...]] [--rounds N] [PART ...]

Parts: digits (the demonstration's images: accuracy and time to it), cifar (ResNet-8 from scratch on CIFAR-10, 10 epochs, 3 seeds, both with
SGD 0.9, learning rate 0.1, cosine, batch 128, flip and crop), steps (time of a step of batch 128: whole processes in turn, A B A B ..., the median over all
of the medians of each; PyTorch with channels last).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import training_networks

BATCH = 128
STEPS = 20
ROOT = pathlib.Path(__file__).parent.parent.parent


def train(program, folder, network, data, threads, *settings):
    """One run of the program; its outcome."""
    model = folder / f"{network}.onnx"
    if not model.exists():
        training_networks.write(network, model)
    x, y, *held_out = data
    command = [program, "train", str(model), "-o", str(folder / "trained.onnx"), "--train", str(x), "--labels", str(y),
               "--initialize", "uniform", "--threads", str(threads), "--json", *settings]
    if held_out:
        command += ["--val", str(held_out[0]), "--val-labels", str(held_out[1])]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def digits(program, folder, threads, **_):
    """The embedded digits: records 0 to 1296 train, the others are held out."""
    records = np.frombuffer((ROOT / "crates/modelpress-cli/demo/digits.bin").read_bytes(), np.uint8).reshape(-1, 33)
    pixels = np.stack([records[:, :32] & 15, records[:, :32] >> 4], 2).reshape(-1, 1, 8, 8)
    files = [folder / f"digits_{name}.npy" for name in ("x", "y", "test_x", "test_y")]
    for file, array in zip(files, (pixels[:1297], records[:1297, 32], pixels[1297:], records[1297:, 32])):
        np.save(file, np.ascontiguousarray(array))
    for seed in range(3):
        done = train(program, folder, "digits", files, threads[-1], "--epochs", "25", "--batch", "64", "--optimizer", "adamw",
                     "--lr", "0.004", "--schedule", "one-cycle", "--augment", "crop:1", "--seed", str(seed))
        accuracy = done["epochs"][-1]["validation"][1]["value"]
        print(f"digits, seed {seed}: {100 * accuracy:.2f} % of {done['held_out']} in {done['seconds']:.1f} s, {threads[-1]} threads", flush=True)


def cifar(program, data, folder, threads, **_):
    """ResNet-8 from scratch, ours and PyTorch's in turn."""
    files = [data / f"cifar10/{name}.npy" for name in ("train_x", "train_y", "test_x", "test_y")]
    found = {"ours": [], "PyTorch": []}
    for seed in range(3):
        settings = ["--epochs", "10", "--batch", str(BATCH), "--lr", "0.1", "--layout", "nhwc", "--scale", str(1 / 255),
                    "--mean", "0.5", "--std", "0.25", "--augment", "crop:4", "--augment", "flip", "--seed", str(seed)]
        done = train(program, folder, "resnet8", files, threads[-1], *settings)
        found["ours"].append((100 * done["epochs"][-1]["validation"][1]["value"], done["seconds"]))
        found["PyTorch"].append(peer("cifar", "resnet8", threads[-1], str(data), str(seed)))
        for name, runs in found.items():
            print(f"cifar, seed {seed}: {name} {runs[-1][0]:.2f} % in {runs[-1][1]:.1f} s", flush=True)
    for name, runs in found.items():
        accuracies = [run[0] for run in runs]
        print(f"cifar: {name} {statistics.mean(accuracies):.2f} ± {statistics.stdev(accuracies):.2f} %, "
              f"{statistics.median(run[1] for run in runs):.1f} s")


def steps(program, folder, threads, rounds, **_):
    """Time of a step."""
    random = np.random.default_rng(0)
    print("| network | threads | ours ms | PyTorch ms | ours / PyTorch |\n|---|---:|---:|---:|---:|")
    for network in ("resnet8", "resnet20", "dscnn"):
        _, shape, classes = training_networks.NETWORKS[network]
        files = [folder / f"{network}_x.npy", folder / f"{network}_y.npy"]
        np.save(files[0], random.standard_normal((BATCH * STEPS, *shape)).astype(np.float32))
        np.save(files[1], random.integers(0, classes, BATCH * STEPS))
        for count in threads:
            ours, theirs = [], []
            for _ in range(rounds):
                done = train(program, folder, network, files, count, "--epochs", "1", "--batch", str(BATCH), "--lr", "0.01")
                ours.append(done["step_ms_p50"])
                theirs.append(peer("steps", network, count)[0])
            a, b = statistics.median(ours), statistics.median(theirs)
            print(f"| {network} | {count} | {a:.1f} | {b:.1f} | {a / b:.2f} |", flush=True)


def peer(part, network, threads, *more):
    """PyTorch in a process of its own."""
    command = [sys.executable, __file__, "--peer", part, network, str(threads), *more]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def run_peer(part, network, threads, data=None, seed="0"):
    """What a user of PyTorch writes; prints the result as JSON."""
    import torch

    torch.set_num_threads(int(threads))
    torch.manual_seed(int(seed))
    model = training_networks.module(network)
    loss_of = torch.nn.CrossEntropyLoss()
    started = time.perf_counter()

    def step(optimizer, x, y):
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()

    if part == "steps":
        _, shape, classes = training_networks.NETWORKS[network]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        x = torch.randn(BATCH, *shape).to(memory_format=torch.channels_last)
        y, times = torch.randint(0, classes, (BATCH,)), []
        for _ in range(STEPS):
            begun = time.perf_counter()
            step(optimizer, x, y)
            times.append(1e3 * (time.perf_counter() - begun))
        print(json.dumps([statistics.median(times[1:])]))
        return
    load = lambda name: torch.from_numpy(np.load(pathlib.Path(data) / f"cifar10/{name}.npy"))
    scaled = lambda x: (x.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    x, y, test_x, test_y = scaled(load("train_x")), load("train_y").long(), scaled(load("test_x")), load("test_y").long()
    batches = -(-len(x) // BATCH)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10 * batches)
    for _ in range(10):
        model.train()
        for rows in torch.randperm(len(x)).split(BATCH):
            # Black pixels stand around the image, as in the program.
            padded = torch.nn.functional.pad(x[rows], (4, 4, 4, 4), value=-2.0)
            moves = torch.randint(0, 9, (len(rows), 2))
            cut = torch.stack([p[:, a:a + 32, b:b + 32] for p, (a, b) in zip(padded, moves)])
            flips = torch.rand(len(rows)) < 0.5
            cut[flips] = cut[flips].flip(3)
            step(optimizer, cut.to(memory_format=torch.channels_last), y[rows])
            schedule.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(a).argmax(1) == b).sum().item() for a, b in zip(test_x.split(500), test_y.split(500)))
    print(json.dumps([100 * correct / len(test_y), time.perf_counter() - started]))


def main():
    if sys.argv[1] == "--peer":
        run_peer(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("parts", nargs="*", choices=["digits", "cifar", "steps", []])
    given = parser.parse_intermixed_args()
    parts = {"digits": digits, "cifar": cifar, "steps": steps}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.parts or parts:
            parts[name](program=given.program, data=given.data, folder=pathlib.Path(folder), threads=given.threads, rounds=given.rounds)


if __name__ == "__main__":
    main()
