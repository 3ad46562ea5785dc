"""Small safetensors files, written by hand so that the tests need no other package."""

from __future__ import annotations

import json
import random
import struct
from array import array
from collections.abc import Mapping
from pathlib import Path

FOUR_MATRICES = {f"model.layers.{layer}.mlp.up_proj.weight": (256, 288) for layer in range(4)}
"""294,912 weights."""


def weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 1) -> dict[str, tuple[tuple[int, ...], array[float]]]:
    """Normal weights with a deviation of 0.02, as F32."""
    draw = random.Random(seed)

    def count(shape: tuple[int, ...]) -> int:
        return shape[0] * count(shape[1:]) if shape else 1

    return {
        name: (shape, array("f", (draw.gauss(0, 0.02) for _ in range(count(shape))))) for name, shape in shapes.items()
    }


def write(path: Path, tensors: Mapping[str, tuple[tuple[int, ...], array[float]]]) -> Path:
    """Writes one safetensors file of F32 tensors."""
    header: dict[str, object] = {}
    data = b""
    for name, (shape, values) in tensors.items():
        begin = len(data)
        data += values.tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def flip_last_bit(path: Path) -> None:
    """Changes one bit of the last weight."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
