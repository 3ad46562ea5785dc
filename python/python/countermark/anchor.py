"""A log's checkpoint, held by others: so that what is in the log existed no later than a time that nobody can move."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from countermark import _core

__all__ = ["Anchor", "status", "submit", "upgrade"]


@dataclass(frozen=True, slots=True)
class Anchor:
    """How far an anchor of a checkpoint is."""

    size: int
    """Entries under the checkpoint."""
    name: str
    """Its name in the log's folder."""
    kind: Literal["evm", "eas", "calldata", "opentimestamps", "rfc3161"]
    state: Literal["failed", "dropped", "pending", "included", "final"]
    """Only ``included`` and ``final`` come with evidence; what is included may still be reorganised."""
    detail: str
    """Where it is, or what is wrong and how to mend it."""
    since: int
    """Unix seconds of the last change of state."""


def submit(log: str | os.PathLike[str], orders: Sequence[Mapping[str, Any]]) -> tuple[Anchor, ...]:
    """Has the newest checkpoint of a log held by others. What was ordered before is only looked after.

    Args:
        log: The folder of the log.
        orders: Whom to ask, as jobs in the log's folder hold it: ``{"kind": "rfc3161", "url": "https://…"}``.

    Returns:
        How far each is. Somebody who does not answer leaves his anchor pending, with the reason as detail.

    Raises:
        InputError: An order is not one.
        FileError: The log cannot be used.
    """
    return _anchors(_core.anchor_submit(log, json.dumps([dict(order) for order in orders])))


def upgrade(log: str | os.PathLike[str], *files: str | os.PathLike[str]) -> tuple[Anchor, ...]:
    """Asks what became of every anchor, and puts what is there into files.

    Args:
        log: The folder of the log.
        files: Bundles, commitment records of marks, or folders with such records.

    Returns:
        How far each anchor is.

    Raises:
        FileError: The log or a file cannot be used; the file stays as it was.
    """
    return _anchors(_core.anchor_upgrade(log, files))


def status(log: str | os.PathLike[str]) -> tuple[Anchor, ...]:
    """How far every anchor of a log was when somebody last asked. Nobody is asked by this.

    Raises:
        FileError: The log's folder cannot be read.
    """
    return _anchors(_core.anchor_status(log))


def _anchors(document: str) -> tuple[Anchor, ...]:
    return tuple(Anchor(**anchor) for anchor in json.loads(document))
