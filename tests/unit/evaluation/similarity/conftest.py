"""Pictures with structure, colour and texture of their own: tiles of a colour with stripes or dots of a second one."""

import numpy as np
import pytest


def painted(n, px=32, seed=0):
    """Return (n, px, px, 3) uint8: smooth fields, each in two colours of its own, with a grain of its own size."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:px, :px] / px
    images = []
    for _ in range(n):
        angle, waves, phase = rng.uniform(0, np.pi), rng.uniform(1, 4), rng.uniform(0, 2 * np.pi)
        field = 0.5 + 0.5 * np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        low, high = rng.uniform(0, 90, 3), rng.uniform(150, 255, 3)
        images.append(low + field[..., None] * (high - low))
    return np.round(images).astype(np.uint8)


def recoloured(images):
    """Return the images with the same order of brightness in blues: black to (40, 90, 255)."""
    brightness = images @ np.array([0.2126, 0.7152, 0.0722]) / 255
    return np.round(brightness[..., None] * np.array([40, 90, 255]) * 1.0).astype(np.uint8)


def shuffled_pixels(images, seed=0):
    """Return the images with the pixels of each in another order."""
    flat = images.reshape(len(images), -1, 3)
    order = np.random.default_rng(seed).permutation(flat.shape[1])
    return flat[:, order].reshape(images.shape)


@pytest.fixture(scope="session")
def pictures():
    """40 painted pictures of 32 px."""
    return painted(40)


@pytest.fixture(scope="session")
def noise():
    """40 pictures of noise, each pixel and channel on its own."""
    return np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def variants(pictures, noise):
    """The pictures recoloured, with shuffled pixels, as another set, and noise in their place."""
    return {
        "recoloured": recoloured(pictures),
        "shuffled": shuffled_pixels(pictures),
        "others": np.roll(pictures, 1, axis=0),
        "noise": noise,
    }
