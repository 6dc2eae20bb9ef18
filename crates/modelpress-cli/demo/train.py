#!/usr/bin/env python3
"""Makes the files of `modelpress demo`: `digits.bin` and `digits_cnn.onnx`.

    pip install torch==2.15.0 onnx==1.23.2 scikit-learn==1.9.1
    python train.py

digits.bin: 1,797 records of 33 bytes: 64 pixels of 0..15 as nibbles, first pixel in the low half (the dataset's 16
becomes 15), then the label. Records 0..1296 train the network, 1297..1796 are held out.
"""

import pathlib

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from torch import nn

HERE = pathlib.Path(__file__).parent
TRAIN = 1297


class DigitsCnn(nn.Module):
    """Three convolutions with batch normalization, a residual sum, a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = self.block(1, 24, 1)
        self.residual = self.block(24, 24, 1)
        self.down = self.block(24, 48, 2)
        self.last = self.block(48, 64, 1)
        self.classifier = nn.Linear(64, 10)

    @staticmethod
    def block(inputs, outputs, stride):
        conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, image):
        x = self.stem(image)
        x = x + self.residual(x)
        x = self.last(self.down(x))
        x = torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.classifier(x)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    digits = load_digits()
    pixels = np.minimum(digits.data, 15).astype(np.uint8)
    packed = pixels[:, 0::2] | (pixels[:, 1::2] << 4)
    records = np.concatenate([packed, digits.target[:, None].astype(np.uint8)], axis=1)
    (HERE / "digits.bin").write_bytes(records.tobytes())

    images = torch.tensor(pixels.reshape(-1, 1, 8, 8), dtype=torch.float32) / 15
    labels = torch.tensor(digits.target)
    train, held_out = slice(0, TRAIN), slice(TRAIN, None)
    model = DigitsCnn()
    epochs, batch = 60, 64
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=epochs * -(-TRAIN // batch)
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(TRAIN).split(batch):
            x = shifted(images[train][rows])
            loss = loss_of(model(x), labels[train][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        correct = (model(images[held_out]).argmax(1) == labels[held_out]).float().mean()
    print(f"held-out top-1 {100 * correct:.2f} %")

    path = HERE / "digits_cnn.onnx"
    torch.onnx.export(
        model,
        images[:1],
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )
    onnx.checker.check_model(onnx.load(path), full_check=True)
    print(f"{path.stat().st_size} bytes")


def shifted(images):
    """Each image moved by up to one pixel each way."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    moves = torch.randint(0, 3, (len(images), 2))
    return torch.stack([p[:, dy : dy + 8, dx : dx + 8] for p, (dy, dx) in zip(padded, moves)])


if __name__ == "__main__":
    main()
