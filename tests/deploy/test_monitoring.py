"""Alerts and dashboard: of metrics that exist, each with its test and its section of the runbook."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from stream.worker.metrics import WorkerMetrics

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
TESTS = yaml.safe_load((FOLDER / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
PANELS = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))["panels"]
ALERTS = [rule["alert"] for rule in RULES]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in PANELS for target in panel["targets"]
]
promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool (of Prometheus) is not installed"
)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_monitoring_asks_for_metrics_that_the_worker_has(expression):
    """Every metric of an alert or panel is one that the worker's page declares."""
    page = WorkerMetrics().page().decode()
    declared = set(re.findall(r"^# TYPE (\S+)", page, flags=re.MULTILINE))
    asked = set(re.findall(r"padellm_\w+", expression))
    # A histogram is declared without the suffixes of its series.
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} <= declared
    assert asked or expression.startswith("up{")


def test_monitoring_shows_every_metric():
    """Every metric of the worker's page is on the dashboard."""
    declared = re.findall(r"^# TYPE (\S+) (?!gauge.*_created)", WorkerMetrics().page().decode(), re.MULTILINE)
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert [name for name in declared if not name.endswith("_created") and name not in shown] == []


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_a_section_of_the_runbook(alert):
    """Every alert names its own section of the runbook, which is there."""
    (rule,) = (rule for rule in RULES if rule["alert"] == alert)
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{alert.lower()}"
    assert f"\n## {alert}\n" in (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(alert):
    """For promtool every alert has a fault under which it fires, and a quiet hour."""
    asked = [each for test in TESTS for each in test["alert_rule_test"] if each["alertname"] == alert]
    assert any("exp_alerts" in each for each in asked)
    assert any("exp_alerts" not in each for each in asked)


@promtool
def test_alerts_fire_under_their_faults_alone():
    """Prometheus' own tool runs the tests of the alerts."""
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
