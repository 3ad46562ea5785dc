"""The named cases of ``fixtures/index.json``, which the Rust tests read too."""

import json
from pathlib import Path
from typing import Any

import countermark as cm
import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures"
CASES = json.loads((FIXTURES / "index.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    path, bundle, policy = (FIXTURES / "cases" / case["files"][which] for which in ("path", "bundle", "policy"))
    verification = cm.verify(path, bundle=bundle, policy=policy, on_failure="return")
    assert verification.state == case["state"]
    rows = [f"{check.name}: {check.detail}" for check in verification.checks if check.state == verification.state]
    assert any(case["reason"] in row for row in rows)
