//! Images that cosign 3.1.3 signed: untouched they verify, and each altered byte gives its own cause.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_evidence::{Cause, Digest, Evidence, Format, SignerSet, Vouched, verify};
use identity::public_key::PublicKey;
use serde_json::{Value, json};

/// One recorded repository.
struct Recorded {
    directory: PathBuf,
}

impl Recorded {
    fn open(repository: &str) -> Self {
        Self {
            directory: data().join("registry").join(repository),
        }
    }

    fn tag(&self, tag: &str) -> Digest {
        let tags: Value = json_of(&self.read("tags.json"));
        Digest::parse(tags[tag].as_str().expect("the tag is recorded")).expect("a digest")
    }

    fn manifest(&self, digest: &Digest) -> Value {
        json_of(&self.read(&format!("manifests/sha256-{}", digest.hex())))
    }

    fn blob(&self, digest: &Value) -> Vec<u8> {
        let digest = Digest::parse(digest.as_str().expect("a text")).expect("a digest");
        let blob = self.read(&format!("blobs/sha256-{}", digest.hex()));
        assert!(digest.matches(&blob));
        blob
    }

    /// The legacy signature of an image: the payload's bytes, and the signature from the layer's annotation.
    fn legacy(&self, image: &Digest) -> (Vec<u8>, Vec<u8>) {
        let layer =
            self.manifest(&self.tag(&format!("sha256-{}.sig", image.hex())))["layers"][0].clone();
        let signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
            .as_str()
            .expect("a signature");
        (
            self.blob(&layer["digest"]),
            STANDARD.decode(signature).expect("base64"),
        )
    }

    /// The bundle of an image, found by the referrers tag.
    fn bundle(&self, image: &Digest) -> Value {
        let index = self.manifest(&self.tag(&format!("sha256-{}", image.hex())));
        let referrer = Digest::parse(index["manifests"][0]["digest"].as_str().expect("a text"))
            .expect("a digest");
        json_of(&self.blob(&self.manifest(&referrer)["layers"][0]["digest"]))
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.join(name)).expect("recorded by tests/data/record.sh")
    }
}

fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}

fn key(name: &str) -> PublicKey {
    let pem = fs::read(data().join("keys").join(name)).expect("a recorded key");
    PublicKey::from_pem(&pem).expect("a public key")
}

