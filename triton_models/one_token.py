"""Ask the model for one token: health of a server, where "ready" is not enough.

A model stays ready after its executor failed. This sends a real prompt to the server in its own container. A
server that was healthy and then fails several times in a row is ended (a signal to process 1), so that the
container's restart policy starts it anew: plain compose restarts what ends, but not what is unhealthy. It
needs the standard library alone.

    python3 one_token.py [--end-after FAILURES]
"""

import argparse
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

URL = "http://127.0.0.1:8000/v2/models/tensorrt_llm/infer"
STATE = Path("/tmp/one_token")  # noqa: S108 - in a container of its own: failures since it was last healthy
PROMPT = {"input_ids": 0, "input_lengths": 1, "request_output_len": 1}


def ask(url: str, timeout: float) -> None:
    """Ask for one token after a prompt of one.

    Raises:
        OSError: There is no answer in time, or it is an error.
        ValueError: The answer holds no token.
    """
    tensor = {"shape": [1, 1], "datatype": "INT32"}
    inputs = [{"name": name, "data": [value], **tensor} for name, value in PROMPT.items()]
    outputs = [{"name": "output_ids"}, {"name": "sequence_length"}]
    body = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    with urllib.request.urlopen(url, body, timeout) as response:  # noqa: S310 - its own server
        answer = {output["name"]: output["data"] for output in json.load(response)["outputs"]}
    if answer["sequence_length"] != [1] or len(answer["output_ids"]) != 1:
        raise ValueError(f"{answer} is not one token")


def main() -> int:
    """Ask, and note how often it failed; returns 1 where it did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default=URL)
    parser.add_argument("--timeout", type=float, default=8.0, help="seconds")
    parser.add_argument("--state", type=Path, default=STATE, help="file of failures since it was healthy")
    parser.add_argument("--end-after", type=int, help="end process 1 after so many failures in a row")
    asked = parser.parse_args()
    try:
        ask(asked.url, asked.timeout)
    except (OSError, ValueError, KeyError) as error:
        print(f"no token: {error}", file=sys.stderr)
        if asked.state.exists():  # it was healthy once: loading is no failure
            failures = int(asked.state.read_text() or 0) + 1
            asked.state.write_text(str(failures))
            if asked.end_after and failures >= asked.end_after:
                print(f"ending the server after {failures} failures", file=sys.stderr)
                asked.state.unlink()
                os.kill(1, signal.SIGTERM)
        return 1
    asked.state.write_text("0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
