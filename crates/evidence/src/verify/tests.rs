use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use identity::private_key::PrivateKey;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn key() -> PrivateKey {
    PrivateKey::generate().unwrap()
}

fn trusting(keys: &[&PrivateKey]) -> SignerSet {
    SignerSet::new(keys.iter().map(|key| key.public_key().clone()))
}

fn image() -> Digest {
    Digest::sha256_of(b"image")
}

fn product(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("product".to_owned(), name.to_owned())])
}

fn simple(key: &PrivateKey, subject: &Digest) -> Evidence {
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": "registry.acme.test/prod/payments:1.4" },
            "image": { "docker-manifest-digest": subject.as_str() },
            "type": "cosign container image signature",
        },
        "optional": { "product": "payments" },
    });
    let payload = serde_json::to_vec(&payload).unwrap();
    let signature = key.sign(&payload).unwrap();
    Evidence::SimpleSigning { payload, signature }
}

fn envelope(key: &PrivateKey, statement: &Statement) -> Vec<u8> {
    Envelope::sign(PAYLOAD_TYPE, statement.to_json().unwrap(), key)
        .unwrap()
        .to_json()
        .unwrap()
}

fn statement(subject: &Digest) -> Statement {
    Statement::signature_of(
        subject.clone(),
        Some("payments".to_owned()),
        product("payments"),
    )
}

fn dsse(key: &PrivateKey, subject: &Digest) -> Evidence {
    Evidence::Dsse {
        envelope: envelope(key, &statement(subject)),
    }
}

fn hint(key: &PrivateKey) -> String {
    STANDARD.encode(key.public_key().hash().as_bytes())
}

fn bundle(hint: &str, content: &str, value: &serde_json::Value) -> Evidence {
    let json = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": hint } },
        content: value,
    });
    Evidence::SigstoreBundle {
        json: serde_json::to_vec(&json).unwrap(),
    }
}

fn statement_bundle(key: &PrivateKey, hint: &str, subject: &Digest) -> Evidence {
    let envelope = serde_json::from_slice(&envelope(key, &statement(subject))).unwrap();
    bundle(hint, "dsseEnvelope", &envelope)
}

fn blob_bundle(key: &PrivateKey, bytes: &[u8]) -> Evidence {
    let digest = hex::decode(Digest::sha256_of(bytes).hex()).unwrap();
    let message = json!({
        "messageDigest": { "algorithm": "SHA2_256", "digest": STANDARD.encode(digest) },
        "signature": STANDARD.encode(key.sign(bytes).unwrap()),
    });
    bundle(&hint(key), "messageSignature", &message)
}

/// The one cause that this piece of evidence is rejected with.
fn cause(piece: Evidence, signers: &SignerSet) -> Cause {
    let vouched = verify(&image(), &[piece], signers);
    assert_eq!(vouched.signatures, []);
    assert_eq!(vouched.rejected.len(), 1, "{vouched:?}");
    vouched.rejected[0].cause
}

fn signatures(pieces: &[Evidence], signers: &SignerSet) -> Vec<Signature> {
    let vouched = verify(&image(), pieces, signers);
    assert_eq!(vouched.rejected, []);
    vouched.signatures
}

#[test]
fn each_form_vouches_with_its_own_claims() {
    let signer = key();
    let set = trusting(&[&signer]);
    let pieces = [
        simple(&signer, &image()),
        statement_bundle(&signer, &hint(&signer), &image()),
        dsse(&signer, &image()),
        blob_bundle(&signer, b"image"),
    ];
    let found = signatures(&pieces, &set);
    assert!(
        found
            .iter()
            .all(|signature| signature.signer == signer.public_key().hash())
    );
    let forms: Vec<_> = found.iter().map(|signature| signature.format).collect();
    assert_eq!(
        forms,
        [
            Format::SimpleSigning,
            Format::SigstoreBundle,
            Format::Dsse,
            Format::SigstoreBundle
        ]
    );

    let payload = Claims {
        repository: Some("registry.acme.test/prod/payments".to_owned()),
        names: Vec::new(),
        annotations: product("payments"),
    };
    let named = Claims {
        repository: None,
        names: vec!["payments".to_owned()],
        annotations: product("payments"),
    };
    let claims: Vec<_> = found
        .into_iter()
        .map(|signature| signature.claims)
        .collect();
    assert_eq!(claims, [payload, named.clone(), named, Claims::default()]);
}

#[test]
fn a_signature_about_another_digest_is_a_subject_mismatch() {
    let signer = key();
    let set = trusting(&[&signer]);
    let other = Digest::sha256_of(b"other");
    for piece in [
        simple(&signer, &other),
        statement_bundle(&signer, &hint(&signer), &other),
        dsse(&signer, &other),
        blob_bundle(&signer, b"other"),
    ] {
        assert_eq!(cause(piece, &set), Cause::SubjectMismatch);
    }
}

