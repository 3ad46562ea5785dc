"""An owner with keys, and a small model."""

from __future__ import annotations

from pathlib import Path

import countermark as cm
import models
import pytest


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    cm.keygen(folder, name="Example Lab")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with one file, as on a hub."""
    folder = tmp_path / "base"
    folder.mkdir()
    models.write(folder / "model.safetensors", models.weights({"model.norm.weight": (8,), "lm_head.weight": (16, 8)}))
    return folder
