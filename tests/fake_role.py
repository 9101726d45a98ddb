"""A role process that does nothing but report, and misbehaves as a file says: for tests of the supervisor.

`python tests/fake_role.py KIND CHANNEL DESCRIPTOR BEHAVIOUR_FILE`; the file is JSON: {"apply.crm": {"state": "paused", "do": "hang"}}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from cdc.child import Report, SupervisorGoneError, bind_to_parent
from cdc.facts import RoleFacts


def main() -> int:
    kind, channel, behaviour, _, descriptor = sys.argv[1:]
    bind_to_parent()
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    report = Report(int(descriptor))
    rows = 0
    while not stopping:
        told = json.loads(Path(behaviour).read_text()).get(f"{kind}.{channel}", {})
        match told.get("do"):
            case "crash":
                return 1
            case "deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case "hang":
                while True:
                    time.sleep(1)
            case int(code):
                return code
        facts = {"state": "running", "rows": rows} | told.get("facts", {})
        try:
            report.send(RoleFacts(kind=kind, channel=channel, pid=os.getpid(), **facts))  # type: ignore[arg-type]
        except SupervisorGoneError:
            return 0
        rows += 10
        time.sleep(0.1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
