#!/usr/bin/env bash
# Makes tests/data/registry and tests/data/keys again: tiny images, signed by the real cosign 3.1.3 against a real registry.
# Needs: go, docker-registry, skopeo, curl, python3. COSIGN=/path/to/cosign saves its build (about three minutes).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
pids=()
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; rm -rf "$work"; }
trap finish EXIT
export COSIGN_PASSWORD=

cosign=${COSIGN:-}
if [ -z "$cosign" ]; then
  echo "building cosign 3.1.3: about three minutes"
  CGO_ENABLED=0 GOBIN="$work/bin" go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
  cosign=$work/bin/cosign
fi

# A registry with the referrers API: no package has one, go-containerregistry's own server does.
mkdir -p "$work/referrers"
cat > "$work/referrers/main.go" <<'GO'
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	log.Fatal(http.ListenAndServe(os.Args[1], registry.New(registry.WithReferrersSupport(true))))
}
GO
(cd "$work/referrers" && go mod init referrers >/dev/null 2>&1 \
  && go get github.com/google/go-containerregistry@v0.22.1 >/dev/null 2>&1 && CGO_ENABLED=0 go build -o referrers .)

plain=localhost:5000      # docker-registry 2.8: no referrers API, so cosign uses the referrers tag schema
api=localhost:5001        # the referrers API
cat > "$work/registry.yml" <<YML
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: $work/storage } }
http: { addr: "127.0.0.1:5000" }
YML
docker-registry serve "$work/registry.yml" 2>"$work/registry.log" & pids+=($!)
"$work/referrers/referrers" 127.0.0.1:5001 2>"$work/referrers.log" & pids+=($!)
for host in "$plain" "$api"; do
  for _ in $(seq 50); do curl -fsS -o /dev/null "http://$host/v2/" 2>/dev/null && break; sleep 0.1; done
  curl -fsS -o /dev/null "http://$host/v2/"
done

python3 "$here/record/images.py" "$work/images"
push() { skopeo copy --quiet --insecure-policy --dest-tls-verify=false ${3:-} "oci:$work/images/$1" "docker://$2"; }
push payments "$plain/prod/payments:1.4"
push legacy "$plain/prod/legacy:1.0"
push bundle "$plain/prod/bundle:1.0"
push stranger "$plain/prod/stranger:1.0"
push rogue "$plain/prod/rogue:1.0"
push multi "$plain/prod/multi:1.0" --all
push referrers "$api/prod/referrers:1.0"

cd "$work"
"$cosign" generate-key-pair --output-key-prefix release 2>/dev/null
"$cosign" generate-key-pair --output-key-prefix stranger 2>/dev/null
"$cosign" signing-config create > signing-config.json
digest() { skopeo inspect --raw --tls-verify=false "docker://$1" | sha256sum | cut -d' ' -f1; }
sign_bundle() { # KEY HOST REPOSITORY TAG PRODUCT
  "$cosign" sign --yes --key "$1.key" --signing-config signing-config.json --allow-http-registry \
    -a "product=$5" "$2/$3@sha256:$(digest "$2/$3:$4")" 2>>cosign.log
}
sign_legacy() {
  "$cosign" sign --yes --key "$1.key" --use-signing-config=false --tlog-upload=false --new-bundle-format=false \
    --allow-http-registry -a "product=$5" "$2/$3@sha256:$(digest "$2/$3:$4")" 2>>cosign.log
}
sign_legacy release "$plain" prod/payments 1.4 payments
sign_bundle release "$plain" prod/payments 1.4 payments
sign_legacy release "$plain" prod/legacy 1.0 legacy
sign_bundle release "$plain" prod/bundle 1.0 bundle
sign_legacy stranger "$plain" prod/stranger 1.0 payments
sign_bundle stranger "$plain" prod/stranger 1.0 payments
sign_legacy release "$plain" prod/multi 1.0 multi
sign_bundle release "$plain" prod/multi 1.0 multi
sign_bundle release "$api" prod/referrers 1.0 referrers
for reference in "$plain/prod/payments:1.4" "$plain/prod/bundle:1.0" "$api/prod/referrers:1.0"; do
  "$cosign" verify --key release.pub --insecure-ignore-tlog=true --allow-http-registry "$reference" >/dev/null 2>>cosign.log
done

rm -rf "$here/registry" "$here/keys"
mkdir -p "$here/keys"
cp release.pub stranger.pub "$here/keys/"
for repository in payments legacy bundle stranger rogue multi; do
  python3 "$here/record/fetch.py" "http://$plain" "prod/$repository" "$here/registry"
done
python3 "$here/record/fetch.py" "http://$api" prod/referrers "$here/registry"
echo "recorded: $(find "$here/registry" -type f | wc -l) files"