#[test]
fn a_strangers_signature_is_untrusted_where_it_names_its_key() {
    let stranger = key();
    let set = trusting(&[&key(), &key()]);
    assert_eq!(
        cause(
            statement_bundle(&stranger, &hint(&stranger), &image()),
            &set
        ),
        Cause::SignerUntrusted
    );
    assert_eq!(
        cause(dsse(&stranger, &image()), &set),
        Cause::SignerUntrusted
    );
    assert_eq!(
        cause(blob_bundle(&stranger, b"image"), &set),
        Cause::SignerUntrusted
    );
    assert_eq!(
        cause(simple(&stranger, &image()), &set),
        Cause::SignatureInvalid
    );
}

#[test]
fn no_trusted_key_means_that_every_signer_is_untrusted() {
    let signer = key();
    assert_eq!(
        cause(simple(&signer, &image()), &trusting(&[])),
        Cause::SignerUntrusted
    );
}

#[test]
fn a_hint_at_a_trusted_key_lends_it_no_signature() {
    let (signer, stranger) = (key(), key());
    let set = trusting(&[&signer]);
    assert_eq!(
        cause(statement_bundle(&stranger, &hint(&signer), &image()), &set),
        Cause::SignatureInvalid
    );
}

#[test]
fn a_hint_that_names_no_key_leaves_all_to_be_tried() {
    let (signer, other) = (key(), key());
    let set = trusting(&[&other, &signer]);
    for hint in ["", "release-key"] {
        assert_eq!(
            signatures(&[statement_bundle(&signer, hint, &image())], &set).len(),
            1
        );
    }
    let hex = signer.public_key().hash().to_string();
    assert_eq!(
        signatures(&[statement_bundle(&signer, &hex, &image())], &set).len(),
        1
    );
}

#[test]
fn junk_beside_a_good_signature_takes_nothing_from_it() {
    let (signer, stranger) = (key(), key());
    let set = trusting(&[&signer]);
    let junk = [
        Evidence::SigstoreBundle {
            json: b"{".to_vec(),
        },
        Evidence::Dsse {
            envelope: vec![0xff; 100],
        },
        Evidence::SimpleSigning {
            payload: Vec::new(),
            signature: Vec::new(),
        },
        Evidence::Dsse {
            envelope: vec![b' '; MAX_EVIDENCE_BYTES + 1],
        },
        dsse(&stranger, &image()),
        simple(&signer, &Digest::sha256_of(b"other")),
    ];
    let mut pieces = junk.to_vec();
    pieces.push(simple(&signer, &image()));
    let vouched = verify(&image(), &pieces, &set);
    assert_eq!(vouched.signatures.len(), 1);
    let causes: Vec<_> = vouched
        .rejected
        .iter()
        .map(|rejection| rejection.cause)
        .collect();
    assert_eq!(
        causes,
        [
            Cause::Malformed,
            Cause::Malformed,
            Cause::SignatureInvalid,
            Cause::Malformed,
            Cause::SignerUntrusted,
            Cause::SubjectMismatch,
        ]
    );
}

#[test]
fn nothing_is_proved_by_nothing() {
    let vouched = verify(&image(), &[], &trusting(&[&key()]));
    assert_eq!((vouched.signatures.len(), vouched.rejected.len()), (0, 0));
}

#[test]
fn a_flood_is_cut_and_says_so() {
    let signer = key();
    let pieces = vec![simple(&signer, &image()); MAX_PIECES + 1];
    let vouched = verify(&image(), &pieces, &trusting(&[&signer]));
    assert_eq!(vouched.signatures.len(), MAX_PIECES);
    assert_eq!(vouched.rejected[0].cause, Cause::Malformed);
}

#[test]
fn an_attestation_is_no_signature_whoever_signed_it() {
    let signer = key();
    let statement = statement(&image()).to_json().unwrap();
    let scan = String::from_utf8(statement)
        .unwrap()
        .replace(SIGNATURE_PREDICATE, "https://spdx.dev/Document");
    let envelope = Envelope::sign(PAYLOAD_TYPE, scan.into_bytes(), &signer)
        .unwrap()
        .to_json()
        .unwrap();
    assert_eq!(
        signatures(&[Evidence::Dsse { envelope }], &trusting(&[&signer])),
        []
    );
}

