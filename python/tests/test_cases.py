"""The named cases of ``fixtures/index.json``, which the Rust tests read too."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import countermark as cm
import pytest

FIXTURES = Path(os.environ.get("COUNTERMARK_CASES", Path(__file__).parents[2] / "fixtures"))
CASES = [case for case in json.loads((FIXTURES / "index.json").read_text()) if case["verb"] == "verify"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    folder, options = FIXTURES / "cases", case["options"]
    bundle = folder / options["bundle"] if "bundle" in options else None
    verification = cm.verify(
        folder / case["path"],
        bundle=bundle,
        policy=folder / options["policy"],
        revocations=[folder / options[name] for name in ("revocations",) if name in options],
        hand_overs=[folder / options[name] for name in ("hand-over",) if name in options],
        at=datetime.fromisoformat(options["at"]),
        on_failure="return",
    )
    assert verification.state == case["state"]
    rows = [f"{check.name}: {check.detail}" for check in verification.checks if check.state == verification.state]
    assert any(case["reason"] in row for row in rows)
