"""Ctrl-C in the middle of work, and other threads meanwhile."""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import countermark as cm
import pytest

SIZE = 32 << 30


@pytest.fixture
def hole(tmp_path: Path) -> Path:
    """A sparse file that takes many seconds to hash and no room on the disk."""
    path = tmp_path / "hole.bin"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


@pytest.fixture(autouse=True)
def interrupts_are_heard() -> Iterator[None]:
    """A shell starts what runs in its background with interrupts ignored, and Python then leaves them so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_the_work(hole: Path) -> None:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        cm.digest(hole)
    assert time.monotonic() - began < 10


def test_other_threads_run_meanwhile(hole: Path) -> None:
    ticks = 0

    def interrupt_after_ticks() -> None:
        nonlocal ticks
        for _ in range(10):
            time.sleep(0.01)
            ticks += 1
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt_after_ticks)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        cm.digest(hole)
    thread.join()
    assert ticks == 10
