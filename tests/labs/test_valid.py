"""Every manifest against the schemas of every supported Kubernetes version."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]
from kubernetes_validate import SchemaNotFoundError
from kubernetes_validate.utils import all_versions, major_minor  # type: ignore[import-untyped]

from tests.labs.manifests import K8S, Manifest, everything, files, key, kustomizations, read, render, show

VERSIONS = [f"1.{minor}" for minor in range(30, 38)]
GATEWAY_API = Path(__file__).parent / "gateway-api"


def gateway_schema(kind: str) -> dict[str, Any]:
    """The strict schema of a Gateway API kind.

    The files are the validation schemas of the Gateway API 1.0 CRDs (standard channel, Apache-2.0), without
    status and descriptions.
    """
    schema: dict[str, Any] = json.loads((GATEWAY_API / f"{kind.lower()}.json").read_text())

    def close(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node:
                node.setdefault("additionalProperties", False)
            for child in node.values():
                close(child)
        elif isinstance(node, list):
            for child in node:
                close(child)

    close(schema)
    return schema


def validate(manifest: Manifest, version: str) -> None:
    """Raises an exception if this Kubernetes version would refuse the object, or ignore part of it."""
    if manifest["apiVersion"].startswith("gateway.networking.k8s.io/"):
        Draft202012Validator(gateway_schema(manifest["kind"])).validate(manifest)
    elif not manifest["apiVersion"].startswith("traefik.io/"):  # Traefik itself reads those: test_traefik.py
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schemas_are_those_of_the_promised_versions() -> None:
    """A version without its own schema would silently be checked against an older one."""
    assert set(VERSIONS) <= {major_minor(version) for version in all_versions()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", files(), ids=show)
def test_each_file_is_valid(path: Path, version: str) -> None:
    """So that it can be applied alone, with -f."""
    manifests = read(path)
    assert manifests
    for manifest in manifests:
        validate(manifest, version)


@pytest.mark.parametrize("folder", kustomizations(), ids=show)
def test_each_kustomization_is_valid(folder: Path) -> None:
    """So that it can be applied with -k, on every version."""
    manifests = render(folder)
    assert manifests
    for manifest in manifests:
        for version in VERSIONS:
            validate(manifest, version)


BROKEN = {
    "unknown field": ("Deployment whoami-deployment", ("spec", "replica"), 2),
    "wrong type": ("Service whoami-service", ("spec", "ports", 0, "port"), "http"),
    "old API": ("Ingress whoami-ingress", ("apiVersion",), "extensions/v1beta1"),
    "misplaced": ("Deployment ns1/kubia", ("spec", "template", "spec", "readOnlyRootFilesystem"), True),
    "unknown gateway field": ("Gateway labs", ("spec", "listener"), []),
    "port out of range": ("Gateway labs", ("spec", "listeners", 0, "port"), 70000),
    "route without a parent's name": ("HTTPRoute whoami", ("spec", "parentRefs", 0), {"kind": "Gateway"}),
}


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
@pytest.mark.parametrize("case", BROKEN)
def test_a_mistake_is_found(case: str, version: str) -> None:
    """The check above can fail."""
    name, path, value = BROKEN[case]
    known = everything() | {key(manifest): manifest for manifest in render(K8S / "gateway")}
    manifest = deepcopy(known[name])
    node: Any = manifest
    for step in path[:-1]:
        node = node[step]
    validate(manifest, version)
    node[path[-1]] = value
    with pytest.raises((ValidationError, SchemaNotFoundError)):
        validate(manifest, version)
