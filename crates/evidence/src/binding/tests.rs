use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::*;

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://acme.test/{path}")).unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::generate().unwrap()
}

fn batch(items: Vec<FeedItem>) -> Batch {
    Batch {
        node: id("countersign/agent/node-1"),
        sequence: 7,
        items,
    }
}

fn binding() -> Binding {
    Binding {
        spiffe_id: id("ns/pay/sa/payments"),
        spki: SpkiHash::of_spki_der(b"key"),
        node: id("countersign/agent/node-1"),
        workload: "payments-1".to_owned(),
        grant: "payments".to_owned(),
        artifacts: vec![BoundArtifact {
            role: Role::App,
            digests: vec![Digest::sha256_of(b"program")],
        }],
        handout: Handout::Api,
        not_before: UNIX_EPOCH + Duration::from_secs(1_800_000_001),
        not_after: UNIX_EPOCH + Duration::from_secs(1_800_003_601),
    }
}

fn refusal() -> Refusal {
    Refusal {
        wanted: Some(id("ns/web/sa/frontend")),
        node: id("countersign/agent/node-1"),
        workload: "rogue-1".to_owned(),
        grant: None,
        digests: vec![],
        reason: "artifact-unsigned".to_owned(),
        detail: "no evidence".to_owned(),
        at: UNIX_EPOCH + Duration::from_millis(1_800_000_000_250),
    }
}

fn every_item() -> Vec<FeedItem> {
    vec![
        FeedItem::Binding(binding()),
        FeedItem::Withdrawn {
            spki: SpkiHash::of_spki_der(b"old"),
        },
        FeedItem::Refusal(refusal()),
        FeedItem::Evidence {
            digest: Digest::sha256_of(b"program"),
            evidence: vec![Evidence::Dsse {
                envelope: b"{}".to_vec(),
            }],
        },
    ]
}

#[test]
fn every_item_comes_out_of_a_sealed_batch_as_it_went_in() {
    let agent = key();
    let batch = batch(every_item());
    let sealed = batch.seal(&agent).unwrap();
    assert_eq!(Batch::open(&sealed, agent.public_key()).unwrap(), batch);
}

#[test]
fn a_binding_is_written_with_rfc_3339_times_and_tagged() {
    let json = serde_json::to_value(FeedItem::Binding(binding())).unwrap();
    assert_eq!(json["kind"], "binding");
    assert_eq!(json["notAfter"], "2027-01-15T09:00:01Z");
    assert_eq!(json["artifacts"][0]["role"], "app");
    let refused = serde_json::to_value(FeedItem::Refusal(refusal())).unwrap();
    assert_eq!(
        (&refused["kind"], &refused["at"]),
        (&json!("refusal"), &json!("2027-01-15T08:00:00.25Z"))
    );
}

#[test]
fn an_unknown_field_is_refused_in_every_item() {
    for item in every_item() {
        let mut json = serde_json::to_value(&item).unwrap();
        assert_eq!(
            serde_json::from_value::<FeedItem>(json.clone()).unwrap(),
            item
        );
        json["more"] = json!(1);
        assert!(
            serde_json::from_value::<FeedItem>(json).is_err(),
            "{item:?}"
        );
    }
}

#[test]
fn another_agents_batch_is_not_opened() {
    let sealed = batch(every_item()).seal(&key()).unwrap();
    assert!(matches!(
        Batch::open(&sealed, key().public_key()),
        Err(InvalidBatch::BadSignature)
    ));
}

#[test]
fn a_signed_payload_of_another_type_is_not_opened() {
    let agent = key();
    let payload = serde_json::to_vec(&batch(Vec::new())).unwrap();
    let other = Envelope::sign("application/vnd.in-toto+json", payload, &agent)
        .unwrap()
        .to_json()
        .unwrap();
    assert!(matches!(
        Batch::open(&other, agent.public_key()),
        Err(InvalidBatch::WrongType { .. })
    ));
}

#[test]
fn a_batch_that_does_not_read_is_not_opened() {
    let agent = key();
    let other = Envelope::sign(BATCH_TYPE, b"{}".to_vec(), &agent)
        .unwrap()
        .to_json()
        .unwrap();
    assert!(matches!(
        Batch::open(&other, agent.public_key()),
        Err(InvalidBatch::Json { .. })
    ));
    assert!(matches!(
        Batch::open(b"{}", agent.public_key()),
        Err(InvalidBatch::Envelope { .. })
    ));
}

