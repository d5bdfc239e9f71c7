//! Images that cosign 3.1.3 signed, found by each of the three ways.

use std::fs;

use countersign_artifact::{Reference, Repository, Resolved, Tag};
use evidence::{Evidence, Format, SignerSet, Vouched, verify};
use identity::public_key::PublicKey;

use super::fake::{FakeRegistry, HOST, repository};

fn release() -> SignerSet {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/data/keys/release.pub"
    );
    SignerSet::new([PublicKey::from_pem(&fs::read(path).unwrap()).unwrap()])
}

async fn resolved(registry: &FakeRegistry, name: &Repository, tag: &str) -> Resolved {
    let reference = Reference::Tag(Tag::parse(tag).unwrap());
    registry
        .registries()
        .resolve(HOST, name, &reference, &[])
        .await
        .unwrap()
}

async fn vouched(name: &str, tag: &str) -> (Vec<Evidence>, Vouched) {
    let registry = FakeRegistry::recorded(name).await;
    let name = repository(name);
    let image = resolved(&registry, &name, tag).await.digest;
    let discovery = registry
        .registries()
        .discover(HOST, &name, &image)
        .await
        .unwrap();
    assert!(discovery.skipped.is_empty(), "{:?}", discovery.skipped);
    let vouched = verify(&image, &discovery.evidence, &release());
    (discovery.evidence, vouched)
}

async fn formats(name: &str, tag: &str) -> Vec<Format> {
    let (_, vouched) = vouched(name, tag).await;
    assert_eq!(vouched.rejected, []);
    vouched
        .signatures
        .iter()
        .map(|signature| signature.format)
        .collect()
}

#[tokio::test]
async fn a_legacy_signature_is_found_by_its_tag() {
    assert_eq!(formats("prod/legacy", "1.0").await, [Format::SimpleSigning]);
}

#[tokio::test]
async fn a_bundle_is_found_by_the_referrers_tag() {
    assert_eq!(
        formats("prod/bundle", "1.0").await,
        [Format::SigstoreBundle]
    );
}

#[tokio::test]
async fn a_bundle_is_found_by_the_referrers_api() {
    assert_eq!(
        formats("prod/referrers", "1.0").await,
        [Format::SigstoreBundle]
    );
}

#[tokio::test]
async fn both_formats_are_found_side_by_side() {
    for (name, tag) in [("prod/payments", "1.4"), ("prod/multi", "1.0")] {
        assert_eq!(
            formats(name, tag).await,
            [Format::SigstoreBundle, Format::SimpleSigning]
        );
    }
}

#[tokio::test]
async fn an_unsigned_image_has_no_evidence() {
    let (evidence, vouched) = vouched("prod/rogue", "1.0").await;
    assert_eq!(evidence, []);
    assert_eq!((vouched.signatures.len(), vouched.rejected.len()), (0, 0));
}

#[tokio::test]
async fn a_strangers_image_is_found_and_rejected() {
    let (evidence, vouched) = vouched("prod/stranger", "1.0").await;
    assert_eq!(
        (
            evidence.len(),
            vouched.signatures.len(),
            vouched.rejected.len()
        ),
        (2, 0, 2)
    );
}

#[tokio::test]
async fn the_members_of_an_image_are_its_config_and_layers() {
    let registry = FakeRegistry::recorded("prod/payments").await;
    let name = repository("prod/payments");
    let image = resolved(&registry, &name, "1.4").await;
    let members = registry
        .registries()
        .members(HOST, &name, &image.digest)
        .await
        .unwrap();
    assert_eq!(
        members.manifests.iter().collect::<Vec<_>>(),
        [&image.digest]
    );
    assert_eq!(
        members.blobs,
        image
            .manifest
            .descriptors()
            .map(|blob| blob.digest.clone())
            .collect()
    );
    assert_eq!(members.all().count(), 3);
}

#[tokio::test]
async fn the_members_of_an_index_reach_through_its_children() {
    let registry = FakeRegistry::recorded("prod/multi").await;
    let name = repository("prod/multi");
    let index = resolved(&registry, &name, "1.0").await;
    let members = registry
        .registries()
        .members(HOST, &name, &index.digest)
        .await
        .unwrap();
    assert_eq!(members.manifests.len(), 3);
    assert!(members.blobs.len() >= 3, "{members:?}");
    for blob in &members.blobs {
        registry
            .registries()
            .blob(HOST, &name, blob, 1024 * 1024)
            .await
            .unwrap();
    }
}
