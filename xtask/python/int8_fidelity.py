"""How far int8 files of models without labelled data stay from the float model: int8_fidelity.py PROGRAM DATA [magika|ultraface|silero ...]

    magika     the bytes of files of this repository and of /usr/share: 200 calibrate, 500 others are compared
    ultraface  CIFAR-10 images, 4 x 3 of them side by side scaled to 320 x 240: natural textures, no faces
    silero     speech synthesized by espeak-ng where it is installed, else tones and noise: no recordings

Every int8 file runs in ONNX Runtime with exact integer sums. PROGRAM is a release build of `modelpress`, DATA the data pack.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import wave

import numpy as np
import onnxruntime as ort

PROGRAM, DATA = sys.argv[1], pathlib.Path(sys.argv[2])
ROOT = pathlib.Path(__file__).resolve().parents[2]


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def quantize(model, out, *arguments):
    done = subprocess.run([PROGRAM, "quantize", str(model), "-o", str(out), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        print("  ", " ".join(map(str, arguments)), "->", done.stderr.strip())
        return None
    print("  ", " ".join(map(str, arguments[-4:])), "->", done.stdout.strip().splitlines()[-1])
    return session(out)


def sqnr(reference, found):
    return 10 * np.log10(np.square(reference).sum() / max(np.square(reference - found).sum(), 1e-30))


def file_bytes(path):
    """The first and the last 1024 bytes, 256 where a file is shorter."""
    data = np.frombuffer(path.read_bytes(), np.uint8).astype(np.int32)
    row = np.full(2048, 256, np.int32)
    begin, end = data[:1024], data[-1024:]
    row[:len(begin)] = begin
    row[2048 - len(end):] = end
    return row


def magika(folder):
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    paths = [ROOT / p for p in tracked]
    paths += [p for p in sorted(pathlib.Path("/usr/share").rglob("*")) if p.is_file() and not p.is_symlink()]
    paths = [p for p in paths if 16 <= p.stat().st_size < 1 << 20]
    # At most 12 of one suffix, so that no kind of file stands for all.
    kinds, chosen = {}, []
    for p in np.random.default_rng(0).permutation(np.array(paths, object)):
        kinds[p.suffix] = kinds.get(p.suffix, 0) + 1
        if kinds[p.suffix] <= 12:
            chosen.append(p)
    rows = np.stack([file_bytes(p) for p in chosen[:700]])
    np.save(folder / "calibration.npy", rows[:200])
    held_out = rows[200:]
    model = DATA / "models/magika_standard_v3_3.onnx"
    infer = lambda s: np.concatenate([s.run(None, {"bytes": held_out[i:i + 20]})[0] for i in range(0, len(held_out), 20)])
    reference = infer(session(model))
    print(f"magika: {len(held_out)} files, {len(set(reference.argmax(1)))} labels, {len(kinds)} suffixes")
    for variant in (["--mode", "dynamic"], ["--method", "mse", "--rounding", "calibrated"], ["--method", "mse", "--rounding", "nearest"],
                    ["--method", "minmax", "--rounding", "nearest"]):
        calibration = [] if "dynamic" in variant else ["--calib", folder / "calibration.npy", "--batch", 1]
        if s := quantize(model, folder / "int8.onnx", *calibration, *variant):
            found = infer(s)
            print(f"      same label {100 * (found.argmax(1) == reference.argmax(1)).mean():.2f} %, SQNR {sqnr(reference, found):.1f} dB")


def ultraface(folder):
    images = np.load(DATA / "cifar10/test_x.npy", mmap_mode="r")

    def picture(i):
        tiles = np.array(images[12 * i:12 * i + 12]).reshape(3, 4, 32, 32, 3)
        whole = tiles.transpose(0, 2, 1, 3, 4).reshape(96, 128, 3).astype(np.float32)
        y, x = np.linspace(0, 95, 240), np.linspace(0, 127, 320)
        y0, x0 = np.minimum(y.astype(int), 94), np.minimum(x.astype(int), 126)
        dy, dx = (y - y0)[:, None, None], (x - x0)[None, :, None]
        at = lambda a, b: whole[a][:, b]
        rows = lambda b: at(y0, b) * (1 - dy) + at(y0 + 1, b) * dy
        return ((rows(x0) * (1 - dx) + rows(x0 + 1) * dx).transpose(2, 0, 1) - 127) / 128

    all_pictures = np.stack([picture(i) for i in range(60)]).astype(np.float32)
    np.save(folder / "calibration.npy", all_pictures[:40])
    model = DATA / "models/ultraface_rfb_320.onnx"
    infer = lambda s: [np.concatenate(v) for v in zip(*[s.run(None, {"input": x[None]}) for x in all_pictures[40:]])]
    scores, boxes = infer(session(model))
    print("ultraface: 20 pictures of natural images without faces; 40 others calibrate")
    for variant in (["--method", "mse", "--rounding", "calibrated"], ["--method", "mse", "--rounding", "nearest"],
                    ["--method", "minmax", "--rounding", "nearest"]):
        if s := quantize(model, folder / "int8.onnx", "--calib", folder / "calibration.npy", *variant):
            found_scores, found_boxes = infer(s)
            print(f"      scores: SQNR {sqnr(scores, found_scores):.1f} dB, largest difference {np.abs(scores - found_scores).max():.3f}; "
                  f"boxes: SQNR {sqnr(boxes, found_boxes):.1f} dB, largest difference {np.abs(boxes - found_boxes).max():.4f}, "
                  f"mean {np.abs(boxes - found_boxes).mean():.5f} of the picture")


def speech(folder):
    espeak = shutil.which("espeak-ng")
    if espeak is None:
        print("  no espeak-ng: tones and noise in turn")
        t = np.arange(16000 * 20) / 16000
        voiced = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 3 * t) > 0)
        return (0.1 * voiced + 0.01 * np.random.default_rng(0).standard_normal(len(t))).astype(np.float32)
    text = " ".join((ROOT / "README.md").read_text().split()[:150])
    subprocess.run([espeak, "-w", folder / "speech.wav", text], check=True)
    with wave.open(str(folder / "speech.wav")) as f:
        rate, samples = f.getframerate(), np.frombuffer(f.readframes(f.getnframes()), np.int16) / 32768
    t = np.arange(int(len(samples) * 16000 / rate)) * rate / 16000
    return np.interp(t, np.arange(len(samples)), samples).astype(np.float32)


def silero(folder):
    print("silero: synthetic speech at 16 kHz, 512 samples a step behind the last 64, the state carried on")
    audio = speech(folder)
    frames = audio[:len(audio) // 512 * 512].reshape(-1, 1, 512)
    model = DATA / "models/silero_vad.onnx"

    def infer(s):
        state, probabilities = np.zeros((2, 1, 128), np.float32), []
        context = np.zeros((1, 64), np.float32)
        for frame in frames:
            p, state = s.run(None, {"input": np.concatenate([context, frame], 1), "state": state, "sr": np.array(16000, np.int64)})
            context = frame[:, -64:]
            probabilities.append(p[0, 0])
        return np.array(probabilities)

    reference = infer(session(model))
    print(f"  {len(frames)} steps, speech in {100 * (reference > 0.5).mean():.0f} % of them")
    for variant in (["--mode", "weight-only"], ["--mode", "dynamic", "--ops", "Conv"], ["--mode", "dynamic"]):
        if s := quantize(model, folder / "int8.onnx", *variant):
            found = infer(s)
            print(f"      SQNR {sqnr(reference, found):.1f} dB, largest difference {np.abs(reference - found).max():.4f}, "
                  f"same decision in {100 * ((reference > 0.5) == (found > 0.5)).mean():.2f} %")


def main():
    with tempfile.TemporaryDirectory() as temporary:
        for name in sys.argv[3:] or ["magika", "ultraface", "silero"]:
            {"magika": magika, "ultraface": ultraface, "silero": silero}[name](pathlib.Path(temporary))


if __name__ == "__main__":
    main()
