"""Writes tiny OCI layouts with fixed times, so that an image's digest depends on its name only."""

import gzip
import hashlib
import io
import json
import pathlib
import sys
import tarfile

root = pathlib.Path(sys.argv[1])


def descriptor(layout: pathlib.Path, media_type: str, data: bytes) -> dict:
    digest = hashlib.sha256(data).hexdigest()
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def encode(value: dict) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def layer(name: str) -> tuple[bytes, bytes]:
    content = f"{name}\n".encode()
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        entry = tarfile.TarInfo("name")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    plain = raw.getvalue()
    return plain, gzip.compress(plain, mtime=0)


def image(layout: pathlib.Path, name: str) -> dict:
    plain, packed = layer(name)
    config = encode(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(plain).hexdigest()]},
        }
    )
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(layout, "application/vnd.oci.image.config.v1+json", config),
            "layers": [descriptor(layout, "application/vnd.oci.image.layer.v1.tar+gzip", packed)],
        }
    )
    return descriptor(layout, "application/vnd.oci.image.manifest.v1+json", manifest)


def finish(layout: pathlib.Path, top: dict) -> None:
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_bytes(encode({"schemaVersion": 2, "manifests": [top]}))


for name in ["payments", "legacy", "bundle", "stranger", "rogue", "referrers"]:
    finish(root / name, image(root / name, name))

multi = root / "multi"
children = []
for architecture in ["amd64", "arm64"]:
    child = image(multi, f"multi-{architecture}")
    child["platform"] = {"architecture": architecture, "os": "linux"}
    children.append(child)
index = encode(
    {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": children}
)
finish(multi, descriptor(multi, "application/vnd.oci.image.index.v1+json", index))
