//! From a tag to the digest that is served.

use countersign_artifact::{ArtifactError, Reference, Resolved, Tag};
use evidence::Digest;
use serde_json::{Value, json};

use super::fake::{FakeRegistry, HOST, IMAGE, INDEX, Reply, descriptor, image, index, repository};

const NAME: &str = "a/b";

fn tag(tag: &str) -> Reference {
    Reference::Tag(Tag::parse(tag).unwrap())
}

async fn resolve(
    registry: &FakeRegistry,
    reference: &Reference,
) -> Result<Resolved, ArtifactError> {
    registry
        .registries()
        .resolve(HOST, &repository(NAME), reference, &[])
        .await
}

fn bytes(manifest: &Value) -> Vec<u8> {
    serde_json::to_vec(manifest).unwrap()
}

fn at_tag(registry: &FakeRegistry, reply: Reply) {
    registry.set(&format!("/v2/{NAME}/manifests/1.0"), reply);
}

#[tokio::test]
async fn a_tag_is_the_hash_of_the_bytes_that_came() {
    let registry = FakeRegistry::start().await;
    let digest = registry.tagged(NAME, "1.0", &image(&[]));
    let found = resolve(&registry, &tag("1.0")).await.unwrap();
    assert_eq!((&found.digest, found.media_type.as_str()), (&digest, IMAGE));
    assert_eq!(found.size, u64::try_from(bytes(&image(&[])).len()).unwrap());
    assert_eq!(
        resolve(&registry, &Reference::Digest(digest.clone()))
            .await
            .unwrap()
            .digest,
        digest
    );
}

#[tokio::test]
async fn the_clients_own_accept_headers_are_passed_on() {
    let registry = FakeRegistry::start().await;
    registry.tagged(NAME, "1.0", &image(&[]));
    let accept = [IMAGE.to_owned(), format!("{INDEX}, */*;q=0.1")];
    registry
        .registries()
        .resolve(HOST, &repository(NAME), &tag("1.0"), &accept)
        .await
        .unwrap();
    assert_eq!(registry.requests()[0].1, accept);
}

#[tokio::test]
async fn an_accept_header_that_is_none_is_refused() {
    let registry = FakeRegistry::start().await;
    let accept = ["a\r\nx: y".to_owned()];
    let error = registry
        .registries()
        .resolve(HOST, &repository(NAME), &tag("1.0"), &accept)
        .await
        .unwrap_err();
    assert!(matches!(error, ArtifactError::Accept));
    assert!(registry.requests().is_empty());
}

#[tokio::test]
async fn a_port_in_the_asked_host_is_ignored() {
    let registry = FakeRegistry::start().await;
    registry.tagged(NAME, "1.0", &image(&[]));
    let found = registry
        .registries()
        .resolve("localhost:10443", &repository(NAME), &tag("1.0"), &[])
        .await;
    assert!(found.is_ok());
}

#[tokio::test]
async fn a_moved_tag_is_seen_at_once() {
    let registry = FakeRegistry::start().await;
    let first = registry.tagged(NAME, "1.0", &image(&[]));
    let registries = registry.registries();
    let ask = async || {
        registries
            .resolve(HOST, &repository(NAME), &tag("1.0"), &[])
            .await
            .unwrap()
            .digest
    };
    assert_eq!(ask().await, first);
    let second = registry.tagged(NAME, "1.0", &index(&[]));
    assert_eq!(ask().await, second);
}

#[tokio::test]
async fn a_tag_that_is_not_there_is_not_found() {
    let registry = FakeRegistry::start().await;
    assert!(matches!(
        resolve(&registry, &tag("1.0")).await,
        Err(ArtifactError::NotFound { .. })
    ));
}

#[tokio::test]
async fn a_status_that_is_no_answer_is_neither_absence_nor_presence() {
    for status in [201, 301, 307, 401, 429, 500] {
        let registry = FakeRegistry::start().await;
        at_tag(&registry, Reply::status(status));
        let error = resolve(&registry, &tag("1.0")).await.unwrap_err();
        assert!(
            matches!(error, ArtifactError::Answered { status: got, .. } if got == status),
            "{error}"
        );
    }
}

