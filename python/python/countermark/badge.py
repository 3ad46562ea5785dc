"""A verdict as a picture for a model card. A badge can be copied by anybody: link it to where it can be checked."""

from __future__ import annotations

from countermark import _core
from countermark.results import Verification

__all__ = ["json", "markdown", "svg"]


def svg(verification: Verification) -> str:
    """The badge as one SVG document."""
    return _core.badge_svg(verification.to_json())


def json(verification: Verification) -> str:
    """The document that a shields.io endpoint badge reads."""
    return _core.badge_json(verification.to_json())


def markdown(verification: Verification, *, image: str, link: str) -> str:
    """Markdown that shows ``image`` and leads to ``link``; both are relative paths or URLs."""
    return _core.badge_markdown(verification.to_json(), image, link)
