"""Draws the demo data: 32x32 RGB images of ten kinds of shapes and textures, from a seed and nothing else.

Pixels are rounded to a few levels, as a cheap camera would, which also halves the files.
"""
import numpy as np

SIZE = 32
CLASSES = ["disk", "ring", "square", "triangle", "star", "cross", "crescent", "stripes", "checker", "dots"]
LEVELS = 11  # of brightness, black and white included
EDGE = 0.06  # how soft an outline is, in units of half an image


def polygon_distance(x, y, sides):
    """Signed distance to a regular polygon of inradius 1 (approximate outside corners)."""
    angle = np.arctan2(y, x)
    sector = 2 * np.pi / sides
    return np.hypot(x, y) * np.cos((angle + sector / 2) % sector - sector / 2) - 1


def coverage(distance):
    return np.clip(0.5 - distance / EDGE, 0, 1)


def mask_of(kind, x, y, r):
    """Coverage in [0, 1] of shape `kind` of radius r[n] at the rotated coordinates x, y [n, SIZE, SIZE]."""
    radius = np.hypot(x, y)
    if kind == "disk":
        return coverage(radius - r)
    if kind == "ring":
        return coverage(np.abs(radius - 0.78 * r) - 0.20 * r)
    if kind == "square":
        return coverage(np.maximum(np.abs(x), np.abs(y)) - 0.86 * r)
    if kind == "triangle":
        return coverage((polygon_distance(x / (0.62 * r), y / (0.62 * r), 3)) * 0.62 * r)
    if kind == "star":
        lobe = np.abs((np.arctan2(y, x) * 5 / (2 * np.pi)) % 1 - 0.5) * 2
        return coverage(radius - r * (0.42 + 0.68 * lobe))
    if kind == "cross":
        arms = np.minimum(np.maximum(np.abs(x) - 0.30 * r, np.abs(y) - r), np.maximum(np.abs(y) - 0.30 * r, np.abs(x) - r))
        return coverage(arms)
    if kind == "crescent":
        return coverage(np.maximum(radius - r, 0.80 * r - np.hypot(x - 0.50 * r, y)))
    inside = coverage(radius - 1.25 * r)
    pitch = 0.62 * r
    if kind == "stripes":
        return inside * coverage(np.abs(x % pitch - pitch / 2) - pitch / 4)
    if kind == "checker":
        wave = np.sin(np.pi * x / (0.8 * pitch)) * np.sin(np.pi * y / (0.8 * pitch))
        return inside * np.clip(0.5 + 3 * wave, 0, 1)
    if kind == "dots":
        return inside * coverage(np.hypot(x % pitch - pitch / 2, y % pitch - pitch / 2) - 0.30 * pitch)
    raise ValueError(kind)


def draw(count, seed):
    """(images u8 [count, 3, SIZE, SIZE], labels i64 [count]): classes take turns, then the order is shuffled."""
    rng = np.random.Generator(np.random.PCG64(seed))
    labels = rng.permutation(np.arange(count) % len(CLASSES)).astype(np.int64)
    axis = (np.arange(SIZE) + 0.5) / (SIZE / 2) - 1
    grid_y, grid_x = np.meshgrid(axis, axis, indexing="ij")

    radius = rng.uniform(0.34, 0.80, (count, 1, 1))
    slack = np.maximum(0.95 - radius, 0.1)
    dx, dy = (rng.uniform(-0.8, 0.8, (count, 1, 1)) * slack for _ in range(2))
    turn = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    shear = rng.uniform(-0.18, 0.18, (count, 1, 1))
    x0, y0 = grid_x - dx, grid_y - dy
    x = np.cos(turn) * x0 + np.sin(turn) * y0
    y = -np.sin(turn) * x0 + np.cos(turn) * y0 + shear * x

    mask = np.empty((count, SIZE, SIZE))
    for index, kind in enumerate(CLASSES):
        chosen = labels == index
        mask[chosen] = mask_of(kind, x[chosen], y[chosen], radius[chosen])

    # Two colours far enough apart to be told from each other, under uneven light.
    front = rng.uniform(0, 1, (count, 3))
    step = rng.normal(size=(count, 3))
    step *= rng.uniform(0.30, 0.95, (count, 1)) / np.linalg.norm(step, axis=1, keepdims=True)
    back = np.where((front + step < 0) | (front + step > 1), front - step, front + step)
    back, front = back[:, :, None, None], front[:, :, None, None]
    image = back + (front - back) * mask[:, None]
    slope = rng.uniform(-0.25, 0.25, (count, 2, 1, 1))
    image = image * (1 + slope[:, :1] * grid_x + slope[:, 1:] * grid_y)[:, :1]

    # Something lies in front of two pictures in three: a bar of its own colour.
    bar_turn = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    bar_at = rng.uniform(-0.7, 0.7, (count, 1, 1))
    bar_width = rng.uniform(0.03, 0.16, (count, 1, 1)) * (rng.random((count, 1, 1)) < 2 / 3)
    bar = coverage(np.abs(np.cos(bar_turn) * grid_x + np.sin(bar_turn) * grid_y - bar_at) - bar_width)
    bar = bar * (bar_width > 0)
    image = image + (rng.uniform(0, 1, (count, 3))[:, :, None, None] - image) * bar[:, None]

    # One picture in twelve is overexposed: rare, strong signals that widen the range of every activation.
    exposure = np.where(rng.random((count, 1, 1, 1)) < 1 / 12, rng.uniform(1.5, 2.5, (count, 1, 1, 1)),
                        rng.uniform(0.55, 1.0, (count, 1, 1, 1)))
    noise = rng.normal(size=image.shape) * rng.uniform(0.02, 0.10, (count, 1, 1, 1))
    levels = np.rint(np.clip(image * exposure + noise, 0, 1) * (LEVELS - 1))
    return np.rint(levels * 255 / (LEVELS - 1)).astype(np.uint8), labels