#[tokio::test]
async fn bytes_of_another_digest_are_refused() {
    let registry = FakeRegistry::start().await;
    let manifest = bytes(&image(&[]));
    let other = Digest::sha256_of(b"other");
    registry.set(
        &format!("/v2/{NAME}/manifests/{other}"),
        Reply::ok(IMAGE, manifest.clone()),
    );
    let error = resolve(&registry, &Reference::Digest(other.clone()))
        .await
        .unwrap_err();
    assert!(matches!(error, ArtifactError::DigestMismatch { .. }));

    at_tag(
        &registry,
        Reply::ok(IMAGE, manifest.clone()).with("docker-content-digest", other.as_str()),
    );
    assert!(matches!(
        resolve(&registry, &tag("1.0")).await,
        Err(ArtifactError::DigestMismatch { .. })
    ));
    at_tag(
        &registry,
        Reply::ok(IMAGE, manifest).with("docker-content-digest", "sha256:short"),
    );
    assert!(matches!(
        resolve(&registry, &tag("1.0")).await,
        Err(ArtifactError::DigestMismatch { .. })
    ));
}

#[tokio::test]
async fn a_registry_may_name_a_sha512_digest_and_is_held_to_it() {
    let registry = FakeRegistry::start().await;
    let manifest = bytes(&image(&[]));
    let digest = Digest::sha512_of(&manifest);
    at_tag(
        &registry,
        Reply::ok(IMAGE, manifest).with("docker-content-digest", digest.as_str()),
    );
    assert_eq!(
        resolve(&registry, &tag("1.0")).await.unwrap().digest,
        digest
    );
}

