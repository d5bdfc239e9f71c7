//! Pulls from a registry behind Envoy: signed, unsigned, and around the gate.

use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::demo::layout::uid;
use crate::demo::row::{Findings, Row};
use crate::demo::stage::Stage;
use crate::demo::tamper::Tamper;
use crate::images::{Recorded, push_manifest};
use crate::process::Finished;
use crate::wire::{Call, once, plain};

pub(super) const SIGNED: Row = Row {
    number: 9,
    who: "skopeo",
    does: "pulls prod/payments:1.4, signed",
    expected: "200, the record shows the pinned digest",
};

pub(super) async fn signed(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    let pulled = skopeo(stage, "row-9", "prod/payments:1.4").await?;
    found.got(if pulled.code == 0 {
        "200, pulled".to_owned()
    } else {
        last_words(&pulled)
    });
    found.same("skopeo's exit code", &pulled.code, &0);
    let digest = Recorded::read("prod/payments")?.digest("1.4")?.to_owned();
    let records = std::fs::read_to_string(stage.world.layout.records())?;
    let pinned = records
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|record| record.get("pinned")?.as_str().map(str::to_owned))
        .next_back()
        .context("no record shows a pinned digest")?;
    found.contains("the pinned path", &pinned, &digest);
    found.why(format!("pinned {pinned}"));
    Ok(())
}

pub(super) const UNSIGNED: Row = Row {
    number: 10,
    who: "skopeo",
    does: "pulls prod/rogue:1.0, unsigned",
    expected: "403 artifact-unsigned, in skopeo's own output",
};

pub(super) async fn unsigned(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    let pulled = skopeo(stage, "row-10", "prod/rogue:1.0").await?;
    refused(found, &pulled);
    let manifest = manifest(stage, "/v2/prod/rogue/manifests/1.0");
    stage.behind_fail_open(10, "puller", &manifest).await
}

pub(super) const NOT_CANONICAL: Row = Row {
    number: 11,
    who: "puller",
    does: "GET /v2/prod%2Frogue/manifests/1.0",
    expected: "400 from Envoy; behind no normalisation: 403 target-not-canonical",
};

pub(super) async fn not_canonical(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    let call = Call::new(
        "GET",
        &stage.registry_host(),
        "/v2/prod%2Frogue/manifests/1.0",
    );
    let reply = stage.call(stage.actors.client("puller")?, &call).await?;
    found.got(format!("{}", reply.status));
    found.same("status", &reply.status, &400);
    let reply = once(
        stage.extra("no-normalisation")?,
        stage.actors.client("puller")?,
        &call,
    )
    .await?;
    Stage::denied(found, &reply, 403, "target-not-canonical");
    found.why("the registry itself would decode %2F");
    Ok(())
}

pub(super) const BLOB: Row = Row {
    number: 12,
    who: "puller",
    does: "GET a layer of rogue that the registry serves",
    expected: "403 blob-outside-closure",
};

pub(super) async fn blob(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    let layer = Recorded::read("prod/rogue")?.layer("1.0")?;
    let path = format!("/v2/prod/rogue/blobs/{layer}");
    let registry = stage.world.ports.registry;
    let direct = plain(registry, &Call::new("GET", &registry.to_string(), &path)).await?;
    found.same("the registry's own answer", &direct.status, &200);
    let call = Call::new("GET", &stage.registry_host(), &path);
    let reply = stage.call(stage.actors.client("puller")?, &call).await?;
    Stage::denied(found, &reply, 403, "blob-outside-closure");
    found.why("no verified image has this layer; the registry alone says 200");
    stage.behind_fail_open(12, "puller", &call).await
}

pub(super) const TAG_MOVED: Row = Row {
    number: 13,
    who: "skopeo",
    does: "pulls 1.4 after its tag was moved to rogue's image",
    expected: "403 artifact-unsigned; the tag is restored",
};

pub(super) async fn tag_moved(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    let registry = stage.world.ports.registry;
    let payments = Recorded::read("prod/payments")?;
    let original = payments
        .manifests
        .get(payments.digest("1.4")?)
        .context("no image")?;
    let signed = stage.world.tamper == Tamper::TagMovesToSigned;
    let other = Recorded::read(if signed { "prod/legacy" } else { "prod/rogue" })?;
    other.push(registry, "prod/payments").await?;
    push_manifest(
        registry,
        "prod/payments",
        "1.4",
        other
            .manifests
            .get(other.digest("1.0")?)
            .context("no image")?,
    )
    .await?;
    let pulled = skopeo(stage, "row-13", "prod/payments:1.4").await;
    let manifest = manifest(stage, "/v2/prod/payments/manifests/1.4");
    let fail_open = stage.behind_fail_open(13, "puller", &manifest).await;
    push_manifest(registry, "prod/payments", "1.4", original).await?;
    refused(found, &pulled?);
    fail_open?;
    Ok(())
}

/// Runs skopeo by `cert-agent exec --files`, as an operator would.
async fn skopeo(stage: &Stage, log: &str, image: &str) -> anyhow::Result<Finished> {
    let program = stage.world.exec_files(log, "puller", "skopeo")?;
    let files = stage.world.layout.base().join("actors").join(log);
    // skopeo wants these names; the links follow each rotation.
    let certificates = stage.world.layout.actor(&format!("{log}-certificates"))?;
    for (from, to) in [
        ("bundle.pem", "ca.crt"),
        ("svid.pem", "client.cert"),
        ("svid_key.pem", "client.key"),
    ] {
        symlink(files.join(from), certificates.join(to))?;
    }
    let pulled = stage
        .world
        .layout
        .scratch(&format!("{log}-image"), uid::PULLER)?;
    program
        .args(["--insecure-policy", "--tmpdir"])
        .arg(&pulled)
        .args(["copy", "--src-cert-dir"])
        .arg(&certificates)
        .arg(format!("docker://{}/{image}", stage.registry_host()))
        .arg(format!("dir:{}", pulled.join("image").display()))
        .finish(PULL)
        .await
}

fn refused(found: &mut Findings, pulled: &Finished) {
    found.got(last_words(pulled));
    found.holds("skopeo fails", pulled.code != 0);
    found.contains("skopeo's output", &pulled.err, "denied: artifact-unsigned");
    found.why("the image that would be served is not signed");
}

/// What skopeo says the registry said.
fn last_words(pulled: &Finished) -> String {
    let line = pulled.err.lines().last().unwrap_or_default();
    match line.split_once("denied: ") {
        Some((_, said)) => format!("denied: {}", said.split(':').next().unwrap_or_default()),
        None => line.to_owned(),
    }
}

/// A request for a manifest, as a client makes it.
fn manifest(stage: &Stage, path: &str) -> Call {
    Call::new("GET", &stage.registry_host(), path)
        .header("accept", "application/vnd.oci.image.manifest.v1+json")
}

/// A cold pull on a loaded machine.
const PULL: Duration = Duration::from_mins(1);
