"""As much of kustomize as `deploy/kubernetes` uses, so that its manifests can be looked at without kubectl: resources, labels,
namespace, images, strategic-merge patches. Anything else in a kustomization is an error, never passed over.

`kubectl kustomize` (5.5) gives the same objects; where the two could differ is what this file refuses.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

KNOWN = {"apiVersion", "kind", "namespace", "labels", "resources", "images", "patches"}
CLUSTER_WIDE = {"Namespace"}
#: Lists whose items have a name that a patch finds them by, from Kubernetes' own merge keys; all others are replaced whole.
BY_NAME = {"containers", "env", "volumes"}


def load(path: Path) -> list[Object]:
    """The YAML documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document is not None]


def build(folder: Path) -> list[Object]:
    """Every object of a kustomization. Raises ValueError for what is not understood here."""
    (kustomization,) = load(folder / "kustomization.yaml")
    if unknown := set(kustomization) - KNOWN:
        raise ValueError(f"{folder}: {', '.join(sorted(unknown))} is not understood by this builder")
    objects = []
    for name in kustomization["resources"]:
        place = folder / name
        objects += build(place) if place.is_dir() else load(place)
    for patch in kustomization.get("patches", ()):
        for change in load(folder / patch["path"]):
            _merge(_target(objects, change), change)
    for label in kustomization.get("labels", ()):
        for it in objects:
            _label(it, label)
    for it in objects:
        _place(it, kustomization.get("namespace"))
        for image in kustomization.get("images", ()):
            _set_image(it, image)
    return objects


def _target(objects: list[Object], change: Object) -> Object:
    found = [it for it in objects if identity(it) == identity(change)]
    if len(found) != 1:
        raise ValueError(f"a patch for {identity(change)} finds {len(found)} objects")
    return found[0]


def identity(it: Object) -> tuple[str, str, str]:
    return it["apiVersion"], it["kind"], it["metadata"]["name"]


def _merge(into: Object, change: Object) -> None:
    for key, value in change.items():
        held = into.get(key)
        if isinstance(value, dict) and isinstance(held, dict):
            _merge(held, value)
        elif isinstance(value, list) and isinstance(held, list) and key in BY_NAME:
            _merge_by_name(held, value)
        else:
            into[key] = deepcopy(value)


def _merge_by_name(into: list[Object], change: list[Object]) -> None:
    by_name = {item["name"]: item for item in into}
    for item in change:
        if item["name"] in by_name:
            _merge(by_name[item["name"]], item)
        else:
            into.append(deepcopy(item))


def _label(it: Object, label: Object) -> None:
    it["metadata"].setdefault("labels", {}).update(label["pairs"])
    template = it.get("spec", {}).get("template")
    if template is not None and label.get("includeTemplates"):
        template["metadata"].setdefault("labels", {}).update(label["pairs"])


def _place(it: Object, namespace: str | None) -> None:
    if namespace is not None and it["kind"] not in CLUSTER_WIDE:
        it["metadata"]["namespace"] = namespace


def _set_image(it: Object, image: Object) -> None:
    for container in containers(it):
        if container["image"] == image["name"]:
            container["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"


def containers(it: Object) -> list[Object]:
    """The containers of an object that makes pods."""
    return list(it.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()))
