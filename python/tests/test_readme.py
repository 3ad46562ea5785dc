"""The README's example runs as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import models
import pytest

README = Path(__file__).parent.parent / "README.md"


def test_the_example_runs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = tmp_path / "tuned"
    shutil.copytree(model, tuned)
    models.flip_last_bit(tuned / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    exec(example[1], {})
    assert capsys.readouterr().out.startswith("unanchored\n")
