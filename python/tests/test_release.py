"""From keys to a verdict, and what a changed byte does to it."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path

import countermark as cm
import models
import pytest


def test_a_signed_and_logged_model_verifies(keys: Path, model: Path, tmp_path: Path) -> None:
    signed = cm.sign(model, key=keys / "owner.key", log=tmp_path / "log", parameters={"seed": "1"}, revision="abc")
    assert signed.bundle == tmp_path / "base.provenance.json"
    assert signed.manifest.is_file()
    assert signed.log is not None
    assert signed.log.index == 1  # after the log's genesis
    assert signed.root == cm.digest(model).root

    verification = cm.verify(model, policy=keys / "policy.toml")
    assert verification.state == "unanchored"
    assert verification.signer == "Example Lab"
    assert (verification.root, verification.statement) == (signed.root, signed.statement)
    assert {check.state for check in verification.checks} <= cm.PASSING
    assert json.loads(verification.to_json())["state"] == "unanchored"
    assert copy.deepcopy(verification) == verification == pickle.loads(pickle.dumps(verification))


def test_a_flipped_bit_is_named(keys: Path, model: Path, tmp_path: Path) -> None:
    cm.sign(model, key=keys / "owner.key", log=tmp_path / "log")
    models.flip_last_bit(model / "model.safetensors")
    with pytest.raises(cm.VerificationError, match=r"lm_head\.weight") as caught:
        cm.verify(model, policy=keys / "policy.toml")
    assert caught.value.verification.state == "invalid"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    looked_at = cm.verify(model, policy=keys / "policy.toml", on_failure="return")
    assert looked_at == caught.value.verification


def test_without_a_policy_nobody_is_known(keys: Path, model: Path) -> None:
    cm.sign(model, key=keys / "owner.key")
    assert cm.verify(model, on_failure="return").state == "unknown-signer"


def test_an_anchor_can_be_required(keys: Path, model: Path, tmp_path: Path) -> None:
    cm.sign(model, key=keys / "owner.key", log=tmp_path / "log")
    with pytest.raises(cm.VerificationError, match="anchor"):
        cm.verify(model, policy=keys / "policy.toml", require_anchor=True)


def test_a_name_can_be_asked_for(keys: Path, model: Path) -> None:
    cm.sign(model, key=keys / "owner.key")
    assert cm.verify(model, policy=keys / "policy.toml", name=model.name).state == "unanchored"
    with pytest.raises(cm.VerificationError, match="was asked for"):
        cm.verify(model, policy=keys / "policy.toml", name="another")


def test_lists_and_hand_overs_are_read(keys: Path, model: Path, tmp_path: Path) -> None:
    cm.sign(model, key=keys / "owner.key")
    nonsense = tmp_path / "nonsense.json"
    nonsense.write_text("{}")
    with pytest.raises(cm.VerificationError, match="signed file") as caught:
        cm.verify(model, policy=keys / "policy.toml", revocations=[nonsense])
    assert caught.value.verification.state == "invalid"
    with pytest.raises(cm.VerificationError, match="signed file") as caught:
        cm.verify(model, policy=keys / "policy.toml", hand_overs=[nonsense])
    assert caught.value.verification.state == "invalid"
    with pytest.raises(cm.InputError, match="lists"):
        cm.verify(model, revocations=str(nonsense))
    with pytest.raises(cm.FileError):
        cm.verify(model, hand_overs=[tmp_path / "missing.json"])


def test_no_bundle_is_absent(model: Path) -> None:
    with pytest.raises(cm.VerificationError, match="absent"):
        cm.verify(model)


def test_a_verification_has_no_truth_value(model: Path) -> None:
    with pytest.raises(TypeError, match="state"):
        bool(cm.verify(model, on_failure="return"))


def test_a_misspelt_on_failure_is_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="on_failure"):
        cm.verify(model, on_failure="retrun")  # type: ignore[arg-type]


@pytest.mark.parametrize("parent_at_hand", [False, True])
def test_a_child_carries_its_parent(keys: Path, model: Path, tmp_path: Path, parent_at_hand: bool) -> None:
    base = cm.sign(model, key=keys / "owner.key", log=tmp_path / "log")
    child = tmp_path / "child"
    shutil.copytree(model, child)
    models.flip_last_bit(child / "model.safetensors")
    parent: cm.Parent = ("fine-tuned-from", base.bundle, model) if parent_at_hand else ("fine-tuned-from", base.bundle)
    signed = cm.sign(child, key=keys / "owner.key", parents=[parent], log=tmp_path / "log")
    verification = cm.verify(child, bundle=signed.bundle, policy=keys / "policy.toml")
    assert verification.state == "unanchored"
    assert any("parent" in check.name for check in verification.checks)


def test_an_unknown_relation_is_a_value_error(keys: Path, model: Path) -> None:
    with pytest.raises(ValueError, match="begotten-by"):
        cm.sign(model, key=keys / "owner.key", parents=[("begotten-by", "base.provenance.json")])
    with pytest.raises(cm.InputError, match="gizmo"):
        cm.sign(model, key=keys / "owner.key", kind="gizmo")


def test_keys_are_never_overwritten(keys: Path) -> None:
    before = (keys / "owner.key").read_bytes()
    with pytest.raises(cm.InputError, match=r"owner\.key"):
        cm.keygen(keys, name="Somebody else")
    assert (keys / "owner.key").read_bytes() == before


def test_a_badge_says_no_more_than_the_verdict(keys: Path, model: Path, tmp_path: Path) -> None:
    cm.sign(model, key=keys / "owner.key", log=tmp_path / "log")
    verification = cm.verify(model, policy=keys / "policy.toml")
    assert 'aria-label="provenance: signed, unanchored"' in cm.badge.svg(verification)
    assert json.loads(cm.badge.json(verification))["message"] == "signed, unanchored"
    snippet = cm.badge.markdown(verification, image="badge.svg", link="base.provenance.json")
    assert snippet == "[![provenance: signed, unanchored](badge.svg)](base.provenance.json)"