#[test]
fn a_time_that_no_calendar_has_is_not_sealed() {
    let far = Binding {
        not_after: UNIX_EPOCH + Duration::from_secs(1 << 60),
        ..binding()
    };
    let sealed = batch(vec![FeedItem::Binding(far)]).seal(&key());
    assert!(matches!(sealed, Err(SealError::Json { .. })));
}

#[test]
fn a_batch_beyond_the_bounds_is_neither_sealed_nor_opened() {
    let agent = key();
    let long = batch(vec![
        FeedItem::Withdrawn {
            spki: SpkiHash::of_spki_der(b"old")
        };
        MAX_ITEMS + 1
    ]);
    assert!(matches!(
        long.seal(&agent),
        Err(SealError::TooManyItems { got: 1025 })
    ));
    let payload = serde_json::to_vec(&long).unwrap();
    let sealed = Envelope::sign(BATCH_TYPE, payload, &agent)
        .unwrap()
        .to_json()
        .unwrap();
    assert!(matches!(
        Batch::open(&sealed, agent.public_key()),
        Err(InvalidBatch::TooManyItems { got: 1025 })
    ));

    let evidence = vec![Evidence::Dsse {
        envelope: vec![0; 2 * 1024 * 1024],
    }];
    let large = batch(vec![FeedItem::Evidence {
        digest: Digest::sha256_of(b""),
        evidence,
    }]);
    assert!(matches!(
        large.seal(&agent),
        Err(SealError::TooLarge { .. })
    ));
    let bytes = vec![b' '; MAX_BATCH_BYTES + 1];
    assert!(matches!(
        Batch::open(&bytes, agent.public_key()),
        Err(InvalidBatch::TooLarge { .. })
    ));
}

/// Sealed as a receiver would get it from an agent that keeps no bounds.
fn unbounded(items: Vec<FeedItem>, agent: &PrivateKey) -> Vec<u8> {
    let payload = serde_json::to_vec(&batch(items)).unwrap();
    let envelope = Envelope::sign(BATCH_TYPE, payload, agent).unwrap();
    envelope.to_json().unwrap()
}

#[test]
fn a_name_longer_than_any_is_neither_sealed_nor_opened() {
    let agent = key();
    let long = "w".repeat(MAX_NAME_BYTES + 1);
    let items = [
        FeedItem::Binding(Binding {
            workload: long.clone(),
            ..binding()
        }),
        FeedItem::Binding(Binding {
            grant: long.clone(),
            ..binding()
        }),
        FeedItem::Refusal(Refusal {
            workload: long.clone(),
            ..refusal()
        }),
        FeedItem::Refusal(Refusal {
            grant: Some(long.clone()),
            ..refusal()
        }),
        FeedItem::Refusal(Refusal {
            reason: long,
            ..refusal()
        }),
    ];
    for item in items {
        assert!(matches!(
            batch(vec![item.clone()]).seal(&agent),
            Err(SealError::TextTooLong { got: 257, .. })
        ));
        assert!(matches!(
            Batch::open(&unbounded(vec![item], &agent), agent.public_key()),
            Err(InvalidBatch::TextTooLong { got: 257, .. })
        ));
    }
}

#[test]
fn a_refusal_that_says_too_much_is_cut() {
    let agent = key();
    let long = FeedItem::Refusal(Refusal {
        detail: format!(
            "{}\u{e9}{}",
            "d".repeat(MAX_DETAIL_BYTES - 1),
            "e".repeat(9)
        ),
        digests: vec![Digest::sha256_of(b"program"); MAX_REFUSED_DIGESTS + 1],
        ..refusal()
    });
    let opened = Batch::open(&unbounded(vec![long], &agent), agent.public_key()).unwrap();
    let cut = FeedItem::Refusal(Refusal {
        detail: "d".repeat(MAX_DETAIL_BYTES - 1),
        digests: vec![Digest::sha256_of(b"program"); MAX_REFUSED_DIGESTS],
        ..refusal()
    });
    assert_eq!(opened.items, [cut]);
}
