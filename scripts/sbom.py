#!/usr/bin/env python3
"""Writes an SPDX 2.3 document of a Go binary, from the modules that the linker recorded in it.

usage: scripts/sbom.py BINARY > sbom.json
"""
import hashlib
import json
import os
import subprocess
import sys


def main(path):
    info = subprocess.run(["go", "version", "-m", path], capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
    packages, relations = [], []
    for line in info.splitlines():
        fields = line.split("\t")[1:]
        if not fields or fields[0] not in ("mod", "dep"):
            continue
        module, version = fields[1], fields[2]
        ref = "SPDXRef-" + "".join(c if c.isalnum() else "-" for c in f"{module}-{version}")
        packages.append({
            "SPDXID": ref, "name": module, "versionInfo": version, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": f"pkg:golang/{module}@{version}"}],
        })
        kind = "DESCRIBES" if fields[0] == "mod" else "DEPENDS_ON"
        relations.append({"spdxElementId": "SPDXRef-DOCUMENT" if kind == "DESCRIBES" else packages[0]["SPDXID"], "relatedSpdxElement": ref, "relationshipType": kind})
    created = subprocess.run(["date", "-u", "-d", "@" + os.environ.get("SOURCE_DATE_EPOCH", "0"), "+%Y-%m-%dT%H:%M:%SZ"], capture_output=True, text=True, check=True).stdout.strip()
    json.dump({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": os.path.basename(path),
        "documentNamespace": f"https://artemis.example/sbom/{digest}",
        "creationInfo": {"created": created, "creators": ["Tool: scripts/sbom.py"]},
        "packages": packages, "relationships": relations,
    }, sys.stdout, indent=1)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    main(sys.argv[1])
