"""Digests and differences."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import countermark as cm
import models
import pytest


def test_a_file_has_its_plain_blake3(tmp_path: Path) -> None:
    path = tmp_path / "abc.txt"
    path.write_bytes(b"abc")
    digest = cm.digest(path, sha256=True)
    # Known answers: the BLAKE3 and the SHA-256 of "abc".
    assert digest.root == "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    assert digest.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert digest.files == (cm.File("abc.txt", 3, digest.root),)
    assert digest.tensors is None
    assert json.loads(digest.to_json())["root"] == digest.root


def test_tensors_are_listed_by_name(model: Path) -> None:
    tensors = cm.digest(str(model), tensors=True).tensors
    assert tensors is not None
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors.list] == [
        ("lm_head.weight", "F32", (16, 8)),
        ("model.norm.weight", "F32", (8,)),
    ]


def test_results_are_frozen(model: Path) -> None:
    digest = cm.digest(model)
    with pytest.raises(dataclasses.FrozenInstanceError):
        digest.root = ""  # type: ignore[misc]


def test_diff_names_the_tensor(model: Path, tmp_path: Path) -> None:
    first = model / "model.safetensors"
    second = tmp_path / "other.safetensors"
    second.write_bytes(first.read_bytes())
    assert cm.diff(first, second).identical
    models.flip_last_bit(second)
    diff = cm.diff(first, second)
    assert not diff.identical
    changed = [tensor for tensor in diff.tensors if tensor.change == "changed"]
    assert [tensor.name for tensor in changed] == ["lm_head.weight"]
    assert changed[0].drift is not None


def test_a_missing_path_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(cm.FileError, match="nowhere") as caught:
        cm.digest(tmp_path / "nowhere")
    assert isinstance(caught.value, OSError)


def test_a_malformed_model_is_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match=r"bad\.safetensors") as caught:
        cm.digest(path, tensors=True)
    assert isinstance(caught.value, cm.CountermarkError)
