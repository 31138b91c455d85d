"""python benchmarks/bill_of_materials.py REPORT WHEEL: what an installation of the wheel consists of, as CycloneDX.

REPORT is what `pip install --report REPORT WHEEL` wrote: every package with version, licence and the SHA-256 of the
file that was installed. Writes the bill beside the wheel, under its name with the ending .cdx.json, and prints the
licences. `make package` does both. Needs cyclonedx-python-lib and none of this package, so that it can run where that
is built.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.exception import MissingOptionalDependencyException
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.utils import canonicalize_name, parse_wheel_filename

UNKNOWN = "not said"
_LONGEST_LICENCE = 60
"""Letters; what is longer is the text of a licence where its name should be."""
_APPROVED = "License :: OSI Approved :: "


def main() -> None:
    """Writes the bill."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="what pip install --report has written")
    parser.add_argument("wheel", type=Path, help="the wheel that was installed")
    flags = parser.parse_args()
    try:
        text = bill(json.loads(flags.report.read_text()), flags.wheel)
    except OSError as error:
        sys.exit(f"error: cannot read {error.filename} ({error.strerror}): expected pip's report and the wheel")
    except (ValueError, KeyError, TypeError):
        sys.exit(f"error: {flags.report} is no report of pip: expected what pip install --report has written")
    path = flags.wheel.with_name("-".join(flags.wheel.name.split("-")[:2]) + ".cdx.json")
    path.write_text(text + "\n")
    for licence, count in licences(json.loads(text)).most_common():
        print(f"{count:4}  {licence}")
    print(f"written: {path}")


def bill(report: dict[str, Any], wheel: Path) -> str:
    """Returns the bill as JSON of CycloneDX 1.6, checked against its schema.

    Args:
        report: of pip.
        wheel: one of the packages that were installed; the others are what it depends on.
    """
    name = parse_wheel_filename(wheel.name)[0]
    found = {canonicalize_name(each["metadata"]["name"]): each for each in report["install"]}
    own = _component(found.pop(name), ComponentType.APPLICATION, hashlib.sha256(wheel.read_bytes()).hexdigest())
    others = [
        _component(each, ComponentType.LIBRARY, each["download_info"]["archive_info"]["hashes"]["sha256"])
        for each in found.values()
    ]
    bom = Bom(components=others)
    bom.metadata.component = own
    bom.register_dependency(own, others)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    try:
        broken = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except MissingOptionalDependencyException:
        sys.exit("error: the bill cannot be checked: install cyclonedx-python-lib[json-validation]")
    assert broken is None, broken
    return text


def licences(bill: dict[str, Any]) -> Counter[str]:
    """Returns how many of the packages in a bill have each licence."""
    return Counter(licence_in(component) for component in bill["components"])


def licence_in(component: dict[str, Any]) -> str:
    """Returns the licence of a component of a bill, in words."""
    (said,) = component.get("licenses", [{"expression": UNKNOWN}])
    inside = said.get("license", said)
    return inside.get("expression") or inside.get("id") or inside["name"]


def _component(installed: dict[str, Any], kind: ComponentType, sha256: str) -> Component:
    metadata = installed["metadata"]
    name, licence = canonicalize_name(metadata["name"]), _licence(metadata)
    return Component(
        type=kind,
        name=name,
        version=metadata["version"],
        purl=PackageURL("pypi", name=name, version=metadata["version"]),
        bom_ref=f"{name}@{metadata['version']}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
    )


def _licence(metadata: dict[str, Any]) -> str | None:
    """Returns a package's licence: its SPDX expression, what it is called, or its classifiers; None if none is said."""
    said = metadata.get("license_expression") or (metadata.get("license") or "").strip()
    if said and len(said) <= _LONGEST_LICENCE and "\n" not in said:
        return said
    classified = [each.removeprefix(_APPROVED) for each in metadata.get("classifier", []) if each.startswith(_APPROVED)]
    return " and ".join(classified) or None


if __name__ == "__main__":
    main()
