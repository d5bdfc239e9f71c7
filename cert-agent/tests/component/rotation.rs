//! Keys over time: made, renewed, kept through an outage, withdrawn.
#![expect(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

use std::time::Duration;

use cert_agent::{rotation::Holding, workload::Refused};
use evidence::binding::Handout;
use policy::Reason;
use tokio::{sync::watch, time::timeout};

use super::agent::{Agent, POLICY, SECOND, TTL, held, workload};

/// Longer than anything here may take; time is paused, so it costs nothing.
const LONG: Duration = Duration::from_hours(48);

fn key(holding: &watch::Receiver<Holding>) -> Vec<u8> {
    match &*holding.borrow() {
        Holding::Svids(svids) => svids[0].key_der().to_vec(),
        other => panic!("{other:?}"),
    }
}

async fn next(holding: &mut watch::Receiver<Holding>) -> Result<Vec<String>, Reason> {
    timeout(LONG, holding.changed())
        .await
        .expect("something changes")
        .expect("the worker lives");
    held(holding)
}

#[tokio::test(start_paused = true)]
async fn svid_is_renewed_at_half_life_with_a_new_key() {
    let agent = Agent::new();
    agent.sign("payments");
    let mut holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    holding.mark_unchanged();
    for _ in 0..5 {
        let (first, first_key, made) = (held(&holding).unwrap(), key(&holding), agent.clock.now());
        let second = next(&mut holding).await.unwrap();
        let after = agent.clock.now().duration_since(made).unwrap();
        assert!(
            after + Duration::from_secs(20) >= TTL * 45 / 100
                && after <= TTL * 55 / 100 + Duration::from_secs(20),
            "{after:?}"
        );
        assert_ne!(first, second);
        assert_ne!(first_key, key(&holding));
    }
}

#[tokio::test]
async fn two_workloads_of_one_grant_have_different_keys() {
    let agent = Agent::new();
    agent.sign("payments");
    let one = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    let other = agent
        .rotation
        .hold(&workload(2), Handout::Api)
        .await
        .unwrap();
    assert_ne!(key(&one), key(&other));
}

#[tokio::test]
async fn two_streams_of_one_workload_share_one_key() {
    let agent = Agent::new();
    agent.sign("payments");
    let one = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    let other = agent
        .rotation
        .hold(&workload(1), Handout::Sds)
        .await
        .unwrap();
    assert_eq!(key(&one), key(&other));
}

