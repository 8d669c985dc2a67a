"""Docker compose, and the containers that it created."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stacktest.base_images import base_of
from stacktest.engine import Engine
from stacktest.shell import StackTestError, run, succeeds

_POLL = 0.5
_LABEL = "com.docker.compose"


@dataclass(frozen=True)
class Container:
    """A container of the stack, as ``docker inspect`` shows it."""

    service: str
    inspected: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its full id."""
        return str(self.inspected["Id"])

    @property
    def pid(self) -> int:
        """Process id of its first process on this machine; 0 when it does not run."""
        return int(self.inspected["State"]["Pid"])

    @property
    def restarts(self) -> int:
        """Number of restarts by the engine."""
        return int(self.inspected["RestartCount"])

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        state = self.inspected["State"]
        return None if state["Status"] != "exited" else int(state["ExitCode"])

    @property
    def is_fine(self) -> bool:
        """Healthy, or exited with status 0 if it is a one-time service."""
        state = self.inspected["State"]
        once = self.inspected["HostConfig"]["RestartPolicy"]["Name"] == "on-failure"
        return self.exit_status == 0 if once else state.get("Health", {}).get("Status") == "healthy"

    def weaknesses(self) -> list[str]:
        """Hardening that the running container lacks."""
        host = self.inspected["HostConfig"]
        published = [
            binding["HostIp"] for bindings in (host["PortBindings"] or {}).values() for binding in bindings
        ]
        holds = {
            "runs as root": self.inspected["Config"]["User"].partition(":")[0] not in ("", "0", "root"),
            "writable root file system": host["ReadonlyRootfs"],
            "capabilities": host["CapDrop"] == ["ALL"] and not host["CapAdd"],
            "may gain privileges": any("no-new-privileges" in option for option in host["SecurityOpt"] or ()),
            "no memory limit": host["Memory"] > 0,
            "no process limit": (host["PidsLimit"] or 0) > 0,
            "published beyond loopback": all(address == "127.0.0.1" for address in published),
            "no health check": bool(self.inspected["Config"].get("Healthcheck", {}).get("Test")),
        }
        return [weakness for weakness, held in holds.items() if not held]


@dataclass(frozen=True)
class Compose:
    """A compose program with one project.

    Attributes:
        program: First words of its command line.
        engine: Runs the containers.
        project: Name that keeps them apart from other projects.
        environment: Values for the file's variables.
    """

    program: tuple[str, ...]
    engine: Engine
    project: str
    environment: Mapping[str, str]

    def run(self, *arguments: str, patience: float = 120.0) -> str:
        """Run compose with these arguments, and return its standard output."""
        environment = {**self.engine.environment, **self.environment, "COMPOSE_PROJECT_NAME": self.project}
        return run([*self.program, *arguments], environment=environment, patience=patience)

    def over(self, file: Path) -> "Compose":
        """The same with another file laid over those that COMPOSE_FILE names."""
        files = f"{self.environment['COMPOSE_FILE']}:{file}"
        return replace(self, environment={**self.environment, "COMPOSE_FILE": files})

    def configuration(self) -> dict[str, Any]:
        """Read the file with compose."""
        import yaml  # noqa: PLC0415 - a test dependency

        return dict(yaml.safe_load(self.run("config")))

    def containers(self) -> dict[str, Container]:
        """All containers of the project by service."""
        ids = self.engine.docker(
            "ps", "--all", "--quiet", f"--filter=label={_LABEL}.project={self.project}"
        ).split()
        found = json.loads(self.engine.docker("inspect", *ids)) if ids else []
        named = ((each["Config"]["Labels"][f"{_LABEL}.service"], each) for each in found)
        return {service: Container(service, each) for service, each in named}

    def wait_until_fine(self, patience: float) -> None:
        """Wait until every container is healthy, or has exited with status 0.

        Raises:
            StackTestError: It took too long; names the containers.
        """
        deadline = time.monotonic() + patience
        while True:
            containers = self.containers()
            if containers and all(each.is_fine for each in containers.values()):
                return
            if time.monotonic() > deadline:
                ill = [name for name, each in containers.items() if not each.is_fine]
                raise StackTestError(f"not healthy after {patience:.0f} s: {', '.join(ill)}")
            time.sleep(_POLL)

    def logs(self, services: Sequence[str]) -> str:
        """Last lines of the services' logs."""
        return self.run("logs", "--tail=20", "--no-color", *services) if services else ""

    def left_over(self) -> list[str]:
        """Containers, volumes and networks of the project that still exist."""
        mine = f"--filter=label={_LABEL}.project={self.project}"
        return [
            *self.engine.docker("ps", "--all", "--quiet", mine).split(),
            *self.engine.docker("volume", "ls", "--quiet", mine).split(),
            *self.engine.docker("network", "ls", "--quiet", mine).split(),
        ]


def compose_programs(given: str | None) -> list[tuple[str, ...]]:
    """Find the compose programs of this machine: the given one first, then v2's plugin, then v1.

    Raises:
        StackTestError: There is none.
    """
    candidates = [(given,)] if given else []
    candidates += [("docker", "compose"), ("docker-compose",)]
    found = [
        program for program in candidates if shutil.which(program[0]) and succeeds([*program, "version"])
    ]
    if not found:
        raise StackTestError(
            "there is no docker compose: install Docker's compose plugin, or use --install-engine"
        )
    return found


def version_of(program: tuple[str, ...]) -> str:
    """Its version number."""
    return run([*program, "version", "--short"]).strip()


def image_bytes(engine: Engine, image: str) -> int:
    """Size of an image in the engine."""
    return int(engine.docker("image", "inspect", "--format", "{{.Size}}", image))


def base_images(configuration: Mapping[str, Any], root: Path) -> list[str]:
    """List the images that a build needs: those that no service builds, and those of the Dockerfiles."""
    services = configuration["services"].values()
    built = {service["image"] for service in services if "build" in service}
    pulled = {service["image"] for service in services} - built
    begun = {base_of(root / service["build"]["dockerfile"]) for service in services if "build" in service}
    return sorted(pulled | begun)
