"""Watermarks in model weights, signed lineage, and one verdict over all of it.

>>> import countermark as cm
>>> cm.keygen("keys", name="Example Lab")  # doctest: +SKIP
>>> cm.sign("model", key="keys/owner.key", log="log")  # doctest: +SKIP
>>> cm.verify("model", policy="keys/policy.toml").state  # doctest: +SKIP
'unanchored'
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

from countermark import _core, anchor, badge, watermark
from countermark.errors import PASSING, CountermarkError, FileError, InputError, VerificationError
from countermark.results import (
    Check,
    Derivation,
    Diff,
    Digest,
    File,
    LogEntry,
    Signed,
    State,
    Tensor,
    TensorDiff,
    Tensors,
    Verification,
)

__all__ = [
    "PASSING",
    "Check",
    "CountermarkError",
    "Derivation",
    "Diff",
    "Digest",
    "File",
    "FileError",
    "InputError",
    "LogEntry",
    "Parent",
    "Signed",
    "State",
    "Tensor",
    "TensorDiff",
    "Tensors",
    "Verification",
    "VerificationError",
    "anchor",
    "badge",
    "derivation",
    "diff",
    "digest",
    "keygen",
    "sign",
    "verify",
    "watermark",
]

Parent: TypeAlias = tuple[str, str | os.PathLike[str]] | tuple[str, str | os.PathLike[str], str | os.PathLike[str]]


def keygen(folder: str | os.PathLike[str], *, name: str) -> str:
    """Makes an owner's keys, certificate and policy in a folder; never overwrites one.

    Args:
        folder: Made when it is not there.
        name: The owner, as certificates and the policy name them.

    Returns:
        The public key that signs for this owner.

    Raises:
        InputError: A key is there already, or the name does not fit into a certificate.
        FileError: The folder cannot be written.
    """
    return _core.keygen(folder, name)


def digest(path: str | os.PathLike[str], *, tensors: bool = False, sha256: bool = False) -> Digest:
    """Hashes a file, or the folder of a model or dataset.

    Args:
        path: What to hash.
        tensors: Also hash every tensor, and the tensors root.
        sha256: Also SHA-256 of the file, or of a folder's listing.

    Raises:
        InputError: The content is malformed, or tensors are asked for and there are none.
        FileError: Something cannot be read.
    """
    return Digest.from_json(_core.digest(path, tensors, sha256))


def diff(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> Diff:
    """Compares two artifacts file by file, and two models tensor by tensor.

    Raises:
        InputError: A model is malformed.
        FileError: Something cannot be read.
    """
    return Diff.from_json(_core.diff(first, second))


def derivation(
    child: str | os.PathLike[str],
    parent: str | os.PathLike[str],
    *,
    second_parent: str | os.PathLike[str] | None = None,
    candidates: int = 1,
) -> Derivation:
    """Tests whether two checkpoints share training history, and says what was done to the parent if they do.

    Args:
        child: A safetensors or GGUF file, or a folder with such files.
        parent: The model that it may have been made from.
        second_parent: Another one, to see whether the child is a merge of the two.
        candidates: How many models were considered as parents, this one included; the odds pay for all of them.

    Raises:
        InputError: A model is malformed.
        FileError: Something cannot be read.
    """
    return Derivation.from_json(_core.derivation(child, parent, second_parent, candidates))


def sign(
    path: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str],
    parents: Sequence[Parent] = (),
    log: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    kind: str | None = None,
    marks: Sequence[str | os.PathLike[str]] = (),
    parameters: Mapping[str, str] | None = None,
    revision: str | None = None,
) -> Signed:
    """Signs a release: writes its bundle and its C2PA sidecar.

    Args:
        path: A file, or the folder of a model or dataset.
        key: ``owner.key``, with ``owner.crt`` beside it, as `keygen` made them.
        parents: What it was made from: relation and the parent's bundle, and the parent itself when it is at hand, as
            ``("fine-tuned-from", "base.provenance.json", "base")``.
        log: Folder of the log to enter the release in, made when it is not there.
        out: The bundle; ``NAME.provenance.json`` beside the artifact when left out.
        kind: ``model``, ``adapter``, ``dataset`` and so on; told from the files when left out.
        marks: Commitment records of marks in it, beside those that `watermark.embed` left for this very copy.
        parameters: How it was made, as the maker names it.
        revision: Revision of the code that made it.

    Raises:
        InputError: A relation, a kind, a key or a parent is wrong.
        FileError: Something cannot be read or written.
    """
    triples = [(parent[0], parent[1], parent[2] if len(parent) == 3 else None) for parent in parents]
    return Signed.from_json(_core.sign(path, key, triples, log, out, kind, marks, parameters or {}, revision))


def verify(
    path: str | os.PathLike[str],
    *,
    bundle: str | os.PathLike[str] | None = None,
    policy: str | os.PathLike[str] | None = None,
    revocations: Sequence[str | os.PathLike[str]] = (),
    hand_overs: Sequence[str | os.PathLike[str]] = (),
    require_anchor: bool = False,
    name: str | None = None,
    at: datetime | None = None,
    on_failure: Literal["raise", "return"] = "raise",
) -> Verification:
    """Hashes an artifact again and checks everything that its bundle holds, offline.

    Args:
        path: A file, or the folder of a model or dataset.
        bundle: Its bundle; looked for beside the path when left out.
        policy: Whom to believe, and for what. Without it nobody is known, and the state is ``unknown-signer`` at best.
        revocations: Revocation lists; those that the policy names, and ``revocations.json`` beside it, are found
            without this.
        hand_overs: Hand-overs from keys of the policy to others, when the bundle does not carry them.
        require_anchor: Ask for an anchor on a chain, whatever the policy says.
        name: Ask for the release of this name, whatever the path is called.
        at: Judge as of this time, which must have a time zone, and not as of now. The verdict says so.
        on_failure: ``"return"`` to look at the verdict instead of having it raised.

    Raises:
        VerificationError: The state is neither ``verified`` nor ``unanchored``.
        InputError: The policy is malformed.
        FileError: The path, the policy, a list or a bundle that was named cannot be read.
    """
    if on_failure not in ("raise", "return"):
        raise InputError(f"on_failure is {on_failure!r}: give 'raise' or 'return'")
    if at is not None and at.tzinfo is None:
        raise InputError("at has no time zone: give datetime(..., tzinfo=timezone.utc)")
    seconds = None if at is None else int(at.timestamp())
    if isinstance(revocations, str | os.PathLike) or isinstance(hand_overs, str | os.PathLike):
        raise InputError("revocations and hand_overs are lists: give [path]")
    lists, keys = list(revocations), list(hand_overs)
    verification = Verification.from_json(
        _core.verify(path, bundle, policy, lists, keys, require_anchor, name, seconds)
    )
    if on_failure == "raise" and verification.state not in PASSING:
        raise VerificationError(verification)
    return verification