#[tokio::test(start_paused = true)]
async fn evidence_taken_away_withdraws_the_identity_and_given_back_restores_it() {
    let agent = Agent::new();
    agent.sign("payments");
    let mut holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    holding.mark_unchanged();
    agent.unsign();
    assert_eq!(next(&mut holding).await, Err(Reason::ArtifactUnsigned));
    let [kept] = agent.refusals.list().try_into().unwrap();
    assert_eq!(kept.refused.grant.as_deref(), Some("payments"));
    assert!(
        agent
            .rotation
            .hold(&workload(1), Handout::Api)
            .await
            .is_err()
    );
    agent.sign("payments");
    assert!(
        agent
            .rotation
            .hold(&workload(1), Handout::Api)
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn grant_taken_away_withdraws_the_identity() {
    let agent = Agent::new();
    agent.sign("payments");
    let mut holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    holding.mark_unchanged();
    agent.enforce(&POLICY.replace("unix:uid:1000", "unix:uid:1001"));
    assert_eq!(next(&mut holding).await, Err(Reason::GrantNoneMatched));
}

#[tokio::test(start_paused = true)]
async fn claim_asked_for_later_withdraws_the_identity() {
    let agent = Agent::new();
    agent.sign("payments");
    let mut holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    holding.mark_unchanged();
    agent.enforce(&POLICY.replace("product: payments", "product: ledger"));
    assert_eq!(next(&mut holding).await, Err(Reason::ArtifactClaimMismatch));
}

#[tokio::test(start_paused = true)]
async fn one_of_two_grants_taken_away_leaves_the_other() {
    let agent = Agent::new();
    agent.sign("payments");
    agent.enforce(&format!("{POLICY}{SECOND}"));
    let mut holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    holding.mark_unchanged();
    let both = held(&holding).unwrap();
    assert_eq!(both.len(), 2);
    agent.enforce(POLICY);
    assert_eq!(next(&mut holding).await.unwrap(), both[..1]);
}

#[tokio::test(start_paused = true)]
async fn grant_that_changed_gets_a_new_svid() {
    let agent = Agent::new();
    agent.sign("payments");
    let mut holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    holding.mark_unchanged();
    let before = held(&holding).unwrap();
    agent.enforce(&POLICY.replace("payments.acme.test", "pay.acme.test"));
    assert_ne!(next(&mut holding).await.unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn issuer_that_is_down_leaves_the_last_good_svid_until_its_end_and_no_longer() {
    let agent = Agent::new();
    agent.sign("payments");
    let mut holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    holding.mark_unchanged();
    let made = agent.clock.now();
    agent.issuer.set_down(true);
    assert_eq!(next(&mut holding).await, Err(Reason::IssuerUnavailable));
    let after = agent.clock.now().duration_since(made).unwrap();
    assert!(
        after + Duration::from_secs(1) >= TTL && after < TTL + Duration::from_secs(5),
        "{after:?}"
    );
    assert!(
        agent.metrics.issue_failures.value() > 1,
        "it goes on trying"
    );
    agent.issuer.set_down(false);
    assert!(
        agent
            .rotation
            .hold(&workload(1), Handout::Api)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn identity_that_the_issuer_refuses_does_not_hold_up_the_others() {
    let agent = Agent::new();
    agent.sign("payments");
    agent.enforce(&format!("{POLICY}{SECOND}"));
    agent
        .issuer
        .set_down_for("spiffe://acme.test/ns/pay/sa/payments");
    let holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    let Holding::Svids(svids) = holding.borrow().clone() else {
        panic!("SVIDs are held")
    };
    let [svid] = &*svids else {
        panic!("one of two: {svids:?}")
    };
    assert_eq!(
        svid.leaf().spiffe_id.as_str(),
        "spiffe://acme.test/ns/pay/sa/second"
    );
}

#[tokio::test]
async fn workloads_own_grant_comes_first() {
    let agent = Agent::new();
    agent.sign("payments");
    let policy = POLICY.trim_start();
    let (signature_policy, grant) = policy.split_once("---\n").unwrap();
    agent.enforce(&format!("{signature_policy}{SECOND}---\n{grant}"));
    let holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    let Holding::Svids(svids) = holding.borrow().clone() else {
        panic!("SVIDs are held")
    };
    assert_eq!(&*svids[0].grant().terms.name, "payments");
}

#[tokio::test]
async fn scope_that_changed_while_the_issuer_signed_gets_nothing() {
    let agent = Agent::new();
    agent.sign("payments");
    agent.attestor.refuse_after(1);
    let refused = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap_err();
    assert_eq!(refused.reason, Reason::WorkloadModified);
    assert_eq!(
        agent.issuer.asked.load(std::sync::atomic::Ordering::SeqCst),
        1,
        "it was signed, and thrown away"
    );
}

#[tokio::test]
async fn scope_that_is_not_clean_is_not_even_asked_for() {
    let agent = Agent::new();
    agent.sign("payments");
    agent.attestor.refuse(Some(Refused::new(
        Reason::WorkloadModified,
        "a shell beside it",
    )));
    assert!(
        agent
            .rotation
            .hold(&workload(1), Handout::Api)
            .await
            .is_err()
    );
    assert_eq!(
        agent.issuer.asked.load(std::sync::atomic::Ordering::SeqCst),
        0
    );
}

#[tokio::test]
async fn rotate_makes_a_new_svid_for_what_its_subject_names() {
    let agent = Agent::new();
    agent.sign("payments");
    let holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    for subject in [
        "payments-1",
        "payments",
        "spiffe://acme.test/ns/pay/sa/payments",
        "",
    ] {
        let before = held(&holding).unwrap();
        assert_eq!(agent.rotation.rotate(subject).await.len(), 1, "{subject}");
        assert_ne!(held(&holding).unwrap(), before, "{subject}");
    }
    assert!(agent.rotation.rotate("somebody-else").await.is_empty());
}

#[tokio::test]
async fn workload_that_ended_holds_nothing() {
    let agent = Agent::new();
    agent.sign("payments");
    let mut holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    holding.mark_unchanged();
    agent.attestor.end();
    holding.changed().await.unwrap();
    assert_eq!(held(&holding), Err(Reason::WorkloadGone));
    // Its key is dropped with the worker, and the list forgets it.
    drop(holding.changed().await);
    assert!(agent.rotation.list().is_empty());
}
