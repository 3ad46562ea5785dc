"""What can go wrong: one base, and the built-in exception that says the same beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from countermark.results import Verification


class CountermarkError(Exception):
    """Base of every exception of this package. The message says what, where and how to mend it."""


class InputError(CountermarkError, ValueError):
    """A value or the content of a file is wrong: a relation, a strength, a key, a model's header."""


class FileError(CountermarkError, OSError):
    """A file or folder cannot be read or written."""


class VerificationError(CountermarkError):
    """The verdict is neither ``verified`` nor ``unanchored``.

    Attributes:
        verification: The whole verdict, with one row per check.
    """

    def __init__(self, verification: Verification) -> None:
        """Names the state and the checks that did not pass."""
        self.verification = verification
        failed = [f"{check.name}: {check.detail}" for check in verification.checks if check.state not in PASSING]
        super().__init__("\n".join([f"{verification.name or 'artifact'}: {verification.state}", *failed]))

    def __reduce__(self) -> tuple[type[VerificationError], tuple[Verification]]:
        return type(self), (self.verification,)


PASSING = frozenset({"verified", "unanchored"})
"""States that `verify` does not raise on, and for which ``countermark verify`` exits 0."""
