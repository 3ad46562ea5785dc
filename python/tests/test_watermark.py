"""Marks on a model of about 300,000 weights."""

from __future__ import annotations

import json
from pathlib import Path

import countermark as cm
import models
import pytest

STRENGTH = -30.0
"""In decibels: so few weights need more than the default allows."""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return models.write(tmp_path / "base.safetensors", models.weights(models.FOUR_MATRICES))


def test_a_mark_is_found_again(keys: Path, base: Path, tmp_path: Path) -> None:
    out, key = tmp_path / "marked.safetensors", keys / "owner.mark.key"
    embedded = cm.watermark.embed(base, key=key, out=out, log=tmp_path / "log", strength=STRENGTH, recipient="Anna")
    assert embedded.root == cm.digest(out).root
    assert embedded.record == keys / "marks" / f"{embedded.mark_id}.json"
    assert embedded.entry == 1  # after the log's genesis
    assert embedded.weights == 294_912
    assert embedded.distortion_db == pytest.approx(STRENGTH, abs=1)

    found = cm.watermark.detect(out, key=key, base=base)
    assert found.detected
    assert found.verdict == "detected"
    assert found.log10_p < found.threshold_log10_p
    assert found.mark_id == embedded.mark_id
    assert (found.commitment, found.recipient) == ("logged", "Anna")
    assert found.distortion_db == pytest.approx(embedded.distortion_db, abs=0.01)
    assert json.loads(found.to_json())["log10_p"] == found.log10_p

    unmarked = cm.watermark.detect(base, key=key, commitment=embedded.record)
    assert not unmarked.detected
    assert unmarked.log10_p > -10


def test_a_marked_release_verifies(keys: Path, base: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "marked.safetensors", tmp_path / "log"
    cm.watermark.embed(base, key=keys / "owner.mark.key", out=out, log=log, strength=STRENGTH)
    signed = cm.sign(out, key=keys / "owner.key", log=log)
    assert cm.verify(out, bundle=signed.bundle, policy=keys / "policy.toml").state == "unanchored"


def test_a_detection_has_no_truth_value(keys: Path, base: Path, tmp_path: Path) -> None:
    out = tmp_path / "marked.safetensors"
    cm.watermark.embed(base, key=keys / "owner.mark.key", out=out, strength=STRENGTH)
    with pytest.raises(TypeError, match="detected"):
        bool(cm.watermark.detect(out, key=keys / "owner.mark.key"))


@pytest.mark.parametrize("payload", [b"short", bytes(16)])
def test_a_payload_that_does_not_fit_is_refused(keys: Path, base: Path, tmp_path: Path, payload: bytes) -> None:
    out = tmp_path / "marked.safetensors"
    with pytest.raises(ValueError, match="payload"):
        cm.watermark.embed(base, key=keys / "owner.mark.key", out=out, strength=STRENGTH, payload=payload)
    assert not out.exists()


def test_a_model_too_small_is_refused(keys: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(cm.InputError, match="weights"):
        cm.watermark.embed(model, key=keys / "owner.mark.key", out=tmp_path / "marked")
    assert not (tmp_path / "marked").exists()


def test_without_a_record_there_is_nothing_to_look_for(keys: Path, base: Path) -> None:
    with pytest.raises(cm.InputError, match="record"):
        cm.watermark.detect(base, key=keys / "owner.mark.key")


def test_a_leaked_copy_is_traced(keys: Path, base: Path, tmp_path: Path) -> None:
    key = keys / "owner.mark.key"
    for name in ("Anna", "Ben"):
        cm.watermark.embed(base, key=key, out=tmp_path / f"{name}.safetensors", strength=STRENGTH, recipient=name)
    traced = cm.watermark.trace(tmp_path / "Ben.safetensors", key=key, base=base)
    assert [copy.recipient for copy in traced.leaked] == ["Ben"]
    assert {copy.recipient for copy in traced.copies} == {"Anna", "Ben"}
    assert cm.watermark.trace(base, key=key).leaked == ()
    with pytest.raises(TypeError, match="leaked"):
        bool(traced)


def test_a_group_too_small_to_be_found_alone_is_not_disclosed(keys: Path, base: Path, tmp_path: Path) -> None:
    key = keys / "owner.mark.key"
    embedded = cm.watermark.embed(base, key=key, out=tmp_path / "marked.safetensors", strength=STRENGTH)
    out = tmp_path / "mark.disclosure.json"
    with pytest.raises(cm.InputError, match="cannot reach"):
        cm.watermark.disclose(key=key, commitment=embedded.record, group=0, out=out)
    assert not out.exists()


def test_detection_takes_a_key_or_a_disclosure(base: Path) -> None:
    with pytest.raises(cm.InputError, match="one of them"):
        cm.watermark.detect(base)


def test_strangers_are_not_related(base: Path, tmp_path: Path) -> None:
    other = models.write(tmp_path / "other.safetensors", models.weights(models.FOUR_MATRICES))
    found = cm.derivation(other, base)
    assert not found.related
    assert found.limits
    with pytest.raises(TypeError, match="related"):
        bool(found)
