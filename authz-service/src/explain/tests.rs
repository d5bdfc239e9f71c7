use std::time::{Duration, SystemTime};

use evidence::Digest;
use identity::public_key::SpkiHash;
use identity::spiffe_id::SpiffeId;

use super::*;
use crate::caller::Caller;
use crate::decide::Step;
use crate::denial::Denial;
use crate::question::Question;
use crate::record::Conclusion;
use crate::testing::{FRONTEND, noon};

fn record(reason: Option<Reason>) -> DecisionRecord {
    let caller = Caller {
        spiffe_id: SpiffeId::parse(FRONTEND).unwrap(),
        key: SpkiHash::of_spki_der(b"key"),
        serial: "01".to_owned(),
        not_after: noon(),
    };
    let target = Denial::new(Reason::TargetUnknown, "not of interest here");
    let outcome = reason.map_or(Outcome::Held, Outcome::Broke);
    DecisionRecord {
        id: "0-authz-1".to_owned(),
        at: noon(),
        decision: if reason.is_some() {
            Conclusion::Deny
        } else {
            Conclusion::Permit
        },
        reason,
        cause: None,
        detail: reason.map(|_| "what was seen".to_owned()),
        rule: None,
        pinned: None,
        generation: 7,
        policy: "abc".to_owned(),
        proxy: "uid:902".to_owned(),
        question: Some(Question::new(Ok(caller), Err(target))),
        request: None,
        steps: vec![
            Step {
                link: Link::Identity,
                outcome: Outcome::Held,
            },
            Step {
                link: Link::Binding,
                outcome,
            },
            Step {
                link: Link::Rule,
                outcome: Outcome::NotReached,
            },
        ],
        refusals: Vec::new(),
        trace_id: None,
        micros: 40,
    }
}

fn refusal(at: SystemTime, workload: &str) -> Refusal {
    Refusal {
        wanted: Some(SpiffeId::parse(FRONTEND).unwrap()),
        node: SpiffeId::parse("spiffe://acme.test/countersign/agent/node-1").unwrap(),
        workload: workload.to_owned(),
        grant: Some("frontend".to_owned()),
        digests: vec![Digest::sha256_of(b"rogue")],
        reason: "artifact-unsigned".to_owned(),
        detail: "no signature was found".to_owned(),
        at,
    }
}

#[test]
fn every_reason_has_a_next_step_but_the_one_that_nobody_sees() {
    for reason in Reason::ALL {
        let explanation = Explanation::of(record(Some(*reason)), &[]);
        assert_eq!(
            explanation.next.is_empty(),
            *reason == Reason::Cancelled,
            "{reason}"
        );
        assert_eq!(explanation.broken, Some(Link::Binding));
    }
}

#[test]
fn permit_has_no_broken_link_and_no_next_step() {
    let explanation = Explanation::of(record(None), &[refusal(noon(), "a")]);
    assert_eq!(
        (
            explanation.broken,
            explanation.next.len(),
            explanation.refusals.len()
        ),
        (None, 0, 0)
    );
}

#[test]
fn refusals_are_told_once_and_the_newest_first() {
    let (old, new) = (
        refusal(noon(), "old"),
        refusal(noon() + Duration::from_secs(1), "new"),
    );
    let mut record = record(Some(Reason::BindingMissing));
    record.refusals = vec![old.clone()];
    let explanation = Explanation::of(record, &[old.clone(), new.clone()]);
    assert_eq!(explanation.refusals, [new, old]);
}

#[test]
fn refusals_of_an_identity_explain_no_missing_rule() {
    let explanation = Explanation::of(record(Some(Reason::NoRuleMatched)), &[refusal(noon(), "a")]);
    assert!(explanation.refusals.is_empty());
}

#[test]
fn text_names_the_broken_link_the_refusal_and_the_next_step() {
    let explanation = Explanation::of(
        record(Some(Reason::BindingMissing)),
        &[refusal(noon(), "frontend-2")],
    );
    insta::assert_snapshot!(explanation.text());
}

#[test]
fn explanation_survives_json() {
    let explanation = Explanation::of(
        record(Some(Reason::BindingMissing)),
        &[refusal(noon(), "a")],
    );
    let json = serde_json::to_string(&explanation).unwrap();
    let back: Explanation = serde_json::from_str(&json).unwrap();
    assert_eq!(back.text(), explanation.text());
}
