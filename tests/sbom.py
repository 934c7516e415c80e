"""What a wheel brings along, as a CycloneDX 1.6 document on standard output.

Runs with the Python of an environment into which the wheel, and nothing else, was installed:
``python tests/sbom.py WHEEL``. Components are what is installed there; licences are what each
package states of itself. The same environment gives the same document.
Format: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROJECT = "aiki-kernel"
_NAMES = {  # what old metadata write for the same licences
    "MIT": "MIT",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "ISC license": "ISC",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def canonical(name: str) -> str:
    """A package's name as PyPI writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(metadata: Any) -> list[dict[str, Any]]:
    """The licence that a package states: an expression, else a known name, else its own words."""
    stated = metadata.get("License-Expression")
    if stated:
        return [{"expression": stated}]
    lines = (metadata.get("License") or "").strip().splitlines() or [""]
    groups = [
        name.rpartition(" :: ")[2]
        for name in metadata.get_all("Classifier") or ()
        if name.startswith("License :: ") and not name.endswith("OSI Approved")
    ]
    words = [lines[0], *groups] if len(lines) == 1 else groups or lines[:1]
    known = next((_NAMES[word] for word in words if word in _NAMES), None)
    if known:
        return [{"license": {"id": known}}]
    said = next((word for word in words if word and word != "UNKNOWN"), "")
    return [{"license": {"name": said}}] if said else []


def requirements(found: importlib.metadata.Distribution) -> list[str]:
    """Names that a distribution needs here, extras left out."""
    from packaging.requirements import Requirement

    needed = (Requirement(text) for text in found.requires or ())
    return sorted(
        {
            canonical(each.name)
            for each in needed
            if each.marker is None or each.marker.evaluate({"extra": ""})
        }
    )


def document(wheel: Path) -> dict[str, Any]:
    """The whole document. ``SOURCE_DATE_EPOCH`` dates it."""
    here = {canonical(d.metadata["Name"]): d for d in importlib.metadata.distributions()}
    used, waiting = set(), [PROJECT]
    while waiting:
        name = waiting.pop()
        if name in here and name not in used:
            used.add(name)
            waiting += requirements(here[name])
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    when = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    project = _component(here[PROJECT])
    project |= {"type": "application", "hashes": [{"alg": "SHA-256", "content": sha256}]}
    rest = sorted(used - {PROJECT})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, sha256)}",
        "version": 1,
        "metadata": {"timestamp": when.isoformat(), "component": project},
        "components": [_component(here[name]) for name in rest],
        "dependencies": [
            {
                "ref": _reference(here[name]),
                "dependsOn": [_reference(here[n]) for n in requirements(here[name]) if n in used],
            }
            for name in sorted(used)
        ],
    }


def _reference(found: importlib.metadata.Distribution) -> str:
    return f"pkg:pypi/{canonical(found.metadata['Name'])}@{found.version}"


def _component(found: importlib.metadata.Distribution) -> dict[str, Any]:
    made = {
        "type": "library",
        "bom-ref": _reference(found),
        "name": canonical(found.metadata["Name"]),
        "version": found.version,
        "purl": _reference(found),
    }
    stated = licence(found.metadata)
    return {**made, "licenses": stated} if stated else made


if __name__ == "__main__":
    print(json.dumps(document(Path(sys.argv[1])), indent=2, ensure_ascii=False))
