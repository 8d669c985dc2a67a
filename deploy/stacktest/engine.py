"""The Docker engine: the running one, or a private one that is removed at the end."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stacktest.shell import StackTestError, run, succeeds

PACKAGES = ("docker.io", "docker-compose", "iptables", "mmdebstrap")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_PATIENCE = 30.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers.

    Attributes:
        host: Its address, as in ``DOCKER_HOST``; empty for the client's default.
        private: Whether this test started it.
    """

    host: str
    private: bool

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which clients reach it."""
        chosen = {"DOCKER_HOST": self.host} if self.host else {}
        # Without the buildx plugin neither a newer client nor compose can build with BuildKit.
        return chosen if succeeds(["docker", "buildx", "version"]) else {**chosen, "DOCKER_BUILDKIT": "0"}

    def docker(self, *arguments: str | Path, patience: float = 120.0) -> str:
        """Run ``docker`` with these arguments, and return its standard output."""
        return run(["docker", *arguments], environment=self.environment, patience=patience)

    def version(self) -> str:
        """The engine's version."""
        return self.docker("version", "--format", "{{.Server.Version}}").strip()


def running_engine() -> Engine | None:
    """Find the engine that the client reaches, by DOCKER_HOST, its context or the default socket."""
    if shutil.which("docker") is None or not succeeds(
        ["docker", "version", "--format", "{{.Server.Version}}"]
    ):
        return None
    return Engine(host=os.environ.get("DOCKER_HOST", ""), private=False)


def install_packages(say: Say) -> None:
    """Install the engine, compose and the builder of stand-ins, from the packages of Debian or Ubuntu."""
    if all(map(shutil.which, ("dockerd", "docker-compose", "iptables", "mmdebstrap"))):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise StackTestError(
            f"--install-engine needs root and apt-get; install {' '.join(PACKAGES)} by other means"
        )
    say(f"installing {' '.join(PACKAGES)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], environment=quiet, patience=300)
    run(
        ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES], environment=quiet, patience=600
    )


@contextmanager
def private_engine(folder: Path) -> Iterator[Engine]:
    """Start a private engine and stop it again; the machine's network settings are restored.

    Args:
        folder: For its data and socket; the caller removes it.

    Raises:
        StackTestError: It does not start; the message has the end of its log.
    """
    socket, log = folder / "docker.sock", folder / "dockerd.log"
    with _network_settings_kept(), log.open("wb") as output:
        process = subprocess.Popen(
            [  # noqa: S607 - found on PATH, as every program here
                "dockerd",
                f"--data-root={folder / 'data'}",
                f"--exec-root={folder / 'exec'}",
                f"--pidfile={folder / 'dockerd.pid'}",
                f"--host=unix://{socket}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield _wait_until_up(Engine(f"unix://{socket}", private=True), process, log)
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _wait_until_up(engine: Engine, process: "subprocess.Popen[bytes]", log: Path) -> Engine:
    deadline = time.monotonic() + _PATIENCE
    while not succeeds(["docker", "version"], environment={"DOCKER_HOST": engine.host}):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StackTestError(f"dockerd does not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)
    return engine


@contextmanager
def _network_settings_kept() -> Iterator[None]:
    """Restore the packet filter, forwarding and bridges that a stopped dockerd leaves changed."""
    rules, forwarding, bridge = (
        run(["iptables-save"]),
        _FORWARDING.read_text(),
        succeeds(["ip", "link", "show", "docker0"]),
    )
    try:
        yield
    finally:
        # Tables that did not exist before are emptied: iptables-restore changes only the tables in its input.
        empty = "".join(f"*{table}\n{_EMPTY[table]}COMMIT\n" for table in _EMPTY if f"*{table}" not in rules)
        run(["iptables-restore"], stdin=rules + empty)
        _FORWARDING.write_text(forwarding)
        if not bridge and succeeds(["ip", "link", "show", "docker0"]):
            run(["ip", "link", "delete", "docker0"])


_EMPTY = {
    "filter": ":INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n",
    "nat": ":PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\n",
}
