//! What discovery makes of registries that answer badly.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_artifact::{ArtifactError, Discovery};
use evidence::{Digest, Evidence, MAX_EVIDENCE_BYTES};
use serde_json::{Value, json};

use super::fake::{
    BUNDLE, FakeRegistry, HOST, IMAGE, INDEX, Reply, SIGNATURE, SIMPLE_SIGNING, descriptor, image,
    index, repository,
};

const NAME: &str = "a/b";

fn subject() -> Digest {
    Digest::sha256_of(b"subject")
}

fn api() -> String {
    format!("/v2/{NAME}/referrers/{}", subject())
}

fn schema_tag() -> String {
    format!("sha256-{}", subject().hex())
}

fn legacy_tag() -> String {
    format!("sha256-{}.sig", subject().hex())
}

fn manifest_path(reference: &str) -> String {
    format!("/v2/{NAME}/manifests/{reference}")
}

async fn discover(registry: &FakeRegistry) -> Discovery {
    registry
        .registries()
        .discover(HOST, &repository(NAME), &subject())
        .await
        .unwrap()
}

/// A referrer whose one layer is this bundle.
fn bundle_referrer(registry: &FakeRegistry, bundle: &[u8]) -> Digest {
    let blob = registry.blob(NAME, bundle);
    registry.manifest(NAME, &image(&[descriptor(BUNDLE, &blob, bundle.len())]))
}

fn signature_layer(registry: &FakeRegistry, payload: &[u8]) -> Value {
    let blob = registry.blob(NAME, payload);
    let mut layer = descriptor(SIMPLE_SIGNING, &blob, payload.len());
    layer["annotations"] = json!({ SIGNATURE: STANDARD.encode(b"signature") });
    layer
}

fn legacy(registry: &FakeRegistry, layers: &[Value]) {
    registry.tagged(NAME, &legacy_tag(), &image(layers));
}

fn listed(children: &[&Digest]) -> Reply {
    Reply::ok(INDEX, serde_json::to_vec(&index(children)).unwrap())
}

fn bundle(bytes: &[u8]) -> Evidence {
    Evidence::SigstoreBundle {
        json: bytes.to_vec(),
    }
}

fn simple(payload: &[u8]) -> Evidence {
    Evidence::SimpleSigning {
        payload: payload.to_vec(),
        signature: b"signature".to_vec(),
    }
}

#[tokio::test]
async fn all_three_ways_are_asked_and_what_they_share_is_read_once() {
    let registry = FakeRegistry::start().await;
    let (one, two) = (
        bundle_referrer(&registry, b"one"),
        bundle_referrer(&registry, b"two"),
    );
    registry.set(&api(), listed(&[&one, &two]));
    registry.tagged(NAME, &schema_tag(), &index(&[&two]));
    let layer = signature_layer(&registry, b"payload");
    legacy(&registry, &[layer]);

    let found = discover(&registry).await;
    assert_eq!(
        found.evidence,
        [bundle(b"one"), bundle(b"two"), simple(b"payload")]
    );
    assert!(found.skipped.is_empty());
    assert_eq!(registry.count(two.as_str()), 1);
}

#[tokio::test]
async fn a_registry_without_the_api_and_without_tags_has_no_evidence() {
    let registry = FakeRegistry::start().await;
    let found = discover(&registry).await;
    assert_eq!((found.evidence.len(), found.skipped.len()), (0, 0));
    assert_eq!(registry.requests().len(), 3);
}

#[tokio::test]
async fn an_error_is_not_absence_and_hides_no_other_way() {
    for status in [400, 401, 403, 429, 500, 502] {
        let registry = FakeRegistry::start().await;
        registry.set(&api(), Reply::status(status));
        let layer = signature_layer(&registry, b"payload");
        legacy(&registry, &[layer]);
        let found = discover(&registry).await;
        assert_eq!(found.evidence, [simple(b"payload")]);
        assert!(
            matches!(found.skipped[..], [ArtifactError::Answered { status: got, .. }] if got == status)
        );
    }
}

#[tokio::test]
async fn an_error_of_either_tag_is_not_absence() {
    for tag in [schema_tag(), legacy_tag()] {
        let registry = FakeRegistry::start().await;
        registry.set(&manifest_path(&tag), Reply::status(503));
        let found = discover(&registry).await;
        assert!(matches!(
            found.skipped[..],
            [ArtifactError::Answered { status: 503, .. }]
        ));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = FakeRegistry::start().await;
    let registry = FakeRegistry::start().await;
    registry.set(&api(), Reply::redirect(elsewhere.url().as_str()));
    let found = discover(&registry).await;
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::Answered { status: 303, .. }]
    ));
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_page_of_html_is_malformed() {
    let registry = FakeRegistry::start().await;
    registry.set(&api(), Reply::ok("text/html", "<html></html>"));
    let found = discover(&registry).await;
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::Malformed { .. }]
    ));
}

