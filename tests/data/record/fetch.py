"""Stores what a registry holds of one repository as plain files: see tests/data/README.md."""

import hashlib
import json
import pathlib
import sys
import urllib.error
import urllib.request

base, repository, root = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
directory = root / repository
ACCEPT = ", ".join(
    [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ]
)


def get(path: str) -> bytes | None:
    request = urllib.request.Request(f"{base}/v2/{repository}/{path}", headers={"Accept": ACCEPT})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def store(kind: str, digest: str, data: bytes) -> None:
    assert "sha256:" + hashlib.sha256(data).hexdigest() == digest, digest
    path = directory / kind / digest.replace(":", "-")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def manifest(digest: str) -> None:
    data = get(f"manifests/{digest}")
    assert data is not None, digest
    store("manifests", digest, data)
    document = json.loads(data)
    for child in document.get("manifests", []):
        manifest(child["digest"])
    for blob in [*document.get("layers", []), *filter(None, [document.get("config")])]:
        content = get(f"blobs/{blob['digest']}")
        assert content is not None, blob
        store("blobs", blob["digest"], content)
    answer = get(f"referrers/{digest}")
    if answer is not None and json.loads(answer)["manifests"]:
        path = directory / "referrers" / digest.replace(":", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(answer)
        for referrer in json.loads(answer)["manifests"]:
            manifest(referrer["digest"])


tags = {}
listed = get("tags/list")
assert listed is not None, repository
for tag in sorted(json.loads(listed)["tags"]):
    data = get(f"manifests/{tag}")
    assert data is not None, tag
    tags[tag] = "sha256:" + hashlib.sha256(data).hexdigest()
    manifest(tags[tag])
(directory / "tags.json").write_text(json.dumps(tags, indent=2) + "\n")
