"""Marks in model weights: `embed` strikes one, `detect` finds it again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, Self

from countermark import _core
from countermark.results import _Document

__all__ = ["Detection", "Embedded", "detect", "embed"]


@dataclass(frozen=True, slots=True)
class Embedded(_Document):
    """What embedding did. ``to_json()`` has the whole report."""

    mark_id: str
    """Identifier of the mark, hex."""
    record: Path
    """The commitment record, beside the key."""
    entry: int | None
    """Index of the commitment in the log, when there is one."""
    root: str
    """Root of the marked copy, hex."""
    weights: int
    """Weights in marked tensors."""
    distortion_db: float | None
    """Relative change of all matrices after the cast, in decibels; ``None`` when nothing changed."""

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Builds it from its document."""
        fields = json.loads(document)
        return cls(
            document,
            mark_id=fields["mark_id"],
            record=Path(fields["record"]),
            entry=fields.get("entry"),
            root=fields["root"],
            weights=fields["report"]["weights"],
            distortion_db=fields["report"]["distortion_db"],
        )


@dataclass(frozen=True, slots=True)
class Detection(_Document):
    """What was found. It has no truth value: ask ``detected``. ``to_json()`` has the whole report."""

    detected: bool
    """True when chance explains the weights with odds of at most ``threshold_log10_p``. False proves nothing."""
    verdict: Literal["detected", "not-detected", "too-small"]
    log10_p: float
    """log10 of a bound on the false-positive probability, every hypothesis paid for."""
    threshold_log10_p: float
    hypotheses: int
    """Records tried, times statistics looked at."""
    mark_id: str
    """Identifier of the best record, hex."""
    payload: bytes | None
    """The 16 bytes decoded from the weights, when their check passes."""
    payload_ok: bool | None
    """Whether they are the committed ones; ``None`` when the model has no room for a payload."""
    commitment: Literal["logged", "unlogged"]
    """Whether a receipt proves that the mark was committed to in a log."""
    recipient: str | None
    """Whose copy it is, when the owner's note on the mark says so."""
    weights: int
    """Weights looked at."""
    distortion_db: float | None
    """Distance from the base in decibels, when one was given and something differs."""

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Builds it from its document."""
        fields = json.loads(document)
        payload = fields["payload"]
        return cls(
            document,
            detected=fields["detected"],
            verdict=fields["verdict"],
            log10_p=fields["log10_p"],
            threshold_log10_p=fields["threshold_log10_p"],
            hypotheses=fields["hypotheses"],
            mark_id=fields["mark_id"],
            payload=None if payload is None else bytes.fromhex(payload),
            payload_ok=fields["payload_ok"],
            commitment=fields["commitment"],
            recipient=fields["recipient"],
            weights=fields["weights"],
            distortion_db=fields["distortion_db"],
        )

    def __bool__(self) -> NoReturn:
        raise TypeError("a detection is neither true nor false: ask .detected")


def embed(
    model: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str],
    out: str | os.PathLike[str],
    log: str | os.PathLike[str] | None = None,
    strength: float | None = None,
    payload: bytes | None = None,
    recipient: str | None = None,
) -> Embedded:
    """Writes a marked copy of a model, and the commitment record of the mark beside the key.

    Args:
        model: A safetensors file, or a folder with such files.
        key: ``owner.mark.key``, as `keygen` made it.
        out: The copy: a file for a file, a new folder for a folder.
        log: Folder of a log to commit to the mark in, before anything is released.
        strength: Relative change of the weights in decibels, as ``-40``; the default keeps a margin on every slot.
        payload: 16 bytes to carry; drawn from the record when left out.
        recipient: Whose copy it is. The record holds only a salted hash of the name.

    Raises:
        InputError: The model is malformed or too small, or the strength or the payload does not fit it.
        FileError: Something cannot be read or written. What was at ``out`` stays.
    """
    return Embedded.from_json(_core.watermark_embed(model, key, out, log, strength, payload, recipient))


def detect(
    model: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str],
    commitment: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
) -> Detection:
    """Looks for the marks of a key; the odds pay for every record tried.

    Args:
        model: A safetensors file, or a folder with such files.
        key: ``owner.mark.key``, as `keygen` made it.
        commitment: The one record to try, instead of all records beside the key.
        base: The unmarked model, to report the distance from it.

    Raises:
        InputError: The model is malformed, there is no record, or the key does not open it.
        FileError: Something cannot be read.
    """
    return Detection.from_json(_core.watermark_detect(model, key, commitment, base))
