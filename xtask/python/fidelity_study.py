"""How far int8 files of models without labelled data stay from the float model: cargo xtask study fidelity [magika|ultraface|silero ...]

    magika     pieces of this repository's files, as they are and packed, encoded or laid out in a dozen other ways:
               200 calibrate, 500 others are compared
    ultraface  CIFAR-10 images, 4 x 3 of them side by side scaled to 320 x 240: natural textures, no faces
    silero     tones with the harmonics and the rhythm of a voice, and noise: no recordings

All inputs are drawn with a fixed seed from the data pack and from files that this repository holds, so figures repeat on
any machine at one commit. Every int8 file runs in ONNX Runtime with exact integer sums. PROGRAM is a release build of `modelpress`, DATA the data pack.
"""

import base64
import bz2
import gzip
import io
import json
import lzma
import pathlib
import pickle
import subprocess
import sys
import tarfile
import tempfile
import wave
import zipfile
import zlib

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


def file_bytes(content):
    """The first and the last 1024 bytes, 256 where a file is shorter."""
    data = np.frombuffer(content, np.uint8).astype(np.int32)
    row = np.full(2048, 256, np.int32)
    begin, end = data[:1024], data[-1024:]
    row[:len(begin)] = begin
    row[2048 - len(end):] = end
    return row


def zipped(data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a.txt", (1980, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def tarred(data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("a.txt")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def wav(data):
    out = io.BytesIO()
    with wave.open(out, "wb") as f:
        f.setnchannels(1), f.setsampwidth(2), f.setframerate(8000)
        f.writeframes(data[:len(data) // 2 * 2])
    return out.getvalue()


def png(data):
    side = max(int(len(data) ** 0.5), 1)
    lines = b"".join(b"\0" + data[i * side:(i + 1) * side] for i in range(side))
    chunk = lambda kind, d: len(d).to_bytes(4, "big") + kind + d + zlib.crc32(kind + d).to_bytes(4, "big")
    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def lines(data):
    return data.decode("utf-8", "replace").splitlines()


FORMS = [
    lambda d: d,
    lambda d: gzip.compress(d, mtime=0),
    bz2.compress,
    lzma.compress,
    zipped,
    tarred,
    wav,
    png,
    base64.encodebytes,
    pickle.dumps,
    lambda d: json.dumps([{"line": i, "text": t} for i, t in enumerate(lines(d))], indent=1).encode(),
    lambda d: "\r\n".join(f"{i},{len(t)},{t.count(' ')}" for i, t in enumerate(lines(d))).encode(),
    lambda d: ("<html><body>" + "".join(f"<p>{t}</p>\n" for t in lines(d)) + "</body></html>").encode(),
]


def magika(folder):
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    contents = [(ROOT / p).read_bytes() for p in sorted(tracked) if (ROOT / p).is_file()]
    contents = [c for c in contents if 64 <= len(c) < 1 << 20]
    random, rows = np.random.default_rng(0), []
    for i in range(700):
        whole = contents[random.integers(len(contents))]
        start = random.integers(len(whole) // 2 + 1)
        piece = whole[start:start + int(random.integers(64, 8192))]
        rows.append(file_bytes(FORMS[i % len(FORMS)](piece)))
    rows = np.stack(rows)
    np.save(folder / "calibration.npy", rows[:200])
    held_out = rows[200:]
    model = DATA / "models/magika_standard_v3_3.onnx"
    infer = lambda s: np.concatenate([s.run(None, {"bytes": held_out[i:i + 20]})[0] for i in range(0, len(held_out), 20)])
    reference = infer(session(model))
    print(f"magika: {len(held_out)} files, {len(set(reference.argmax(1)))} labels")
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


def speech():
    t = np.arange(16000 * 20) / 16000
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    voiced = sum(np.sin(k * phase) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 3 * t) > 0) * (np.sin(2 * np.pi * 0.2 * t) > -0.5)
    return (0.1 * voiced + 0.01 * np.random.default_rng(0).standard_normal(len(t))).astype(np.float32)


def silero(folder):
    print("silero: synthetic speech at 16 kHz, 512 samples a step behind the last 64, the state carried on")
    audio = speech()
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
