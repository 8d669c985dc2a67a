"""Test of the images and compose files on a real Docker engine: built, started, used, broken, removed.

Every profile that needs no GPU: the CPU stack with monitoring, then the same over TLS.

It uses the running engine. Where none runs, --install-engine (or STACK_TEST_INSTALL=1) installs Debian's
packages and starts a private engine, which is removed at the end; without it nothing is installed.

Example: python deploy/stack_test.py --json
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stacktest import checks
from stacktest.base_images import overlay, provide
from stacktest.compose import Compose, base_images, compose_programs, image_bytes, version_of
from stacktest.engine import Engine, install_packages, private_engine, running_engine
from stacktest.shell import StackTestError, mounts_below, run

from stream.local.ports import free_ports
from stream.settings import SecurityProtocol, Settings

_ROOT = Path(__file__).resolve().parents[1]
_SAMPLES = _ROOT / "stream" / "local" / "samples" / "documents.jsonl"
_DOCUMENTS = 20
_TRITON_LIMIT = 2_000_000_000
_BUILD_PATIENCE = 1800.0
_START_PATIENCE = 240.0
_PROFILES = "cpu,monitoring"
_FILE, _TLS_FILE = "docker-compose.yml", "compose.tls.yml"


@dataclass
class Report:
    """Progress lines for people, and facts for the JSON object at the end."""

    facts: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def say(self, line: str) -> None:
        """Print one line for a person."""
        print(f"[{time.monotonic() - self.started:6.1f} s] {line}", flush=True)


def main() -> None:
    """Run the test; exit 0 when every check passes."""
    arguments = _arguments()
    report = Report()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as Ctrl-C does
    try:
        os.chdir(_ROOT)
        with _work_folder() as folder, _engine(arguments.install_engine, folder, report) as engine:
            _test(engine, arguments.compose, folder, report)
        report.facts["ok"] = True
        report.say("all checks passed")
    except (StackTestError, KeyboardInterrupt) as error:
        report.facts |= {"ok": False, "error": str(error) or "interrupted"}
        print(f"stack-test: {report.facts['error']}", file=sys.stderr)
    report.facts["seconds"] = round(time.monotonic() - report.started, 1)
    if arguments.json:
        print(json.dumps(report.facts))
    sys.exit(0 if report.facts["ok"] else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--install-engine",
        action="store_true",
        default=os.environ.get("STACK_TEST_INSTALL") == "1",
        help="install Docker from Debian's packages if it is missing, and start a private engine",
    )
    parser.add_argument(
        "--compose",
        metavar="PROGRAM",
        help="compose program to use; the files are checked with all programs found",
    )
    parser.add_argument(
        "--json", action="store_true", help="the last line on standard output is a JSON object"
    )
    return parser.parse_args()


@contextmanager
def _work_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="stack-test-"))
    folder.chmod(0o755)  # apt fetches packages as a user of its own
    try:
        yield folder
    finally:
        # A mount in it may be a folder of this machine, whose content must not be removed.
        if mounted := mounts_below(folder):
            raise StackTestError(f"{folder} is not removed, because it contains mounts: {', '.join(mounted)}")
        shutil.rmtree(folder)


@contextmanager
def _engine(install: bool, folder: Path, report: Report) -> Iterator[Engine]:  # noqa: FBT001 - one caller
    if engine := running_engine():
        _report_engine(engine, report)
        yield engine
        return
    if not install:
        raise StackTestError(
            "no Docker engine answers. Start one, set DOCKER_HOST, or let this test install and start a "
            "private one: make stack-test STACK_TEST_ARGS=--install-engine"
        )
    install_packages(report.say)
    with private_engine(folder) as engine:
        _report_engine(engine, report)
        yield engine
    report.say("private engine stopped, network settings restored")


def _report_engine(engine: Engine, report: Report) -> None:
    report.facts["engine"] = {"version": engine.version(), "private": engine.private}
    report.say(f"Docker engine {engine.version()}{', started for this test' if engine.private else ''}")


def _test(engine: Engine, compose_program: str | None, folder: Path, report: Report) -> None:
    programs = compose_programs(compose_program)
    kafka_port, triton_port, health_port, prometheus_port = free_ports(4)
    compose = Compose(
        program=programs[0],
        engine=engine,
        project=f"padellm-stack-test-{os.getpid()}",
        environment={
            "COMPOSE_FILE": _FILE,
            "COMPOSE_PROFILES": _PROFILES,
            "PADELLM_KAFKA_PORT": str(kafka_port),
            "PADELLM_TRITON_PORT": str(triton_port),
            "PADELLM_HEALTH_PORTS": str(health_port),
            "PADELLM_PROMETHEUS_PORT": str(prometheus_port),
        },
    )
    _files_accepted(compose, programs, report)
    configuration = _started(compose)
    stand_ins = provide(engine, base_images(configuration, _ROOT), folder, report.say)
    report.facts["stand_ins"] = stand_ins
    report.say(f"stand-ins for base images: {', '.join(stand_ins) or 'none'}")
    stand_in_file = folder / "stand-ins.json"
    stand_in_file.write_text(json.dumps(overlay(configuration["services"], stand_ins, _ROOT)))
    compose = compose.over(stand_in_file)
    _build(compose, configuration, report)
    with _stack(compose, report):
        _start(compose, report)
        checks.prometheus_watches(prometheus_port)  # first: at its end the use stops the worker
        report.say("Prometheus has the alerts, and figures of the worker and of Triton")
        _use(compose, Settings(broker=f"127.0.0.1:{kafka_port}"), health_port, report)
    _use_over_tls(compose, folder / "tls", kafka_port, report)


def _use_over_tls(compose: Compose, certificates: Path, kafka_port: int, report: Report) -> None:
    run([_ROOT / "deploy" / "tls" / "make_certificates.sh", certificates])
    access = {"COMPOSE_PROFILES": "cpu", "PADELLM_TLS_DIR": str(certificates)}
    over = compose.over(_ROOT / _TLS_FILE)
    secured = replace(over, environment={**over.environment, **access})
    clear = Settings(broker=f"127.0.0.1:{kafka_port}")
    files = {
        "security_protocol": SecurityProtocol.SSL,
        "ssl_ca_location": certificates / "ca.crt",
        "ssl_certificate_location": certificates / "worker.crt",
        "ssl_key_location": certificates / "worker.key",
    }
    with _stack(secured, report):
        _start(secured, report)
        records = checks.samples(_SAMPLES, _DOCUMENTS)
        summary = checks.documents_become_events(clear.model_copy(update=files), records)
        checks.broker_refuses(clear)
    report.facts["round_trip_tls"] = summary.as_dict()
    report.say(f"over TLS {summary.documents} documents in, {summary.events} events out; none in clear text")


@contextmanager
def _stack(compose: Compose, report: Report) -> Iterator[None]:
    """Take the stack down at the end, and look for what is left."""
    try:
        yield
    except StackTestError:
        print(compose.logs(list(compose.containers())), file=sys.stderr)
        raise
    finally:
        volumes = _volumes(compose)
        compose.run("down", "--volumes", "--remove-orphans", patience=180)
    _nothing_left(compose, volumes, report)


def _files_accepted(compose: Compose, programs: list[tuple[str, ...]], report: Report) -> None:
    """Check that every compose program found accepts the files."""
    for program in programs:
        for profile, files in {
            _PROFILES: (),
            "gpu": ("-f", "docker-compose.yml", "-f", "compose.gpu.yml"),
            "trtllm": ("-f", "docker-compose.yml", "-f", "compose.gpu.yml"),
        }.items():
            reader = Compose(
                program, compose.engine, compose.project, {**compose.environment, "COMPOSE_PROFILES": profile}
            )
            reader.run(*files, "config", "--quiet")
        report.say(f"the compose files are accepted by compose {version_of(program)}")
    report.facts["compose"] = [version_of(program) for program in programs]


def _started(compose: Compose) -> dict[str, Any]:
    """Read the file with compose, and drop the services of other profiles (compose 1.29 lists them too)."""
    wanted = set(_PROFILES.split(","))
    services = compose.configuration()["services"]
    return {
        "services": {
            name: each for name, each in services.items() if wanted & set(each.get("profiles", wanted))
        }
    }


def _build(compose: Compose, configuration: dict[str, Any], report: Report) -> None:
    started = time.monotonic()
    compose.run("build", patience=_BUILD_PATIENCE)
    ours = {name: configuration["services"][name]["image"] for name in ("triton", "worker")}
    sizes = {name: image_bytes(compose.engine, image) for name, image in ours.items()}
    report.facts["build_seconds"] = round(time.monotonic() - started, 1)
    report.facts["image_megabytes"] = {name: round(size / 1e6) for name, size in sizes.items()}
    report.say(f"images built: {', '.join(f'{name} {size / 1e6:.0f} MB' for name, size in sizes.items())}")
    if sizes["triton"] >= _TRITON_LIMIT:
        raise StackTestError(f"the Triton image has {sizes['triton'] / 1e9:.2f} GB, the limit is 2")
    checks.worker_image_is_lean(compose, ours["worker"])


def _start(compose: Compose, report: Report) -> None:
    started = time.monotonic()
    compose.run("up", "--detach", patience=_START_PATIENCE)
    compose.wait_until_fine(_START_PATIENCE)
    checks.all_hardened(compose)
    report.facts["start_seconds"] = round(time.monotonic() - started, 1)
    report.say(f"up and healthy: {', '.join(sorted(compose.containers()))}")


def _use(compose: Compose, settings: Settings, health_port: int, report: Report) -> None:
    checks.pages_answer(health_port)
    records = checks.samples(_SAMPLES, _DOCUMENTS + 1)
    summary = checks.documents_become_events(settings, records[:_DOCUMENTS])
    report.facts["round_trip"] = summary.as_dict()
    report.say(
        f"{summary.documents} documents in, {summary.events} events out with {summary.entities} entities"
    )
    checks.bad_document_becomes_dead_letter(settings)
    report.say("a bad record became a dead letter")
    seconds = checks.worker_comes_back(compose)
    checks.documents_become_events(settings, records[_DOCUMENTS:])
    report.facts["worker_back_seconds"] = round(seconds, 1)
    report.say(f"worker killed (SIGKILL), healthy again after {seconds:.1f} s, and answers")
    seconds = checks.worker_stops_in_order(compose)
    report.facts["worker_stop_seconds"] = round(seconds, 1)
    report.say(f"worker stopped in order in {seconds:.1f} s")


def _volumes(compose: Compose) -> list[str]:
    """List all volumes of the stack, those that images declare included."""
    mounts = [mount for each in compose.containers().values() for mount in each.inspected["Mounts"]]
    return [mount["Name"] for mount in mounts if mount["Type"] == "volume"]


def _nothing_left(compose: Compose, volumes: list[str], report: Report) -> None:
    existing = set(compose.engine.docker("volume", "ls", "--quiet").split())
    left = [*compose.left_over(), *existing.intersection(volumes)]
    report.facts["left_over"] = left
    if left:
        raise StackTestError(f"down left behind: {', '.join(left)}")
    report.say("down: no container, volume or network left")


if __name__ == "__main__":
    main()
