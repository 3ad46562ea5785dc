from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TypeAlias

_Path: TypeAlias = str | PathLike[str]

def badge_json(verdict: str) -> str: ...
def badge_markdown(verdict: str, image: str, link: str) -> str: ...
def badge_svg(verdict: str) -> str: ...
def derivation(child: _Path, parent: _Path, second_parent: _Path | None, candidates: int) -> str: ...
def diff(first: _Path, second: _Path) -> str: ...
def digest(path: _Path, tensors: bool, sha256: bool) -> str: ...
def keygen(folder: _Path, name: str) -> str: ...
def sign(
    path: _Path,
    key: _Path,
    parents: Sequence[tuple[str, _Path, _Path | None]],
    log: _Path | None,
    out: _Path | None,
    kind: str | None,
    marks: Sequence[_Path],
    parameters: Mapping[str, str],
    revision: str | None,
) -> str: ...
def verify(
    path: _Path,
    bundle: _Path | None,
    policy: _Path | None,
    revocations: Sequence[_Path],
    hand_overs: Sequence[_Path],
    require_anchor: bool,
    name: str | None,
    at: int | None,
) -> str: ...
def watermark_detect(
    model: _Path, key: _Path | None, commitment: _Path | None, disclosure: _Path | None, base: _Path | None
) -> str: ...
def watermark_disclose(key: _Path, commitment: _Path, group: int, out: _Path, payload: bytes | None) -> None: ...
def watermark_embed(
    model: _Path,
    key: _Path,
    out: _Path,
    log: _Path | None,
    strength: float | None,
    payload: bytes | None,
    recipient: str | None,
) -> str: ...
def watermark_trace(model: _Path, key: _Path, base: _Path | None) -> str: ...
