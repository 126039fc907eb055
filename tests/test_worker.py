"""The worker as a process of its own: it has what the control plane has beside the routes."""

from __future__ import annotations

import json
import subprocess
import sys

TOLD = """
import json, app.worker
from app.identity.permissions import REGISTRY
print(json.dumps(sorted(REGISTRY)))
"""


def test_it_knows_who_may_do_what() -> None:
    """Imports and harvests ask what their person may do, daily mails what an inbox may show: without the registry
    the ones fail for ever and the others are empty."""
    told = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, check=True, timeout=60)
    assert {"import.commit", "negotiation.list", "request.list", "finding.list"} <= set(
        json.loads(told.stdout)
    )
