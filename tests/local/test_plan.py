"""What `padellm up` decides to run."""

import socket

import pytest

from stream.errors import CheckpointError, StackError
from stream.local.plan import locked, make_plan
from stream.local.triton import why_unavailable
from stream.settings import Inference, Settings
from tests.tiny_model import write_tiny_checkpoint


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings of an environment that names a model and no broker."""
    for name in ("BROKER", "PADELLM_BROKER", "PADELLM_TRITON_URL"):
        monkeypatch.delenv(name, raising=False)
    model = write_tiny_checkpoint(tmp_path / "model")
    return Settings(model=model, inference=Inference.IN_PROCESS)


@pytest.fixture
def taken_port():
    """A port that something listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_plan_uses_the_broker_it_is_given(settings, tmp_path):
    """With a broker named in the settings none is started."""
    plan = make_plan(settings.model_copy(update={"broker": "kafka.example:9092"}), data_dir=tmp_path)
    assert plan.kafka is None
    assert plan.worker.environment()["PADELLM_BROKER"] == "kafka.example:9092"


def test_plan_tells_the_worker_where_everything_is(settings, tmp_path):
    """The worker's environment names the embedded broker and the model by absolute path."""
    plan = make_plan(settings, data_dir=tmp_path)
    environment = plan.worker.environment()
    assert environment["PADELLM_BROKER"] == plan.kafka.bootstrap == plan.settings.broker
    assert environment["PADELLM_MODEL"] == str(settings.model.resolve())
    assert environment["PADELLM_INFERENCE"] == "in-process"


@pytest.mark.skipif(why_unavailable() is not None, reason="Triton cannot run here")
def test_plan_hands_the_engines_settings_on_to_triton(settings, tmp_path):
    """Threads, KV cache, constraint and int8 reach the engine in Triton's environment."""
    chosen = {"engine_threads": 3, "kv_cache_mb": 99, "constrained": True, "int8": True}
    chosen["inference"] = Inference.TRITON
    environment = make_plan(settings.model_copy(update=chosen), data_dir=tmp_path).triton.environment()
    assert environment["PADELLM_ENGINE_THREADS"] == "3"
    assert environment["PADELLM_KV_CACHE_MB"] == "99"
    assert environment["PADELLM_CONSTRAINED"] == environment["PADELLM_INT8"] == "true"


def test_plan_moves_from_a_taken_port_and_says_so(settings, tmp_path, taken_port):
    """Where a port is taken a free one is used, and a note names both."""
    plan = make_plan(settings.model_copy(update={"health_port": taken_port}), data_dir=tmp_path)
    assert plan.settings.health_port != taken_port
    assert any(f"port {taken_port}" in note and str(plan.settings.health_port) in note for note in plan.notes)


def test_plan_names_the_page_where_the_settings_switch_it_on(settings, tmp_path, taken_port):
    """The address of the page is printed, at a free port where its own is taken; else there is none."""
    assert "page" not in make_plan(settings, data_dir=tmp_path).addresses()
    chosen = settings.model_copy(update={"page": True, "page_port": taken_port})
    plan = make_plan(chosen, data_dir=tmp_path)
    port = plan.settings.page_port
    assert plan.addresses()["page"] == f"http://127.0.0.1:{port}/"
    assert port != taken_port
    assert plan.worker.environment()["PADELLM_PAGE_PORT"] == str(port)


def test_plan_refuses_a_taken_broker_port(settings, tmp_path, taken_port):
    """A port that was asked for by name is not replaced in silence."""
    with pytest.raises(StackError, match=f"port {taken_port} is taken"):
        make_plan(settings, data_dir=tmp_path, broker_port=taken_port)


def test_plan_refuses_a_folder_without_a_model(settings, tmp_path):
    """A model folder that holds no model is named before anything is started."""
    with pytest.raises(CheckpointError, match=r"nothing/ner_config\.json cannot be read"):
        make_plan(settings.model_copy(update={"model": tmp_path / "nothing"}), data_dir=tmp_path)


def test_plan_folder_serves_one_stack_at_a_time(tmp_path):
    """A second stack on the same folder is refused with the first one's process id."""
    refusal = pytest.raises(StackError, match=r"another padellm up \(process \d+\)")
    with locked(tmp_path / "data"), refusal, locked(tmp_path / "data"):
        pass
    with locked(tmp_path / "data"):
        pass


def test_plan_says_what_to_do_where_triton_cannot_run(settings, tmp_path, monkeypatch):
    """Where the Triton wheel cannot run, the reason and the way without it are named."""
    monkeypatch.setattr("stream.local.plan.why_unavailable", lambda: "no wheel; use `--inference in-process`")
    with pytest.raises(StackError, match="no wheel; use `--inference in-process`"):
        make_plan(settings.model_copy(update={"inference": Inference.TRITON}), data_dir=tmp_path)
