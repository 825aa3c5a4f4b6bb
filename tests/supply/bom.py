"""What the product consists of, as a CycloneDX 1.6 bill of materials: from the lock alone, the same bytes each time."""

from __future__ import annotations

import json
import tomllib
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from tests.supply.licences import licence_of
from tests.supply.lock import LOCKS, ROOT, Locked, read

OURS: Final = "daifu"


def bill() -> str:
    """The document as text. Raises ValueError where it does not keep to CycloneDX's own schema."""
    product = read(LOCKS["product"])
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    root = Component(
        name=OURS,
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref=OURS,
        licenses=[LicenseExpression("Apache-2.0")],
    )
    components = {one.name: _component(one) for one in product}
    bom = Bom(components=components.values())
    bom.metadata.component = root
    for name, component in (*components.items(), (OURS, root)):
        bom.register_dependency(component, [components[one.name] for one in product if name in one.wanted_by])
    content: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del content["metadata"]["timestamp"]  # when it was written is no part of what it says
    del content["serialNumber"]
    # A document of other content has another number, the same content the same one.
    content["serialNumber"] = uuid5(NAMESPACE_URL, _text(content)).urn
    text = _text(content)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise ValueError(f"not CycloneDX: {problem}")
    return text


def _component(one: Locked) -> Component:
    purl = PackageURL("pypi", name=one.name, version=one.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(purl)),
        comment="SHA-256 of each file that the lock lets in",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in one.hashes],
    )
    return Component(
        name=one.name,
        version=one.version,
        bom_ref=str(purl),
        purl=purl,
        licenses=[LicenseExpression(licence_of(one.name))],
        external_references=[files],
    )


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
