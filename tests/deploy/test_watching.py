"""The dashboard and the rules ask only for what a gateway really exports."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.containerfile import ROOT
from openwheel.gateway.metrics_page import METRICS

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "openwheel.json"
OF_PROMETHEUS = {"instance", "job", "le"}
SELECTOR = re.compile(r"\b(openwheel_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")


def rules():
    """Return each alert's expression, by its name."""
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def dashboard():
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries():
    """Return each panel's expressions, by its title."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel["targets"]
    }


EXPRESSIONS = {**rules(), **queries()}


def labels_of(metric):
    for row in METRICS:
        names = {row.name}
        if row.shape == "histogram":
            names = {f"{row.name}_{end}" for end in ("bucket", "sum", "count")}
        if metric in names:
            return {*row.labels, *OF_PROMETHEUS, *({"version"} if row.shape == "info" else ())}
    raise AssertionError(f"no metric is called {metric}")


def test_every_name_is_on_the_page_of_a_gateway(up, teacher):
    gateway = up("--teacher", teacher().url, "--no-learner", "--no-console")
    assert gateway.ask("is it counted?").status == 200
    exported = set()
    for family in text_string_to_metric_families(gateway.get("/metrics")):
        if family.type == "histogram":
            exported |= {f"{family.name}_{end}" for end in ("bucket", "sum", "count")}
        else:
            exported.add(f"{family.name}_total" if family.type == "counter" else family.name)
    asked = {
        name for expression in EXPRESSIONS.values() for name, _ in SELECTOR.findall(expression)
    }
    assert len(asked) > 40
    assert asked <= exported, asked - exported


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_label_is_one_of_its_metric(name):
    expression = EXPRESSIONS[name]
    known = set()
    for metric, matchers in SELECTOR.findall(expression):
        labels = labels_of(metric)
        known |= labels
        assert set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", matchers)) <= labels, metric
    for group in GROUPING.findall(expression):
        assert {label.strip() for label in group.split(",")} <= known, group


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_them(tmp_path):
    """The dashboard's expressions as recording rules, with values in place of its variables."""
    values = {"$__rate_interval": "1m", "$__range": "6h", "$instance": ".*", "$task": ".*"}
    recorded = []
    for number, query in enumerate(queries().values()):
        expression = query
        for variable, value in values.items():
            expression = expression.replace(variable, value)
        recorded.append({"record": f"panel:{number}", "expr": expression})
    shown = tmp_path / "shown.yaml"
    shown.write_text(yaml.safe_dump({"groups": [{"name": "shown", "rules": recorded}]}))
    for file in (RULES, shown):
        done = subprocess.run(
            ["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.copy(RULES, tmp_path / "rules.yaml")
    shutil.copy(DEPLOY / "prometheus" / "prometheus.yaml", tmp_path)
    (tmp_path / "openwheel.key").write_text("a key")
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_what_it_is_and_how_bad():
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]


def test_panels_have_places_of_their_own_and_one_source():
    shown = dashboard()
    ids = [panel["id"] for panel in shown["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in shown["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    sources = {json.dumps(panel["datasource"], sort_keys=True) for panel in panels()}
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}
    variables = {variable["name"] for variable in shown["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text(encoding="utf-8")))
    assert used - {"__rate_interval", "__range", "__all"} == variables


def test_grafana_is_given_the_source_and_the_folder_of_the_dashboard():
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "openwheel.yaml").read_text())[
        "providers"
    ]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    mounts = dict(mount.split(":")[:2] for mount in services["grafana"]["volumes"])
    assert provider["options"]["path"] == mounts["./grafana/dashboards"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