#[tokio::test]
async fn garbage_and_ambiguity_are_malformed() {
    let mut both = image(&[]);
    both["manifests"] = json!([]);
    let mut foreign = image(&[descriptor(
        "application/vnd.oci.image.layer.v1.tar",
        &Digest::sha256_of(b"x"),
        1,
    )]);
    foreign["layers"][0]["urls"] = json!(["https://elsewhere.test/layer"]);
    let replies = [
        Reply::ok(IMAGE, "\u{0}\u{1}garbage"),
        Reply::ok(IMAGE, ""),
        Reply::ok(IMAGE, bytes(&both)),
        Reply::ok(IMAGE, bytes(&foreign)),
        Reply::ok(INDEX, bytes(&image(&[]))),
        Reply::ok("text/html", "<html></html>"),
        Reply::ok(
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "{\"schemaVersion\":1}",
        ),
    ];
    for reply in replies {
        let registry = FakeRegistry::start().await;
        at_tag(&registry, reply.clone());
        let error = resolve(&registry, &tag("1.0")).await.unwrap_err();
        assert!(
            matches!(error, ArtifactError::Malformed { .. }),
            "{reply:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_manifest_without_end_is_cut() {
    let registry = FakeRegistry::start().await;
    at_tag(&registry, Reply::Endless);
    assert!(matches!(
        resolve(&registry, &tag("1.0")).await,
        Err(ArtifactError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn a_registry_that_does_not_listen_is_unreachable() {
    let registry = FakeRegistry::start().await;
    let registries = registry.registries();
    drop(registry);
    let error = registries
        .resolve(HOST, &repository(NAME), &tag("1.0"), &[])
        .await
        .unwrap_err();
    assert!(
        matches!(error, ArtifactError::Unreachable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_blob_is_read_within_its_bound_and_by_its_hash() {
    let registry = FakeRegistry::start().await;
    let blob = registry.blob(NAME, b"12345");
    let read = async |max| {
        registry
            .registries()
            .blob(HOST, &repository(NAME), &blob, max)
            .await
    };
    assert_eq!(&read(5).await.unwrap()[..], b"12345");
    assert!(matches!(
        read(4).await,
        Err(ArtifactError::TooLarge { limit: 4, .. })
    ));
}

#[tokio::test]
async fn tags_are_listed_page_by_page_up_to_the_limit() {
    let registry = FakeRegistry::start().await;
    let path = format!("/v2/{NAME}/tags/list");
    let list = |tags: Vec<String>| {
        Reply::ok(
            "application/json",
            bytes(&json!({ "name": NAME, "tags": tags })),
        )
    };
    let tags = async || registry.registries().tags(HOST, &repository(NAME)).await;

    registry.set(&path, list(vec!["1.0".to_owned(), "not a tag".to_owned()]));
    let listed = tags().await.unwrap();
    assert_eq!(listed.tags, [Tag::parse("1.0").unwrap()]);
    assert!(listed.skipped.is_none());
    registry.set(
        &path,
        Reply::ok("application/json", r#"{"name":"a/b","tags":null}"#),
    );
    assert_eq!(tags().await.unwrap().tags, []);

    let first = list((0..200).map(|n| format!("a{n}")).collect());
    let next = format!("{path}?last=a");
    registry.set(
        &path,
        first.with("link", &format!("<{next}>; rel=\"next\"")),
    );
    registry.set(&next, list((0..200).map(|n| format!("b{n}")).collect()));
    let listed = tags().await.unwrap();
    assert_eq!((listed.tags.len(), listed.skipped.is_none()), (400, true));

    registry.set(&next, Reply::status(500));
    let listed = tags().await.unwrap();
    assert_eq!(listed.tags.len(), 200);
    assert!(matches!(
        listed.skipped,
        Some(ArtifactError::Answered { status: 500, .. })
    ));

    registry.set(&path, list((0..1025).map(|n| format!("t{n}")).collect()));
    let listed = tags().await.unwrap();
    assert_eq!(listed.tags.len(), 1024);
    assert!(matches!(
        listed.skipped,
        Some(ArtifactError::TooLarge { limit: 1024, .. })
    ));
    let endless = list(Vec::new()).with("link", &format!("<{path}?last=x>; rel=\"next\""));
    registry.set(&path, endless);
    assert!(matches!(
        tags().await.unwrap().skipped,
        Some(ArtifactError::TooLarge { .. })
    ));
    registry.set(&path, Reply::ok("application/json", "[]"));
    assert!(matches!(tags().await, Err(ArtifactError::Malformed { .. })));
}

#[tokio::test]
async fn members_leave_out_children_that_were_never_copied() {
    let registry = FakeRegistry::start().await;
    let layer = Digest::sha256_of(b"layer");
    let child = registry.manifest(
        NAME,
        &image(&[descriptor(
            "application/vnd.oci.image.layer.v1.tar",
            &layer,
            5,
        )]),
    );
    let missing = Digest::sha256_of(b"missing");
    let root = registry.manifest(NAME, &index(&[&child, &missing]));
    let members = registry
        .registries()
        .members(HOST, &repository(NAME), &root)
        .await
        .unwrap();
    assert_eq!(members.manifests, [root.clone(), child, missing].into());
    assert!(members.blobs.contains(&layer));

    let gone = registry
        .registries()
        .members(HOST, &repository(NAME), &layer)
        .await;
    assert!(matches!(gone, Err(ArtifactError::NotFound { .. })));
}

#[tokio::test]
async fn members_of_an_index_that_is_too_wide_or_unreadable_are_not_guessed() {
    let registry = FakeRegistry::start().await;
    let children: Vec<_> = (0..200)
        .map(|n: u32| Digest::sha256_of(&n.to_be_bytes()))
        .collect();
    let wide = registry.manifest(NAME, &index(&children.iter().collect::<Vec<_>>()));
    let of = async |root: &Digest| {
        registry
            .registries()
            .members(HOST, &repository(NAME), root)
            .await
    };
    assert!(matches!(
        of(&wide).await,
        Err(ArtifactError::TooLarge { .. })
    ));

    let root = registry.manifest(NAME, &index(&[&children[0]]));
    registry.set(
        &format!("/v2/{NAME}/manifests/{}", children[0]),
        Reply::status(500),
    );
    assert!(matches!(
        of(&root).await,
        Err(ArtifactError::Answered { status: 500, .. })
    ));
}
