"""Results: frozen objects, built from the JSON documents that the command line prints."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

State = Literal["verified", "unanchored", "stale", "unknown-signer", "unknown", "absent", "invalid", "revoked"]
"""What a check, or all checks together, came to; the command line's manual says what each means."""


@dataclass(frozen=True, slots=True)
class _Document:
    """The JSON document that a result was built from."""

    _json: str = field(repr=False)

    def to_json(self) -> str:
        """The document, as the command line prints it with ``--format json``."""
        return self._json


@dataclass(frozen=True, slots=True)
class File:
    """One file of an artifact."""

    path: str
    """Relative, with ``/``."""
    size: int
    """Length in bytes."""
    blake3: str
    """Plain BLAKE3, hex, as ``b3sum`` prints it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a model."""

    name: str
    dtype: str
    """Safetensors spelling: ``BF16``, ``F32``."""
    shape: tuple[int, ...]
    blake3: str
    """Plain BLAKE3 of the bytes as stored, hex."""


@dataclass(frozen=True, slots=True)
class Tensors:
    """All tensors of a model, whatever the sharding."""

    root: str
    """The tensors root, hex."""
    list: tuple[Tensor, ...]
    """Sorted by name."""


@dataclass(frozen=True, slots=True)
class Digest(_Document):
    """What hashing a path gives."""

    root: str
    """Plain BLAKE3 of a file, BLAKE3 of a folder's listing; hex."""
    files: tuple[File, ...]
    card: str | None
    """BLAKE3 of a folder's model card, which is not part of the root."""
    sha256: str | None
    """SHA-256 of the file or of the folder's listing, when asked for."""
    tensors: Tensors | None
    """When asked for."""

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Builds it from its document."""
        fields = json.loads(document)
        tensors = fields.get("tensors")
        return cls(
            document,
            root=fields["root"],
            files=tuple(File(**file) for file in fields["files"]),
            card=fields.get("card"),
            sha256=fields.get("sha256"),
            tensors=tensors and Tensors(tensors["root"], tuple(_tensor(tensor) for tensor in tensors["list"])),
        )


def _tensor(fields: dict[str, Any]) -> Tensor:
    return Tensor(**fields | {"shape": tuple(fields["shape"])})


@dataclass(frozen=True, slots=True)
class TensorDiff:
    """In what one tensor differs."""

    name: str
    change: Literal["identical", "changed", "recast", "reshaped", "renamed", "added", "removed"]
    renamed_from: str | None = None
    """Its name in the first model, when only that changed."""
    first: dict[str, Any] | None = None
    """`dtype` and `shape` in the first model."""
    second: dict[str, Any] | None = None
    """`dtype` and `shape` in the second model."""
    drift: float | None = None
    """‖second - first‖ / ‖first‖, when both hold numbers and have one shape."""
    norm_first: float | None = None
    norm_second: float | None = None
    norm_difference: float | None = None
    max_difference: float | None = None
    """The largest change of one element."""


@dataclass(frozen=True, slots=True)
class Diff(_Document):
    """In what two artifacts differ."""

    identical: bool
    only_in_first: tuple[str, ...]
    only_in_second: tuple[str, ...]
    changed: tuple[str, ...]
    tensors: tuple[TensorDiff, ...]
    """One row per tensor, when both are models."""

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Builds it from its document."""
        fields = json.loads(document)
        return cls(
            document,
            identical=fields["identical"],
            only_in_first=tuple(fields["only_in_first"]),
            only_in_second=tuple(fields["only_in_second"]),
            changed=tuple(fields["changed"]),
            tensors=tuple(TensorDiff(**tensor) for tensor in fields["tensors"]),
        )


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Where the release stands in the log."""

    index: int
    vkey: str
    """The key that verifies the log's checkpoints, in the C2SP note form."""


@dataclass(frozen=True, slots=True)
class Signed(_Document):
    """What signing wrote."""

    bundle: Path
    manifest: Path
    """The C2PA sidecar."""
    statement: str
    """Id of the statement: SHA-256 of its payload, hex."""
    root: str
    """Root of the artifact, hex."""
    log: LogEntry | None

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Builds it from its document."""
        fields = json.loads(document)
        log = fields["log"]
        return cls(
            document,
            bundle=Path(fields["bundle"]),
            manifest=Path(fields["manifest"]),
            statement=fields["statement"],
            root=fields["root"],
            log=log and LogEntry(**log),
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a verdict."""

    name: str
    state: State
    detail: str
    """What it was checked against, or what differs and where."""


@dataclass(frozen=True, slots=True)
class Verification(_Document):
    """What all the evidence comes to. It has no truth value: compare ``state``."""

    state: State
    """The worst state of all checks."""
    name: str
    """The artifact's name as its signer gave it; empty when nothing could be read."""
    root: str
    """Its root, hex."""
    statement: str
    """Id of its statement, hex."""
    signer: str
    """Who signed, as the policy names them, or the key."""
    checks: tuple[Check, ...]

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Builds it from its document."""
        fields = json.loads(document)
        return cls(
            document,
            state=fields["state"],
            name=fields["name"],
            root=fields["root"],
            statement=fields["statement"],
            signer=fields["signer"],
            checks=tuple(Check(**check) for check in fields["checks"]),
        )

    def __bool__(self) -> NoReturn:
        raise TypeError("a verification is neither true nor false: compare .state, or let verify() raise")


@dataclass(frozen=True, slots=True)
class Derivation(_Document):
    """Whether two checkpoints share training history. It has no truth value: ask ``related``."""

    related: bool
    """True when they are not independent. False proves nothing."""
    verdict: str
    """The answer in words."""
    kind: Literal["exact", "empirical"]
    """Whether ``log10_p`` is exact odds, or only an agreement without odds was found."""
    log10_p: float
    """log10 of a bound on the chance among independent models, every hypothesis paid for; 0 when empirical."""
    threshold_log10_p: float
    relation_hint: str | None
    """The relation of the lineage that fits: a description, not a claim."""
    findings: tuple[str, ...]
    """What was done to the parent, as far as the weights show it."""
    limits: tuple[str, ...]
    """What this answer does not say."""

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Builds it from its document."""
        fields = json.loads(document)
        return cls(
            document,
            related=fields["related"],
            verdict=fields["verdict"],
            kind=fields["kind"],
            log10_p=fields["log10_p"],
            threshold_log10_p=fields["threshold_log10_p"],
            relation_hint=fields["relation_hint"],
            findings=tuple(fields["findings"]),
            limits=tuple(fields["limits"]),
        )

    def __bool__(self) -> NoReturn:
        raise TypeError("a derivation is neither true nor false: ask .related")
