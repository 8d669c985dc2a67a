"""The Helm chart, rendered by Helm itself; what only a cluster can show is in docs/kubernetes.md."""

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.settings import Settings

LACKING = "needs the deployment tools: make test-deploy"
helm = pytest.importorskip("helm_python", reason=LACKING)
kubernetes = pytest.importorskip("kubernetes_validate", reason=LACKING)
keda = pytest.importorskip("cloudcoil.models.keda.v1alpha1", reason=LACKING)

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "padellm"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
KUBERNETES = ("1.35", "1.36", "1.37")
VOLUME = {"persistentVolumeClaim": {"claimName": "weights"}}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "trtllm": {"model": {"volume": VOLUME}, "triton": {"backend": "trtllm", "engineVolume": VOLUME}},
    "vllm": {"model": {"volume": VOLUME}, "triton": {"backend": "vllm", "maxSurge": 0}},
    "external": {"triton": {"backend": "external", "externalUrl": "triton.ml:8443", "caSecret": "triton-ca"}},
    "password": {
        "kafka": {
            "broker": "b-1.kafka:9096, b-2.kafka:9098",
            "securityProtocol": "SASL_SSL",
            "saslMechanism": "SCRAM-SHA-512",
            "caSecret": "kafka-ca",
            "loginSecret": "kafka-login",
        },
        "triton": {"serverSecret": "triton", "caSecret": "triton-ca", "clientSecret": "worker"},
        "scaling": {"enabled": True},
        "settings": {"PADELLM_THRESHOLD": 0.5, "PADELLM_MAX_TEXT_CHARACTERS": 2_000_000},
        "networkPolicy": {"scrapers": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]},
    },
    "certificate": {
        "kafka": {"securityProtocol": "SSL", "caSecret": "kafka-ca", "certificateSecret": "kafka-client"},
        "scaling": {"enabled": True, "maxReplicas": 40},
    },
    "token": {
        "kafka": {
            "securityProtocol": "SASL_SSL",
            "saslMechanism": "OAUTHBEARER",
            "tokenSecret": "kafka-token",
            "tokenEndpointUrl": "https://login.example.com/token",
            "clientId": "padellm",
            "scope": "kafka",
        },
        "registry": {
            "url": "https://registry.example.com:8443/apis/ccompat/v7",
            "caSecret": "registry-ca",
            "certificateSecret": "registry-client",
            "loginSecret": "registry-login",
        },
        "settings": {
            "PADELLM_RECORD_ENCODING": "registry",
            "PADELLM_EVENT_ENCODING": "avro",
            "PADELLM_OTLP_ENDPOINT": "http://otel:4318",
        },
        "scaling": {"enabled": True},
    },
}
each_case = pytest.mark.parametrize("case", CASES)


@cache
def _rendered(case: str) -> tuple[dict[str, Any], ...]:
    return tuple(_render(CASES[case]))


def _render(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="ner", namespace="prod")
    for name, text in files.items():
        if name.endswith(".yaml"):
            yield from filter(None, yaml.safe_load_all(text))


