"""Health of a worker in its container, and the end of one that a restart would help.

    python3 -m stream.worker.container_health [--end-after FAILURES]

Healthy is what ``/readyz`` says. A worker whose ``/livez`` was well and then fails, or gives no answer, so
many times in a row is killed, so that the container's restart policy starts it anew: plain compose restarts
what ends, but not what is unhealthy. Its documents in flight are read again. It imports the standard library
alone.
"""

import argparse
import os
import signal
import sys
import urllib.request
from pathlib import Path

STATE = Path("/tmp/container_health")  # noqa: S108 - in a container of its own: failures since it was well
_TIMEOUT = 1.5  # seconds; both pages together take less than the container's own limit
_ALL_OTHERS = -1  # every process of the container but its init and this one


def main() -> int:
    """Ask, and note how often ``/livez`` failed; returns 0 where the worker is ready."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    address = f"http://127.0.0.1:{os.environ.get('PADELLM_HEALTH_PORT', '8088')}"
    parser.add_argument("--url", default=address)
    parser.add_argument("--state", type=Path, default=STATE, help="file of failures since it was well")
    parser.add_argument("--end-after", type=int, help="end the worker after so many failures in a row")
    asked = parser.parse_args()
    if _answers(f"{asked.url}/livez"):
        asked.state.write_text("0")
    elif asked.state.exists():  # it was well once: starting is no failure
        failures = int(asked.state.read_text() or 0) + 1
        asked.state.write_text(str(failures))
        if asked.end_after and failures >= asked.end_after:
            sys.stderr.write(f"ending the worker after {failures} failures of /livez\n")
            asked.state.unlink()
            os.kill(_ALL_OTHERS, signal.SIGKILL)
    return 0 if _answers(f"{asked.url}/readyz") else 1


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT):  # noqa: S310 - its own worker
            return True
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
        return False


if __name__ == "__main__":
    sys.exit(main())
