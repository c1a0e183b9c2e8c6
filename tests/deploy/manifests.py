"""Reads the manifests as they are applied: with kubectl where there is one, else file by file."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
Manifest = dict[str, Any]


def manifests() -> list[tuple[str, Manifest]]:
    """Return every object of every file, with where it is written."""
    found = []
    for path in sorted(FOLDER.rglob("*.yaml")):
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if "apiVersion" in one and not one["apiVersion"].startswith("kustomize."):
                found.append((f"{path.relative_to(FOLDER)}:{one['kind']}", one))
    return found


def applied(tmp_path: Path, *components: str) -> list[Manifest]:
    """Return what ``kubectl apply -k`` would send with these components."""
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    file = folder / "kustomization.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings["components"] = list(components)
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pod_specs(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Yield the pods that an object makes, by name."""
    name, spec = manifest["metadata"]["name"], manifest.get("spec", {})
    if manifest["kind"] == "RayCluster":
        yield f"{name}-head", spec["headGroupSpec"]["template"]["spec"]
        for group in spec["workerGroupSpecs"]:
            yield f"{name}-{group['groupName']}", group["template"]["spec"]
    elif "template" in spec:
        yield name, spec["template"]["spec"]
