"""Base images of the project's own: pulled, or replaced by stand-ins where no registry can be reached.

A stand-in has the same tag, and is built from Debian packages, Kafka's published jars and the machine's own
certificate authorities. The project's files name images by digest too, which none built here can have, so an
overlay names the stand-ins.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stacktest.engine import Engine, Say
from stacktest.shell import StackTestError, run, succeeds
from stream.local.java import fetch, locked_jars
from stream.local.kafka import VERSION
from stream.settings import Settings

_RECIPES = Path(__file__).parent / "stand_ins"
_BASE = "padellm-stand-in-base:bookworm"
_UNNEEDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
_CERTIFICATES = Path("/usr/local/share/ca-certificates")


def provide(engine: Engine, images: list[str], folder: Path, say: Say) -> list[str]:
    """Bring these images into the engine.

    Args:
        engine: Gets them.
        images: Names with tags.
        folder: For the build contexts of stand-ins.
        say: Called with lines about the progress.

    Returns:
        Those that stand-ins are there for.

    Raises:
        StackTestError: One can neither be pulled nor replaced.
    """
    unreachable = [each for each in images if not _exists(engine, each) and not _pull(engine, each, say)]
    for image in unreachable:
        if not _exists(engine, tag_of(image)):
            say(f"{image} cannot be pulled: building a stand-in")
            _stand_in(engine, tag_of(image), folder)
    return unreachable


def overlay(services: Mapping[str, Any], stand_ins: list[str], root: Path) -> dict[str, Any]:
    """A compose file that puts stand-ins in the place of the images that the services run or are built on."""
    changes: dict[str, Any] = {}
    for name, service in services.items():
        if "build" not in service:
            if service["image"] in stand_ins:
                changes[name] = {"image": tag_of(service["image"])}
        elif (base := base_of(root / service["build"]["dockerfile"])) in stand_ins:
            changes[name] = {"build": {"args": {"PYTHON_IMAGE": tag_of(base)}}}
    return {"services": changes}


def base_of(dockerfile: Path) -> str:
    """The image of Python that a Dockerfile begins with."""
    lines = dockerfile.read_text(encoding="utf-8").splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("ARG PYTHON_IMAGE="))


def tag_of(image: str) -> str:
    """An image's name and tag, without its digest."""
    return image.partition("@")[0]


def recipe_of(image: str) -> Path:
    """The Dockerfile of an image's stand-in."""
    return _RECIPES / f"{tag_of(image).rpartition(':')[0].rpartition('/')[2]}.Dockerfile"


def _exists(engine: Engine, image: str) -> bool:
    return succeeds(["docker", "image", "inspect", image], environment=engine.environment)


def _pull(engine: Engine, image: str, say: Say) -> bool:
    say(f"pulling {image}")
    return succeeds(["docker", "pull", "--quiet", image], environment=engine.environment, patience=600)


def _stand_in(engine: Engine, image: str, folder: Path) -> None:
    if not _exists(engine, _BASE):
        _build_base(engine, folder)
    repository = image.rpartition(":")[0]
    context = folder / repository.replace("/", "-")
    if repository == "python":
        _copy_certificates(context / "certificates")
    elif repository == "apache/kafka":
        _copy_jars(context)
    elif repository == "prom/prometheus":
        context.mkdir()
    else:
        raise StackTestError(f"there is no stand-in for {image}")
    engine.docker(
        "build",
        "--quiet",
        f"--file={recipe_of(image)}",
        f"--build-arg=BASE={_BASE}",
        f"--tag={image}",
        context,
        patience=600,
    )


def _build_base(engine: Engine, folder: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise StackTestError(
            "stand-ins for base images need mmdebstrap: apt install mmdebstrap, or --install-engine"
        )
    archive = folder / "base.tar"
    leave_out = [f"--dpkgopt=path-exclude={path}" for path in _UNNEEDED]
    # In namespaces of its own: it binds this machine's /sys and /dev/shm into its folder. After a kill in the
    # middle, a removal of that folder would otherwise remove their content as well.
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    run(
        [
            *alone,
            "mmdebstrap",
            "--variant=minbase",
            "--include=ca-certificates",
            *leave_out,
            "bookworm",
            archive,
        ],
        environment={"TMPDIR": str(folder)},
        patience=600,
    )
    engine.docker("import", "--change", 'CMD ["bash"]', "--change", "LABEL stand-in=true", archive, _BASE)
    archive.unlink()


def _copy_certificates(folder: Path) -> None:
    folder.mkdir(parents=True)
    for certificate in _CERTIFICATES.glob("*.crt"):
        shutil.copy(certificate, folder)


def _copy_jars(folder: Path) -> None:
    (folder / "libs").mkdir(parents=True)
    for jar in fetch(locked_jars(), Settings().cache_dir / f"kafka-{VERSION}"):
        shutil.copy(jar, folder / "libs")
    shutil.copy(_RECIPES / "kafka-run", folder)
