"""Marks in model weights: `embed` strikes one, `detect` finds it again, `trace` names the copy that leaked."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, NoReturn, Self

from countermark import _core
from countermark.results import _Document

__all__ = ["Copy", "Detection", "Embedded", "Trace", "detect", "disclose", "embed", "trace"]


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
    """Records tried, times bands and statistics looked at."""
    mark_id: str
    """Identifier of the best record, hex."""
    payload: bytes | None
    """The payload decoded from the weights, when its check passes."""
    payload_ok: bool | None
    """Whether it is the committed one; ``None`` when the model has no room for a payload."""
    commitment: Literal["logged", "unlogged"]
    """Whether a receipt proves that the mark was committed to in a log."""
    committed_before: datetime | None
    """The time before which that was, by an anchor that the policy beside the key can judge."""
    recipient: str | None
    """Whose copy it is, when the owner's note on the mark says so."""
    weights: int
    """Weights looked at."""
    distortion_db: float | None
    """Distance from the base in decibels, when one was given and something differs."""
    base_is_committed: bool | None
    """With a base: whether the record names it, so that the difference to it counts."""

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Builds it from its document."""
        fields = json.loads(document)
        payload, bound = fields["payload"], fields["committed_before"]
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
            committed_before=bound and datetime.fromisoformat(bound["time"]),
            recipient=fields["recipient"],
            weights=fields["weights"],
            distortion_db=fields["distortion_db"],
            base_is_committed=fields["base_is_committed"],
        )

    def __bool__(self) -> NoReturn:
        raise TypeError("a detection is neither true nor false: ask .detected")


@dataclass(frozen=True, slots=True)
class Copy:
    """One recipient's copy."""

    recipient: str
    """The recipient's name, as given to `embed`."""
    mark_id: str
    """The mark of the copy, hex."""
    log10_p: float
    """log10 of a bound on the false-positive probability, every copy tried paid for."""


@dataclass(frozen=True, slots=True)
class Trace(_Document):
    """Whose copy a model is. It has no truth value: look at ``leaked``. ``to_json()`` has the whole report."""

    leaked: tuple[Copy, ...]
    """Copies whose mark is in the model, the best odds first; several when copies were mixed."""
    copies: tuple[Copy, ...]
    """Every copy that was tried."""
    threshold_log10_p: float

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Builds it from its document."""
        fields = json.loads(document)

        def copies(name: str) -> tuple[Copy, ...]:
            return tuple(Copy(copy["recipient"], copy["mark_id"], copy["log10_p"]) for copy in fields[name])

        return cls(document, copies("leaked"), copies("copies"), fields["threshold_log10_p"])

    def __bool__(self) -> NoReturn:
        raise TypeError("a trace is neither true nor false: look at .leaked")


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
        model: A safetensors or GGUF file, or a folder with such files.
        key: ``owner.mark.key``, as `keygen` made it.
        out: The copy: a file for a file, a new folder for a folder.
        log: Folder of a log to commit to the mark in, before anything is released.
        strength: Relative change of the weights in decibels, as ``-40``; the default keeps a margin on every slot.
        payload: 16 bytes to carry, or 8 in a smaller model; drawn from the record when left out.
        recipient: Whose copy it is. The record holds only a salted hash of the name.

    Raises:
        InputError: The model is malformed or too small, or the strength or the payload does not fit it.
        FileError: Something cannot be read or written. What was at ``out`` stays.
    """
    return Embedded.from_json(_core.watermark_embed(model, key, out, log, strength, payload, recipient))


def detect(
    model: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str] | None = None,
    commitment: str | os.PathLike[str] | None = None,
    disclosure: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
) -> Detection:
    """Looks for the marks of a key; the odds pay for every record tried.

    Args:
        model: A safetensors or GGUF file, or a folder with such files.
        key: ``owner.mark.key``, as `keygen` made it.
        commitment: The one record to try, instead of all records beside the key.
        disclosure: What the owner disclosed with `disclose`, instead of a key.
        base: The unmarked model that the record names. Its weights are subtracted, which finds far weaker traces.

    Raises:
        InputError: The model is malformed, there is no record, or the key does not open it.
        FileError: Something cannot be read.
    """
    return Detection.from_json(_core.watermark_detect(model, key, commitment, disclosure, base))


def trace(
    model: str | os.PathLike[str], *, key: str | os.PathLike[str], base: str | os.PathLike[str] | None = None
) -> Trace:
    """Finds out whose copy a model is, among all copies marked with a recipient; the odds pay for every one of them.

    Args:
        model: A safetensors or GGUF file, or a folder with such files.
        key: ``owner.mark.key``, with the records beside it.
        base: What the copies were made from.

    Raises:
        InputError: The model is malformed, or no mark was made for a recipient.
        FileError: Something cannot be read.
    """
    return Trace.from_json(_core.watermark_trace(model, key, base))


def disclose(
    *,
    key: str | os.PathLike[str],
    commitment: str | os.PathLike[str],
    group: int,
    out: str | os.PathLike[str],
    payload: bytes | None = None,
) -> None:
    """Writes a file with which somebody else can look for one of a mark's four groups of slots.

    Whoever holds the file can also erase that group. The other three stay secret, and later searches with the key leave
    the group out.

    Args:
        key: ``owner.mark.key``.
        commitment: The record of the mark, in ``marks/`` beside the key.
        group: Which group, 0 to 3.
        out: Where the disclosure goes.
        payload: The payload, when it was your own.

    Raises:
        InputError: The key does not open the record, or the payload is missing.
        FileError: Something cannot be read or written.
    """
    _core.watermark_disclose(key, commitment, group, out, payload)