def _kind(case: str, kind: str, component: str) -> dict[str, Any]:
    name = f"ner-padellm-{component}"
    (found,) = (each for each in _rendered(case) if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def _pods(case: str) -> dict[str, dict[str, Any]]:
    """Pod templates by component."""
    return {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"]
        for each in _rendered(case)
        if "template" in each.get("spec", {})
    }


def _worker(case: str) -> dict[str, Any]:
    (container,) = _pods(case)["worker"]["spec"]["containers"]
    return container


def _triton(case: str) -> dict[str, Any]:
    (container,) = _pods(case)["triton"]["spec"]["containers"]
    return container


def _environment(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container.get("env", ())}


@each_case
@pytest.mark.parametrize("version", KUBERNETES)
def test_chart_passes_helms_own_lint(case, version):
    """Helm has no warning about the chart, nor the schema about the values."""
    found = helm.lint(CHART, CASES[case], strict=True, kube_version=f"v{version}.0")
    assert found["errors"] == []
    assert [each for each in found["messages"] if each["severity"] > 1] == []


@each_case
@pytest.mark.parametrize("version", KUBERNETES)
def test_chart_manifests_are_those_of_the_api(case, version):
    """Each manifest is one that this version of Kubernetes takes, without a field that it does not know."""
    own = [each for each in _rendered(case) if not each["apiVersion"].startswith("keda.sh/")]
    assert len(own) > 3
    for manifest in own:
        kubernetes.validate(manifest, version, strict=True)


@pytest.mark.parametrize("case", ["password", "certificate", "token"])
def test_chart_scaling_is_as_keda_defines_it(case):
    """The objects for KEDA have its fields and no others."""
    for manifest in _rendered(case):
        if manifest["apiVersion"].startswith("keda.sh/"):
            read = getattr(keda, manifest["kind"]).model_validate(manifest)
            assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == manifest


@each_case
def test_chart_pods_are_restricted(case):
    """Pods meet the restricted Pod Security Standard, on a read-only root file system."""
    for pod in _pods(case).values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert not any("hostPort" in port for port in container["ports"])
        allowed = {"name", "configMap", "csi", "emptyDir", "ephemeral", "persistentVolumeClaim", "secret"}
        assert all(set(volume) <= allowed for volume in spec["volumes"])


@each_case
def test_chart_pods_have_no_rights(case):
    """No pod gets a token of the cluster, and nothing binds a role to its account."""
    assert not [each for each in _rendered(case) if "Role" in each["kind"]]
    (account,) = (each for each in _rendered(case) if each["kind"] == "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    for pod in _pods(case).values():
        assert pod["spec"]["serviceAccountName"] == account["metadata"]["name"]
        assert pod["spec"]["automountServiceAccountToken"] is False


@each_case
def test_chart_selectors_find_their_pods(case):
    """What selects a part (its set, service, budget, policy) selects the pods of that part."""
    pods = {component: pod["metadata"]["labels"] for component, pod in _pods(case).items()}
    for manifest in _rendered(case):
        selector = manifest.get("spec", {}).get("selector") or manifest.get("spec", {}).get("podSelector")
        if selector:
            wanted = selector.get("matchLabels", selector)
            matched = [name for name, labels in pods.items() if wanted.items() <= labels.items()]
            assert matched == [manifest["metadata"]["labels"]["app.kubernetes.io/component"]]


@each_case
def test_chart_worker_takes_its_variables(case, monkeypatch):
    """The variables of the pod are settings that fit each other."""
    for name, value in _environment(_worker(case)).items():
        if name != "PADELLM_INSTANCE_ID":
            monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.max_in_flight == 64
    for name, value in CASES[case].get("settings", {}).items():
        assert getattr(settings, name.removeprefix("PADELLM_").lower()) == value


@each_case
def test_chart_files_of_settings_are_mounted(case):
    """Each file that a pod's variables and arguments name is in a volume that it mounts."""
    for pod in _pods(case).values():
        (container,) = pod["spec"]["containers"]
        folders = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == {
            volume["name"] for volume in pod["spec"]["volumes"]
        }
        arguments = [each.partition("=")[2] for each in container.get("args", ())]
        for path in (*_environment(container).values(), *arguments):
            if path.startswith("/"):
                assert any(Path(path).is_relative_to(folder) for folder in folders), path


@each_case
def test_chart_holds_secrets_by_name_alone(case):
    """The chart makes no Secret; it mounts those of its values, whole, so that files follow them."""
    assert not [each for each in _rendered(case) if each["kind"] == "Secret"]
    for pod in _pods(case).values():
        (container,) = pod["spec"]["containers"]
        assert not any("subPath" in mount for mount in container["volumeMounts"])
        assert not any("secretKeyRef" in str(each) for each in container.get("env", ()))


def test_chart_worker_is_the_same_member_after_a_restart():
    """A worker's id in the group is the name of its pod, which a stateful set keeps."""
    assert _kind("defaults", "StatefulSet", "worker")["spec"]["updateStrategy"] == {"type": "RollingUpdate"}
    assert _environment(_worker("defaults"))["PADELLM_INSTANCE_ID"] == "$(POD_NAMESPACE).$(POD_NAME)"
    names = [each["name"] for each in _worker("defaults")["env"]]
    assert names.index("POD_NAME") < names.index("PADELLM_INSTANCE_ID")  # else it is not filled in


@pytest.mark.parametrize("drain", [5, 20])
def test_chart_worker_may_drain_and_come_back_before_the_group_gives_it_up(drain):
    """A pod has longer to stop than the worker drains, and the group waits longer than that."""
    manifests = _render({"worker": {"drainLimit": drain}})
    (pod,) = (each["spec"]["template"]["spec"] for each in manifests if each["kind"] == "StatefulSet")
    environment = _environment(pod["containers"][0])
    assert pod["terminationGracePeriodSeconds"] > 2 * drain
    assert int(environment["PADELLM_DRAIN_LIMIT"]) == drain
    assert int(environment["PADELLM_SESSION_TIMEOUT"]) >= pod["terminationGracePeriodSeconds"] + 30


def test_chart_refuses_a_session_shorter_than_a_restart():
    """Values with which each restart would move partitions are refused, with the bound."""
    with pytest.raises(helm.HelmRenderError, match=r"sessionTimeout=60 is below 85"):
        list(_render({"worker": {"sessionTimeout": 60}}))


def test_chart_worker_is_restarted_by_livez_and_served_by_readyz():
    """A worker is started anew where that helps alone, and counts as ready when broker and model answer."""
    paths = {
        probe: _worker("defaults")[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


@pytest.mark.parametrize("case", ["defaults", "trtllm", "vllm"])
def test_chart_triton_is_healthy_by_a_token(case):
    """Every probe of Triton asks for a token, with the images' own program, whose limit is shorter."""
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert _triton(case)[probe]["exec"]["command"] == ["python3", "/opt/padellm/health/one_token.py"]
        assert _triton(case)[probe]["timeoutSeconds"] > 8
    program = (ROOT / "triton_models" / "one_token.py").read_text(encoding="utf-8")
    assert _kind(case, "ConfigMap", "triton")["data"]["one_token.py"] == program


def test_chart_serves_an_engine_as_compose_does():
    """TensorRT-LLM's image, command, user and configuration are those of the compose stack."""
    (compose,) = (each for each in COMPOSE.values() if "-trtllm-python-py3@" in each["image"])
    assert _triton("trtllm")["image"] == compose["image"]
    command = compose["command"][-1].replace("$$", "$")
    assert _triton("trtllm")["command"][2] == f'{command} "$@"'
    user = _pods("trtllm")["triton"]["spec"]["securityContext"]["runAsUser"]
    assert f"{user}:{user}" == compose["user"]
    config = (ROOT / "triton_models/trtllm/tensorrt_llm/config.pbtxt").read_text(encoding="utf-8")
    assert _kind("trtllm", "ConfigMap", "triton")["data"]["trtllm.pbtxt"] == config


@pytest.mark.parametrize(("case", "gpus"), [("defaults", None), ("trtllm", 1), ("vllm", 1)])
def test_chart_triton_has_the_devices_of_its_backend(case, gpus):
    """A backend for GPUs asks for one, and the CPU's for none."""
    assert _triton(case)["resources"]["limits"].get("nvidia.com/gpu") == gpus


def test_chart_versions_are_those_of_the_package():
    """Chart and images carry the version of pyproject.toml, the images under compose's names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == project["version"]
    assert _worker("defaults")["image"] == COMPOSE["worker"]["image"]
    assert _triton("defaults")["image"] == COMPOSE["triton"]["image"]


@pytest.mark.parametrize("case", ["defaults", "trtllm"])
def test_chart_upgrade_keeps_a_server_and_all_workers_but_one(case):
    """While a version is rolled out or a node drained, no server is missing and at most one worker."""
    rolling = _kind(case, "Deployment", "triton")["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}
    for component in ("worker", "triton"):
        assert _kind(case, "PodDisruptionBudget", component)["spec"]["maxUnavailable"] == 1
        keys = [each["topologyKey"] for each in _pods(case)[component]["spec"]["topologySpreadConstraints"]]
        assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


@pytest.mark.parametrize("waiting", [1, 500])
def test_chart_scales_beyond_the_documents_in_flight(waiting):
    """A full worker without a queue asks for no other: the threshold of lag is above what is in flight."""
    manifests = list(
        _render({"scaling": {"enabled": True, "waitingPerWorker": waiting}, "worker": {"maxInFlight": 100}})
    )
    (scaled,) = (each["spec"] for each in manifests if each["kind"] == "ScaledObject")
    metadata = scaled["triggers"][0]["metadata"]
    assert int(metadata["lagThreshold"]) == 100 + waiting
    assert (metadata["consumerGroup"], metadata["topic"]) == ("padellm", "documents")
    (workers,) = (each for each in manifests if each["kind"] == "StatefulSet")
    assert scaled["scaleTargetRef"]["name"] == workers["metadata"]["name"]
    assert "replicas" not in workers["spec"]  # an upgrade would take KEDA's choice back


@pytest.mark.parametrize(
    ("case", "sasl", "tls", "parameters"),
    [
        ("password", "scram_sha512", "enable", {"ca", "username", "password"}),
        ("certificate", "none", "enable", {"ca", "cert", "key"}),
        ("token", "oauthbearer", "enable", {"password"}),
    ],
)
def test_chart_scaling_logs_in_as_the_workers_do(case, sasl, tls, parameters):
    """KEDA reads the lag with the workers' own login, from the same Secrets."""
    trigger = _kind(case, "ScaledObject", "worker")["spec"]["triggers"][0]
    assert (trigger["metadata"]["sasl"], trigger["metadata"]["tls"]) == (sasl, tls)
    access = _kind(case, "TriggerAuthentication", "worker")
    assert trigger["authenticationRef"]["name"] == access["metadata"]["name"]
    assert {each["parameter"] for each in access["spec"]["secretTargetRef"]} == parameters
    mounted = {
        volume["secret"]["secretName"]
        for volume in _pods(case)["worker"]["spec"]["volumes"]
        if "secret" in volume
    }
    assert {each["name"] for each in access["spec"]["secretTargetRef"]} <= mounted


def test_chart_triton_is_reached_by_workers_alone():
    """Triton takes prompts from workers, answers scrapers on its metrics' port, and reaches nothing."""
    policy = _kind("password", "NetworkPolicy", "triton")["spec"]
    prompts, scrapes = policy["ingress"]
    workers = prompts["from"][0]["podSelector"]["matchLabels"]
    assert workers.items() <= _pods("password")["worker"]["metadata"]["labels"].items()
    assert [port["port"] for port in prompts["ports"]] == ["grpc"]
    assert scrapes["from"] == CASES["password"]["networkPolicy"]["scrapers"]
    assert [port["port"] for port in scrapes["ports"]] == ["metrics"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy


@pytest.mark.parametrize(
    ("case", "ports"),
    [
        ("defaults", [53, 53, 9092, "grpc"]),
        ("password", [53, 53, 9096, 9098, "grpc"]),
        ("external", [53, 53, 9092, 8443]),
        ("token", [53, 53, 9092, "grpc", 443, 8443, 4318]),
    ],
)
def test_chart_worker_reaches_what_it_needs_alone(case, ports):
    """A worker reaches the servers of its settings and name servers alone, and scrapers reach it."""
    policy = _kind(case, "NetworkPolicy", "worker")["spec"]
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == ports
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert ("ingress" in policy) == (case == "password")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"worker": {"replica": 3}}, "replica"),
        ({"settings": {"PADELLM_TRESHOLD": 0.5}}, "PADELLM_TRESHOLD"),
        ({"settings": {"PADELLM_SASL_PASSWORD": "letmein"}}, "PADELLM_SASL_PASSWORD"),
        ({"worker": {"image": "padellm-worker:latest"}}, "image"),
        ({"model": {"volume": {"hostPath": {"path": "/"}}}}, "hostPath"),
        ({"kafka": {"caSecret": "kafka-ca"}}, "caSecret"),
        ({"kafka": {"securityProtocol": "SASL_SSL"}}, "saslMechanism"),
        ({"kafka": {"broker": "kafka"}}, "broker"),
        ({"triton": {"backend": "gpu"}}, "backend"),
    ],
)
def test_chart_schema_refuses_values(values, named):
    """Values that would be passed over, or hold a secret, are refused before anything is installed."""
    with pytest.raises(helm.HelmValuesError, match=named):
        list(_render(values))


@pytest.mark.parametrize(
    ("triton", "named"),
    [
        ({"backend": "trtllm"}, "engineVolume"),
        ({"backend": "external"}, "externalUrl"),
        ({"clientSecret": "worker"}, "serverSecret"),
        ({"caSecret": "ca"}, "clear text"),
    ],
)
def test_chart_refuses_half_a_backend(triton, named):
    """A backend without what it needs is refused, with the value that is missing."""
    with pytest.raises(helm.HelmRenderError, match=named):
        list(_render({"triton": triton}))