#[tokio::test]
async fn an_image_where_a_list_should_be_is_malformed() {
    let registry = FakeRegistry::start().await;
    registry.set(
        &api(),
        Reply::ok(IMAGE, serde_json::to_vec(&image(&[])).unwrap()),
    );
    let found = discover(&registry).await;
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::Malformed { .. }]
    ));
}

#[tokio::test]
async fn pages_are_followed_to_the_last() {
    let registry = FakeRegistry::start().await;
    let (one, two) = (
        bundle_referrer(&registry, b"one"),
        bundle_referrer(&registry, b"two"),
    );
    let next = format!("<{}?last=1>; rel=\"next\"", api());
    registry.set(&api(), listed(&[&one]).with("link", &next));
    registry.set(&format!("{}?last=1", api()), listed(&[&two]));
    let found = discover(&registry).await;
    assert_eq!(found.evidence, [bundle(b"one"), bundle(b"two")]);
    assert!(found.skipped.is_empty());
}

#[tokio::test]
async fn a_page_elsewhere_is_not_followed() {
    let elsewhere = FakeRegistry::start().await;
    let registry = FakeRegistry::start().await;
    let next = format!(
        "<{}v2/{NAME}/referrers/{}>; rel=\"next\"",
        elsewhere.url(),
        subject()
    );
    registry.set(&api(), listed(&[]).with("link", &next));
    let found = discover(&registry).await;
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::Malformed { .. }]
    ));
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn pages_without_end_are_cut() {
    let registry = FakeRegistry::start().await;
    registry.set(
        &api(),
        listed(&[]).with("link", &format!("<{}?again>; rel=\"next\"", api())),
    );
    let found = discover(&registry).await;
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::TooLarge { .. }]
    ));
    assert!(registry.count("/referrers/") <= 8);
}

#[tokio::test]
async fn a_flood_of_other_referrers_hides_no_likely_one() {
    let registry = FakeRegistry::start().await;
    let junk = registry.manifest(NAME, &image(&[]));
    let good = bundle_referrer(&registry, b"good");
    let entry = |n: usize| {
        let digest = Digest::sha256_of(format!("junk {n}").as_bytes());
        let mut entry = descriptor(IMAGE, &digest, 100);
        entry["artifactType"] = json!("application/spdx+json");
        entry
    };
    let mut flood = index(&[&junk]);
    flood["manifests"] = (0..100).map(entry).collect();
    flood["manifests"]
        .as_array_mut()
        .unwrap()
        .push(descriptor(IMAGE, &good, 100));
    registry.set(
        &api(),
        Reply::ok(INDEX, serde_json::to_vec(&flood).unwrap()),
    );
    let found = discover(&registry).await;
    assert_eq!(found.evidence, [bundle(b"good")]);
    assert!(
        found
            .skipped
            .iter()
            .any(|error| matches!(error, ArtifactError::TooLarge { limit: 64, .. }))
    );
}

#[tokio::test]
async fn a_listed_referrer_that_is_gone_is_not_absence() {
    let registry = FakeRegistry::start().await;
    let gone = Digest::sha256_of(b"gone");
    let good = bundle_referrer(&registry, b"good");
    registry.set(&api(), listed(&[&gone, &good]));
    let found = discover(&registry).await;
    assert_eq!(found.evidence, [bundle(b"good")]);
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::NotFound { .. }]
    ));
}

#[tokio::test]
async fn a_referrer_with_other_layers_is_no_evidence() {
    let registry = FakeRegistry::start().await;
    let sbom = registry.manifest(
        NAME,
        &image(&[descriptor("application/spdx+json", &subject(), 10)]),
    );
    registry.set(&api(), listed(&[&sbom]));
    let found = discover(&registry).await;
    assert_eq!((found.evidence.len(), found.skipped.len()), (0, 0));
}

#[tokio::test]
async fn an_attestation_is_not_downloaded() {
    let registry = FakeRegistry::start().await;
    let blob = registry.blob(NAME, b"sbom");
    let mut referrer = image(&[descriptor(BUNDLE, &blob, 4)]);
    referrer["annotations"] =
        json!({ "dev.sigstore.bundle.predicateType": "https://spdx.dev/Document" });
    let referrer = registry.manifest(NAME, &referrer);
    registry.set(&api(), listed(&[&referrer]));
    let found = discover(&registry).await;
    assert_eq!((found.evidence.len(), found.skipped.len()), (0, 0));
    assert_eq!(registry.count("/blobs/"), 0);
}

