"""The manifests: valid in several versions of Kubernetes, within its strictest profile of security.

RayCluster and ServiceMonitor belong to operators, and no package that is used here has their
schemas. Of these the pods within are checked like all others, and the rest only by the names of
`CUSTOM`: a field that an operator does not know, or a value that it refuses, would pass.
"""

import shutil

import kubernetes_validate
import pytest
import yaml

from deploy.commands import parse
from deploy.manifests import FOLDER, applied, manifests, pod_specs
from openwheel.processes import supervisor
from openwheel.settings import read_settings

VERSIONS = ("1.30", "1.33", kubernetes_validate.latest_version())
ALL = manifests()
PODS = [(name, pod) for _, manifest in ALL for name, pod in pod_specs(manifest)]
OWN = [(name, pod) for name, pod in PODS if "args" in pod["containers"][0] and name != "postgres"]
SETTINGS = FOLDER / "openwheel.toml"
CUSTOM = {
    # KubeRay 1.5
    "RayCluster": {
        *("rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions"),
        *("headGroupSpec", "workerGroupSpecs"),
    },
    # the operator of Prometheus 0.86
    "ServiceMonitor": {"selector", "endpoints"},
}


def has_pods(pod):
    """Return whether these are whole pods, and no changes of some that are written elsewhere."""
    return "securityContext" in pod


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(version):
    checked = 0
    for where, manifest in ALL:
        if manifest["kind"] in CUSTOM or where.startswith("ray/learner"):
            continue
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{where}: {list(error.path)}: {error.message}")
        checked += 1
    assert checked > 15


@pytest.mark.parametrize("version", VERSIONS)
def test_the_pods_of_other_kinds_are_valid(version):
    for name, pod in PODS:
        if has_pods(pod):
            metadata = {"name": name}
            whole = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}
            kubernetes_validate.validate(whole, version, strict=True)


def test_the_validation_can_fail():
    _, gateway = next(one for one in ALL if one[0] == "gateway.yaml:Deployment")
    gateway = {**gateway, "spec": {**gateway["spec"], "replicaz": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replicaz"):
        kubernetes_validate.validate(gateway, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("kind", CUSTOM)
def test_objects_of_operators_have_the_names_that_these_know(kind):
    (manifest,) = (manifest for _, manifest in ALL if manifest["kind"] == kind)
    assert set(manifest["spec"]) <= CUSTOM[kind]


def test_pods_keep_to_the_restricted_profile_and_write_only_to_volumes():
    for name, pod in PODS:
        if not has_pods(pod):
            continue
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert {"requests", "limits"} == set(container["resources"]), name
            assert "memory" in container["resources"]["limits"], name
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert "/tmp" in mounted, name
            # Either a service account is needed, as by Ray's head, or its token is not mounted.
            assert pod.get("automountServiceAccountToken") is False or "head" in name, name


def test_every_mount_has_a_volume():
    for name, pod in PODS:
        if has_pods(pod):
            volumes = {volume["name"] for volume in pod.get("volumes", [])}
            if name == "postgres":
                volumes.add("data")  # a claim
            for container in pod["containers"]:
                assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, name


def test_every_command_line_is_one_that_openwheel_knows():
    roles = {name: parse(pod["containers"][0]["args"]) for name, pod in OWN}
    assert set(roles) == {"openwheel-gateway", "openwheel-learner", "openwheel-console"}
    assert roles["openwheel-gateway"]["learner"] is False
    assert roles["openwheel-gateway"]["console"] is False
    assert roles["openwheel-console"]["learner"] is False
    assert roles["openwheel-console"]["console"] is True


def test_the_settings_are_ones_that_openwheel_knows():
    settings = read_settings(SETTINGS)
    assert settings.store.path.startswith("postgresql://")
    assert ":" not in settings.store.path.removeprefix("postgresql://").partition("@")[0]
    assert settings.gateway.host == "0.0.0.0"
    assert settings.access.require_keys


def test_what_waits_to_be_written_fits_into_a_pod():
    settings = read_settings(SETTINGS)
    (gateway,) = (pod for name, pod in OWN if name == "openwheel-gateway")
    limit = gateway["containers"][0]["resources"]["limits"]["memory"]
    assert limit == "1Gi"
    # Of each worker 150 MB without traffic; of the supervisor 80.
    own = (settings.gateway.workers * 150 + 80) << 20
    assert own + settings.gateway.workers * settings.capture.max_bytes <= 1 << 30


def test_a_pod_is_not_ready_before_it_stops_and_has_time_to_finish():
    settings = read_settings(SETTINGS)
    for name, pod in OWN:
        container = pod["containers"][0]
        if "ports" not in container:
            continue
        limits = settings.gateway
        needed = limits.drain + limits.stop_timeout + supervisor._PATIENCE_S
        assert pod["terminationGracePeriodSeconds"] >= needed, name
        assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"
        # Not ready before it stops, by two looks of the kubelet.
        assert limits.drain >= 2 * container["readinessProbe"]["periodSeconds"]


def test_secrets_are_named_and_hold_nothing():
    (secret,) = (manifest for _, manifest in ALL if manifest["kind"] == "Secret")
    assert set(secret["stringData"].values()) == {""}
    settings = read_settings(SETTINGS)
    assert {teacher.key_env for teacher in settings.teachers} <= set(secret["stringData"])
    assert "PGPASSWORD" in secret["stringData"]
    for name, pod in OWN:
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "openwheel"}}], name