#[test]
fn a_signed_payload_that_is_no_statement_is_malformed() {
    let signer = key();
    let set = trusting(&[&signer]);
    let wrong_type = Envelope::sign(
        "text/plain",
        statement(&image()).to_json().unwrap(),
        &signer,
    )
    .unwrap();
    let wrong_body = Envelope::sign(PAYLOAD_TYPE, b"{}".to_vec(), &signer).unwrap();
    for envelope in [wrong_type, wrong_body] {
        assert_eq!(
            cause(
                Evidence::Dsse {
                    envelope: envelope.to_json().unwrap()
                },
                &set
            ),
            Cause::Malformed
        );
    }
    let payload = b"{}".to_vec();
    let signature = signer.sign(&payload).unwrap();
    assert_eq!(
        cause(Evidence::SimpleSigning { payload, signature }, &set),
        Cause::Malformed
    );
}

#[test]
fn claims_come_only_from_the_subject_that_has_the_digest() {
    let signer = key();
    let [ours, other] =
        [image(), Digest::sha256_of(b"other")].map(|digest| digest.hex().to_owned());
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": SIGNATURE_PREDICATE,
        "subject": [
            { "name": "other", "digest": { "sha256": other }, "annotations": { "product": "other" } },
            { "name": "ours", "digest": { "sha256": ours } },
            { "name": "again", "digest": { "sha256": ours }, "annotations": { "product": "again" } },
        ],
    });
    let envelope = Envelope::sign(
        PAYLOAD_TYPE,
        serde_json::to_vec(&statement).unwrap(),
        &signer,
    )
    .unwrap();
    let found = signatures(
        &[Evidence::Dsse {
            envelope: envelope.to_json().unwrap(),
        }],
        &trusting(&[&signer]),
    );
    let claims: Vec<_> = found
        .into_iter()
        .map(|found| (found.claims.names, found.claims.annotations))
        .collect();
    assert_eq!(
        claims,
        [
            (vec!["ours".to_owned()], BTreeMap::new()),
            (vec!["again".to_owned()], product("again"))
        ]
    );
}

#[test]
fn an_envelope_of_two_signers_vouches_for_both() {
    let (one, two) = (key(), key());
    let set = trusting(&[&one, &two]);
    let first: serde_json::Value =
        serde_json::from_slice(&envelope(&one, &statement(&image()))).unwrap();
    let second: serde_json::Value =
        serde_json::from_slice(&envelope(&two, &statement(&image()))).unwrap();
    let mut both = first;
    both["signatures"]
        .as_array_mut()
        .unwrap()
        .extend(second["signatures"].as_array().unwrap().clone());
    let envelope = serde_json::to_vec(&both).unwrap();
    let found = signatures(
        &[Evidence::Dsse {
            envelope: envelope.clone(),
        }],
        &set,
    );
    assert_eq!(found.len(), 2);
    let found = signatures(&[Evidence::Dsse { envelope }], &trusting(&[&two]));
    assert_eq!(found[0].signer, two.public_key().hash());
}

#[test]
fn a_keyless_bundle_is_refused_by_name() {
    let json = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "certificate": { "rawBytes": "AAAA" } },
        "messageSignature": { "signature": "AAAA" },
    });
    let piece = Evidence::SigstoreBundle {
        json: serde_json::to_vec(&json).unwrap(),
    };
    let vouched = verify(&image(), &[piece], &trusting(&[&key()]));
    assert_eq!(vouched.rejected[0].cause, Cause::Malformed);
    assert!(
        vouched.rejected[0].detail.contains("keyless"),
        "{}",
        vouched.rejected[0].detail
    );
}

#[test]
fn a_blob_signature_without_a_digest_we_know_is_malformed() {
    let signer = key();
    let sig = STANDARD.encode(signer.sign(b"image").unwrap());
    for message in [
        json!({ "signature": sig }),
        json!({ "signature": sig, "messageDigest": { "algorithm": "SHA2_256", "digest": "AAAA" } }),
    ] {
        assert_eq!(
            cause(
                bundle(&hint(&signer), "messageSignature", &message),
                &trusting(&[&signer])
            ),
            Cause::Malformed
        );
    }
}

#[test]
fn vouched_is_read_back_from_its_json() {
    let (signer, stranger) = (key(), key());
    let pieces = [simple(&signer, &image()), dsse(&stranger, &image())];
    let vouched = verify(&image(), &pieces, &trusting(&[&signer]));
    let json = serde_json::to_string(&vouched).unwrap();
    assert_eq!(serde_json::from_str::<Vouched>(&json).unwrap(), vouched);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_at_all_vouch_or_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let set = trusting(&[&key()]);
        let pieces = [
            Evidence::SigstoreBundle { json: bytes.clone() },
            Evidence::Dsse { envelope: bytes.clone() },
            Evidence::SimpleSigning { payload: bytes.clone(), signature: bytes },
        ];
        let vouched = verify(&image(), &pieces, &set);
        prop_assert!(vouched.signatures.is_empty());
        prop_assert_eq!(vouched.rejected.len(), 3);
    }
}
