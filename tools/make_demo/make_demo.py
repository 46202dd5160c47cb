#!/usr/bin/env python3
"""Makes testdata/shapes: draws the images, trains the classifier, writes the ONNX model and its data.

    python3 -m venv .venv && .venv/bin/pip install torch==2.13.0 onnx==1.23.2 numpy==2.4.6
    .venv/bin/python tools/make_demo/make_demo.py testdata/shapes

The data depends on the seeds alone. The weights repeat bit by bit on one machine with one version of torch (--threads 1).
"""
import argparse
import hashlib
import pathlib

import numpy as np
import torch
from network import PIXEL_SCALE, ShapesNet, spread_channels, to_onnx
from shapes import CLASSES, SIZE, draw
from torch import nn

TRAIN_SEED, CALIBRATION_SEED, TEST_SEED = 20261, 20262, 20263


def pixels(images):
    return torch.from_numpy(images).float() * PIXEL_SCALE


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(part).argmax(1) for part in pixels(images).split(500)])
    return (found.numpy() == labels).mean()


def train(args):
    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(args.seed)
    images, labels = draw(args.train, TRAIN_SEED)
    images, labels = torch.from_numpy(images), torch.from_numpy(labels)
    model = ShapesNet(len(CLASSES))
    spread_channels(model, generator)
    steps = args.epochs * (len(images) // args.batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.15)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        order = torch.randperm(len(images), generator=generator)
        for batch in order[: len(order) // args.batch * args.batch].split(args.batch):
            x = images[batch].float() * PIXEL_SCALE
            if torch.rand((), generator=generator) < 0.5:
                x = x.flip(3)
            loss = loss_of(model(x), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{args.epochs}: loss {total / (len(order) // args.batch):.4f}", flush=True)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--train", type=int, default=30000)
    parser.add_argument("--epochs", type=int, default=11)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--calibration", type=int, default=200)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    sets = {"calibration": draw(args.calibration, CALIBRATION_SEED), "test": draw(args.test, TEST_SEED)}
    for name, (images, labels) in sets.items():
        np.savez_compressed(args.out / f"{name}.npz", image=images, labels=labels)
    model = train(args)
    for name, (images, labels) in sets.items():
        print(f"{name}: {100 * accuracy(model, images, labels):.2f} % of {len(labels)}")
    (args.out / "shapes.onnx").write_bytes(to_onnx(model, SIZE, len(CLASSES)).SerializeToString())
    (args.out / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    for file in sorted(args.out.iterdir()):
        print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.stat().st_size:8d}  {file.name}")


if __name__ == "__main__":
    main()