def test_services_and_budgets_find_their_pods():
    labels = [
        manifest["spec"]["template"]["metadata"]["labels"]
        for _, manifest in ALL
        if manifest["kind"] in {"Deployment", "StatefulSet"}
        and "labels" in manifest["spec"]["template"].get("metadata", {})
    ]
    selectors = [
        (where, manifest["spec"]["selector"].get("matchLabels", manifest["spec"]["selector"]))
        for where, manifest in ALL
        if manifest["kind"] in {"Service", "PodDisruptionBudget"}
    ]
    assert len(selectors) == 4
    for where, selector in selectors:
        found = [one for one in labels if selector.items() <= one.items()]
        assert len(found) == 1, where


def test_policies_select_pods_that_there_are():
    labels = [
        template["metadata"]["labels"]
        for _, manifest in ALL
        for template in templates(manifest)
        if "metadata" in template
    ]
    for where, manifest in ALL:
        if manifest["kind"] == "NetworkPolicy":
            wanted = manifest["spec"]["podSelector"].get("matchLabels", {})
            assert any(wanted.items() <= one.items() for one in labels), where


def templates(manifest):
    spec = manifest.get("spec", {})
    if manifest["kind"] == "RayCluster":
        return [spec["headGroupSpec"]["template"], spec["workerGroupSpecs"][0]["template"]]
    return [spec["template"]] if "template" in spec else []


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize(
    "components", [(), ("postgres",), ("postgres", "ray", "monitoring")], ids=len
)
def test_they_go_together(tmp_path, components):
    """As kubectl puts them together: settings in a ConfigMap, images by their full names."""
    objects = applied(tmp_path, *components)
    (config,) = (one for one in objects if one["kind"] == "ConfigMap")
    (tmp_path / "openwheel.toml").write_text(config["data"]["openwheel.toml"])
    assert read_settings(tmp_path / "openwheel.toml") == read_settings(SETTINGS)
    for manifest in objects:
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
        for name, pod in pod_specs(manifest):
            for container in pod["containers"]:
                image, _, tag = container["image"].rpartition(":")
                assert "/" in image, name
                assert tag, name
            for volume in pod["volumes"]:
                if "configMap" in volume:
                    assert volume["configMap"]["name"] == config["metadata"]["name"], name
    if "ray" in components:
        (learner,) = (one for one in objects if one["metadata"]["name"] == "openwheel-learner")
        container = learner["spec"]["template"]["spec"]["containers"][0]
        assert container["image"].startswith("registry.example/openwheel-ray")
        (cluster,) = (one for one in objects if one["kind"] == "RayCluster")
        address = {one["name"]: one for one in container["env"]}["RAY_ADDRESS"]["value"]
        assert address == f"ray://{cluster['metadata']['name']}-head-svc:10001"


def test_the_ray_of_the_cluster_is_the_one_that_is_locked():
    (cluster,) = (manifest for _, manifest in ALL if manifest["kind"] == "RayCluster")
    lock = (FOLDER.parents[1] / "requirements" / "image-ray.txt").read_text(encoding="utf-8")
    assert f"\nray=={cluster['spec']['rayVersion']} " in lock


def test_jobs_fit_into_a_node_of_the_cluster(tmp_path):
    """By the settings as they are once the line for Ray is in force."""
    file = tmp_path / "openwheel.toml"
    file.write_text(SETTINGS.read_text(encoding="utf-8").replace("# executor", "executor"))
    loop = read_settings(file).loop
    assert loop.executor == "ray"
    (worker,) = (pod for name, pod in PODS if name == "openwheel-ray-cpu")
    limits = worker["containers"][0]["resources"]["limits"]
    assert loop.job_cpus <= int(limits["cpu"])
    assert loop.job_memory <= int(limits["memory"].removesuffix("Gi")) << 30


def test_what_is_commented_out_is_there():
    text = (FOLDER / "kustomization.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text.replace("  # - ", "  - "))
    for component in settings["components"]:
        assert (FOLDER / component / "kustomization.yaml").exists()