fn release() -> SignerSet {
    SignerSet::new([key("release.pub")])
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

fn legacy(payload: &[u8], signature: &[u8]) -> Evidence {
    Evidence::SimpleSigning {
        payload: payload.to_vec(),
        signature: signature.to_vec(),
    }
}

fn bundle(bundle: &Value) -> Evidence {
    Evidence::SigstoreBundle {
        json: serde_json::to_vec(bundle).expect("JSON"),
    }
}

fn cause(image: &Digest, piece: Evidence, signers: &SignerSet) -> Cause {
    let vouched = verify(image, &[piece], signers);
    assert_eq!(vouched.signatures, [], "altered evidence vouches");
    vouched.rejected[0].cause
}

fn product(vouched: &Vouched) -> &str {
    &vouched.signatures[0].claims.annotations["product"]
}

/// The bytes with one bit of the byte at `at` flipped.
fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// The base64 text of the same bytes with one bit flipped.
fn flipped_base64(text: &Value, at: usize) -> Value {
    let bytes = STANDARD
        .decode(text.as_str().expect("a text"))
        .expect("base64");
    json!(STANDARD.encode(flipped(&bytes, at)))
}

fn position(bytes: &[u8], needle: &str) -> usize {
    bytes
        .windows(needle.len())
        .position(|window| window == needle.as_bytes())
        .expect("it is there")
}

#[test]
fn a_legacy_signature_verifies_and_each_altered_byte_has_its_cause() {
    let recorded = Recorded::open("prod/legacy");
    let image = recorded.tag("1.0");
    let (payload, signature) = recorded.legacy(&image);

    let vouched = verify(&image, &[legacy(&payload, &signature)], &release());
    assert_eq!(vouched.rejected, []);
    assert_eq!(vouched.signatures[0].format, Format::SimpleSigning);
    assert_eq!(vouched.signatures[0].signer, key("release.pub").hash());
    assert_eq!(product(&vouched), "legacy");
    let repository = vouched.signatures[0]
        .claims
        .repository
        .as_deref()
        .expect("a repository");
    assert!(repository.ends_with("prod/legacy"), "{repository}");

    let of =
        |payload: &[u8], signature: &[u8]| cause(&image, legacy(payload, signature), &release());
    for at in 0..payload.len() {
        assert_eq!(
            of(&flipped(&payload, at), &signature),
            Cause::SignatureInvalid,
            "payload byte {at}"
        );
    }
    for at in 0..signature.len() {
        assert_eq!(
            of(&payload, &flipped(&signature, at)),
            Cause::SignatureInvalid,
            "signature byte {at}"
        );
    }
    for field in ["product", image.hex(), "docker-reference"] {
        assert_eq!(
            of(&flipped(&payload, position(&payload, field)), &signature),
            Cause::SignatureInvalid,
            "{field}"
        );
    }
    let other = Digest::sha256_of(b"another image");
    assert_eq!(
        cause(&other, legacy(&payload, &signature), &release()),
        Cause::SubjectMismatch
    );
}

#[test]
fn a_bundle_verifies_and_each_altered_field_has_its_cause() {
    for repository in ["prod/bundle", "prod/payments"] {
        let recorded = Recorded::open(repository);
        let image = recorded.tag(if repository == "prod/bundle" {
            "1.0"
        } else {
            "1.4"
        });
        let untouched = recorded.bundle(&image);

        let vouched = verify(&image, &[bundle(&untouched)], &release());
        assert_eq!(vouched.rejected, []);
        assert_eq!(vouched.signatures[0].format, Format::SigstoreBundle);
        assert_eq!(vouched.signatures[0].signer, key("release.pub").hash());
        assert_eq!(product(&vouched), repository.trim_start_matches("prod/"));
        assert_eq!(vouched.signatures[0].claims.repository, None);

        let altered = |pointer: &str, value: Value| {
            let mut altered = untouched.clone();
            *altered.pointer_mut(pointer).expect("the field is there") = value;
            cause(&image, bundle(&altered), &release())
        };
        let field = |pointer: &str| {
            untouched
                .pointer(pointer)
                .expect("the field is there")
                .clone()
        };
        let (payload, sig) = ("/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig");
        let hint = "/verificationMaterial/publicKey/hint";
        let statement = STANDARD
            .decode(field(payload).as_str().expect("a text"))
            .expect("base64");
        for at in 0..statement.len() {
            assert_eq!(
                altered(payload, flipped_base64(&field(payload), at)),
                Cause::SignatureInvalid,
                "payload byte {at}"
            );
        }
        for at in 0..70 {
            assert_eq!(
                altered(sig, flipped_base64(&field(sig), at)),
                Cause::SignatureInvalid,
                "signature byte {at}"
            );
        }
        for at in 0..32 {
            assert_eq!(
                altered(hint, flipped_base64(&field(hint), at)),
                Cause::SignerUntrusted,
                "key byte {at}"
            );
        }
        assert_eq!(
            altered("/dsseEnvelope/payloadType", json!("text/plain")),
            Cause::SignatureInvalid
        );
        assert_eq!(
            altered("/mediaType", json!("application/json")),
            Cause::Malformed
        );
        assert_eq!(altered(payload, json!("!")), Cause::Malformed);
        let other = Digest::sha256_of(b"another image");
        assert_eq!(
            cause(&other, bundle(&untouched), &release()),
            Cause::SubjectMismatch
        );
    }
}

#[test]
fn a_signed_index_vouches_for_the_index_and_not_for_a_child() {
    let recorded = Recorded::open("prod/multi");
    let image = recorded.tag("1.0");
    let (payload, signature) = recorded.legacy(&image);
    let pieces = [
        legacy(&payload, &signature),
        bundle(&recorded.bundle(&image)),
    ];
    assert_eq!(verify(&image, &pieces, &release()).signatures.len(), 2);

    let child = recorded.manifest(&image)["manifests"][0]["digest"]
        .as_str()
        .map(Digest::parse);
    let child = child.expect("a child").expect("a digest");
    let vouched = verify(&child, &pieces, &release());
    assert_eq!(vouched.signatures, []);
    assert!(
        vouched
            .rejected
            .iter()
            .all(|rejection| rejection.cause == Cause::SubjectMismatch)
    );
}

#[test]
fn a_strangers_image_is_vouched_for_by_the_stranger_alone() {
    let recorded = Recorded::open("prod/stranger");
    let image = recorded.tag("1.0");
    let (payload, signature) = recorded.legacy(&image);
    let pieces = [
        legacy(&payload, &signature),
        bundle(&recorded.bundle(&image)),
    ];

    let stranger = SignerSet::new([key("stranger.pub")]);
    assert_eq!(verify(&image, &pieces, &stranger).signatures.len(), 2);

    let vouched = verify(&image, &pieces, &release());
    assert_eq!(vouched.signatures, []);
    // Only the bundle names its key; a legacy signature by a stranger looks like an altered one.
    let causes: Vec<_> = vouched
        .rejected
        .iter()
        .map(|rejection| rejection.cause)
        .collect();
    assert_eq!(causes, [Cause::SignatureInvalid, Cause::SignerUntrusted]);
}

#[test]
fn a_signature_moved_to_another_image_is_about_the_wrong_subject() {
    let rogue = Recorded::open("prod/rogue").tag("1.0");
    let recorded = Recorded::open("prod/payments");
    let image = recorded.tag("1.4");
    let (payload, signature) = recorded.legacy(&image);
    for piece in [
        legacy(&payload, &signature),
        bundle(&recorded.bundle(&image)),
    ] {
        assert_eq!(cause(&rogue, piece, &release()), Cause::SubjectMismatch);
    }
}