#[tokio::test]
async fn bytes_that_are_not_the_ones_named_are_skipped() {
    let registry = FakeRegistry::start().await;
    let referrer = bundle_referrer(&registry, b"bundle");
    let blob = Digest::sha256_of(b"bundle");
    registry.set(
        &format!("/v2/{NAME}/blobs/{blob}"),
        Reply::ok("application/octet-stream", "bumble"),
    );
    registry.set(&api(), listed(&[&referrer]));
    let found = discover(&registry).await;
    assert!(found.evidence.is_empty());
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::DigestMismatch { .. }]
    ));

    let swapped = Digest::sha256_of(b"swapped");
    registry.set(
        &manifest_path(swapped.as_str()),
        Reply::ok(IMAGE, serde_json::to_vec(&image(&[])).unwrap()),
    );
    registry.set(&api(), listed(&[&swapped]));
    let found = discover(&registry).await;
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::DigestMismatch { .. }]
    ));
}

#[tokio::test]
async fn an_oversized_signature_is_skipped_without_reading_it() {
    let registry = FakeRegistry::start().await;
    let large = Digest::sha256_of(b"large");
    let small = signature_layer(&registry, b"payload");
    legacy(
        &registry,
        &[
            descriptor(SIMPLE_SIGNING, &large, MAX_EVIDENCE_BYTES + 1),
            small,
        ],
    );
    let found = discover(&registry).await;
    assert_eq!(found.evidence, [simple(b"payload")]);
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::TooLarge { .. }]
    ));
    assert_eq!(registry.count(large.as_str()), 0);
}

#[tokio::test]
async fn a_blob_longer_than_its_descriptor_is_cut() {
    let registry = FakeRegistry::start().await;
    let blob = Digest::sha256_of(b"endless");
    registry.set(&format!("/v2/{NAME}/blobs/{blob}"), Reply::Endless);
    let referrer = registry.manifest(NAME, &image(&[descriptor(BUNDLE, &blob, 100)]));
    registry.set(&api(), listed(&[&referrer]));
    let found = discover(&registry).await;
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::TooLarge { limit: 100, .. }]
    ));
}

#[tokio::test]
async fn a_list_without_end_is_cut() {
    let registry = FakeRegistry::start().await;
    registry.set(&api(), Reply::Endless);
    let found = discover(&registry).await;
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::TooLarge { .. }]
    ));
}

#[tokio::test]
async fn too_many_signature_layers_are_cut() {
    let registry = FakeRegistry::start().await;
    let layer = signature_layer(&registry, b"payload");
    legacy(&registry, &vec![layer; 100]);
    let found = discover(&registry).await;
    assert_eq!(found.evidence.len(), 64);
    assert!(matches!(
        found.skipped[..],
        [ArtifactError::TooLarge { limit: 64, .. }]
    ));
}

#[tokio::test]
async fn a_signature_layer_without_a_signature_is_malformed() {
    for annotations in [json!({}), json!({ SIGNATURE: "!" })] {
        let registry = FakeRegistry::start().await;
        let mut layer = signature_layer(&registry, b"payload");
        layer["annotations"] = annotations;
        legacy(&registry, &[layer]);
        let found = discover(&registry).await;
        assert!(found.evidence.is_empty());
        assert!(matches!(
            found.skipped[..],
            [ArtifactError::Malformed { .. }]
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_never_answers_is_unreachable() {
    let registry = FakeRegistry::start().await;
    for path in [
        api(),
        manifest_path(&schema_tag()),
        manifest_path(&legacy_tag()),
    ] {
        registry.set(&path, Reply::Hang);
    }
    let found = discover(&registry).await;
    assert_eq!(found.skipped.len(), 3);
    assert!(
        found
            .skipped
            .iter()
            .all(|error| matches!(error, ArtifactError::Unreachable { .. }))
    );
}

#[tokio::test]
async fn a_host_that_is_not_configured_is_never_connected_to() {
    let registry = FakeRegistry::start().await;
    let error = registry
        .registries()
        .discover("evil.test", &repository(NAME), &subject())
        .await
        .unwrap_err();
    assert!(matches!(error, ArtifactError::NotConfigured { .. }));
    assert!(registry.requests().is_empty());
}
