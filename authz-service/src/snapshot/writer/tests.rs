use std::collections::BTreeSet;

use daemon::metrics::Registry;
use evidence::binding::{Binding, BoundArtifact, Handout, Refusal, Role};
use evidence::{Digest, Evidence};
use identity::public_key::SpkiHash;

use super::*;
use crate::snapshot::Synced;
use crate::testing::{Authority, FRONTEND, HOUR, Signer, noon, policy};

const RULE: &str = "\
- name: web
  from: { identities: [spiffe://acme.test/ns/web/sa/frontend], artifact: { signedBy: release } }
  to: { service: { hosts: [payments.acme.test], methods: [POST], paths: [/v1/charges] } }";

fn agent(node: u32) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://acme.test/countersign/agent/node-{node}")).unwrap()
}

fn key(name: &str) -> SpkiHash {
    SpkiHash::of_spki_der(name.as_bytes())
}

fn binding(node: u32, name: &str, digest: &Digest) -> FeedItem {
    FeedItem::Binding(Binding {
        spiffe_id: SpiffeId::parse(FRONTEND).unwrap(),
        spki: key(name),
        node: agent(node),
        workload: "frontend-1".to_owned(),
        grant: "frontend".to_owned(),
        artifacts: vec![BoundArtifact {
            role: Role::App,
            digests: vec![digest.clone()],
        }],
        handout: Handout::Api,
        not_before: noon() - HOUR,
        not_after: noon() + HOUR,
    })
}

fn refusal(number: u64) -> FeedItem {
    FeedItem::Refusal(Refusal {
        wanted: Some(
            SpiffeId::parse(&format!("spiffe://acme.test/ns/web/sa/n{}", number / 10)).unwrap(),
        ),
        node: agent(1),
        workload: format!("frontend-{number}"),
        grant: None,
        digests: Vec::new(),
        reason: "artifact-unsigned".to_owned(),
        detail: String::new(),
        at: noon(),
    })
}

/// Evidence that no key made.
fn garbage(text: &str) -> Vec<Evidence> {
    vec![Evidence::Dsse {
        envelope: text.as_bytes().to_vec(),
    }]
}

struct World {
    state: State,
    root: Authority,
}

impl World {
    fn new() -> Self {
        let root = Authority::root("root");
        let bundles = std::iter::once(root.bundle("acme.test")).collect();
        let policy = Arc::new(policy(&Signer::new(), RULE));
        let mut state = State::new(policy, bundles, [agent(1), agent(2)]);
        for node in [1, 2] {
            state.hello(
                &agent(node),
                Session(u64::from(node)),
                String::new(),
                Vec::new(),
            );
        }
        Self { state, root }
    }

    fn says(&mut self, node: u32, items: Vec<FeedItem>) {
        assert!(
            self.state
                .batch(&agent(node), Session(u64::from(node)), items, Vec::new())
        );
    }

    fn rejected(&self, name: &str) -> usize {
        let snapshot = self.state.snapshot();
        snapshot
            .binding(&key(name))
            .unwrap()
            .vouched
            .iter()
            .map(|vouched| vouched.rejected.len())
            .sum()
    }
}

#[test]
fn evidence_counts_before_and_after_the_binding_that_needs_it() {
    let mut world = World::new();
    let digest = Digest::sha256_of(b"program");
    let evidence = |text: &str| FeedItem::Evidence {
        digest: digest.clone(),
        evidence: garbage(text),
    };
    world.says(1, vec![evidence("a"), binding(1, "first", &digest)]);
    assert_eq!(world.rejected("first"), 1);
    world.says(1, vec![binding(1, "second", &digest)]);
    assert_eq!(world.rejected("second"), 1);
    world.says(2, vec![evidence("b")]);
    assert_eq!(
        (world.rejected("first"), world.rejected("second")),
        (2, 2),
        "what one agent sends displaces nothing of another"
    );
    world.says(2, vec![evidence("a")]);
    assert_eq!(world.rejected("first"), 1, "the same evidence counts once");
}

#[test]
fn key_belongs_to_the_agent_that_first_spoke_of_it() {
    let mut world = World::new();
    let digest = Digest::sha256_of(b"program");
    world.says(1, vec![binding(1, "key", &digest)]);
    world.says(
        2,
        vec![
            binding(2, "key", &digest),
            FeedItem::Withdrawn { spki: key("key") },
        ],
    );
    assert_eq!(
        world
            .state
            .snapshot()
            .binding(&key("key"))
            .unwrap()
            .binding
            .node,
        agent(1)
    );
}

#[test]
fn agent_has_only_so_many_bindings() {
    let mut world = World::new();
    let digest = Digest::sha256_of(b"program");
    let many = (0..=65_536).map(|number| binding(1, &format!("key {number}"), &digest));
    world.says(1, many.collect());
    let snapshot = world.state.snapshot();
    assert_eq!(snapshot.bindings.len(), 65_536);
    let wanted = SpiffeId::parse(FRONTEND).unwrap();
    assert_eq!(snapshot.refusals(&wanted)[0].reason, "overloaded");
    world.says(
        1,
        vec![
            FeedItem::Withdrawn { spki: key("key 0") },
            binding(1, "one more", &digest),
        ],
    );
    assert!(world.state.snapshot().binding(&key("one more")).is_some());
}

#[test]
fn synced_needs_every_agent_once() {
    let mut world = World::new();
    world.state.end_of_state(&agent(1), Session(1));
    assert_eq!(
        world.state.publish().synced,
        Synced::Missing(BTreeSet::from([agent(2)]))
    );
    world.state.end_of_state(&agent(2), Session(1));
    assert_eq!(
        world.state.publish().synced,
        Synced::Missing(BTreeSet::from([agent(2)])),
        "not the stream that is heard"
    );
    world.state.end_of_state(&agent(2), Session(2));
    assert_eq!(world.state.publish().synced, Synced::All);
    world
        .state
        .hello(&agent(1), Session(3), String::new(), Vec::new());
    assert_eq!(world.state.publish().synced, Synced::All);
}

#[test]
fn full_state_without_a_digest_forgets_its_evidence() {
    let mut world = World::new();
    let digest = Digest::sha256_of(b"program");
    world.says(
        1,
        vec![
            FeedItem::Evidence {
                digest: digest.clone(),
                evidence: garbage("a"),
            },
            binding(1, "key", &digest),
        ],
    );
    world.state.end_of_state(&agent(1), Session(1));
    world
        .state
        .hello(&agent(1), Session(3), String::new(), Vec::new());
    assert!(world.state.batch(
        &agent(1),
        Session(3),
        vec![binding(1, "key", &digest)],
        Vec::new()
    ));
    assert_eq!(world.rejected("key"), 1, "until the end marker");
    world.state.end_of_state(&agent(1), Session(3));
    assert_eq!(world.rejected("key"), 0);
}

#[test]
fn new_signers_have_everything_verified_again() {
    let mut world = World::new();
    let digest = Digest::sha256_of(b"program");
    world.says(
        1,
        vec![
            FeedItem::Evidence {
                digest: digest.clone(),
                evidence: garbage("a"),
            },
            binding(1, "key", &digest),
        ],
    );
    let before = Arc::clone(&world.state.snapshot().binding(&key("key")).unwrap().vouched[0]);
    world.state.policy(Arc::new(policy(&Signer::new(), RULE)));
    let after = Arc::clone(&world.state.snapshot().binding(&key("key")).unwrap().vouched[0]);
    assert!(!Arc::ptr_eq(&before, &after));
}

#[test]
fn expired_binding_is_kept_for_a_while_and_then_dropped() {
    let mut world = World::new();
    world.says(1, vec![binding(1, "key", &Digest::sha256_of(b"program"))]);
    assert!(!world.state.sweep(noon() + HOUR + Duration::from_mins(9)));
    assert!(world.state.sweep(noon() + HOUR + Duration::from_mins(11)));
    assert!(world.state.snapshot().bindings.is_empty());
}

#[test]
fn refusals_are_bounded_and_forgotten_after_a_day() {
    let mut world = World::new();
    world.says(1, (0..20_000).map(refusal).collect());
    let snapshot = world.state.snapshot();
    assert_eq!(snapshot.refusals.len(), 1024);
    assert!(snapshot.refusals.values().all(|kept| kept.len() == 8));
    assert!(world.state.sweep(noon() + 25 * HOUR));
    assert!(world.state.snapshot().refusals.is_empty());
}

#[test]
fn intermediates_end_with_their_validity_and_with_their_root() {
    let mut world = World::new();
    let intermediate = |not_after| Intermediate {
        der: world.root.intermediate("i", not_after).der,
        not_after,
    };
    let (short, long) = (intermediate(noon() + HOUR), intermediate(noon() + 2 * HOUR));
    let kept = |world: &World| {
        world
            .state
            .snapshot()
            .trust
            .intermediates
            .values()
            .map(Vec::len)
            .sum::<usize>()
    };
    assert!(
        world
            .state
            .batch(&agent(1), Session(1), Vec::new(), vec![short.clone(), long])
    );
    assert!(
        world
            .state
            .batch(&agent(1), Session(1), Vec::new(), vec![short])
    );
    assert_eq!(kept(&world), 2, "each once");
    let generation = world.state.snapshot().trust.generation;
    assert!(world.state.sweep(noon() + HOUR + Duration::from_secs(1)));
    assert_eq!(kept(&world), 1);
    assert_eq!(world.state.snapshot().trust.generation, generation + 1);
    let other = std::iter::once(Authority::root("other").bundle("acme.test")).collect();
    world.state.bundles(other, noon());
    assert_eq!(kept(&world), 0);
}

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> std::time::SystemTime {
        noon()
    }
}

#[tokio::test(start_paused = true)]
async fn burst_of_changes_is_published_once() {
    let world = World::new();
    let (metrics, readiness) = (Metrics::new(&Registry::new()), Readiness::new());
    let (writer, commands, snapshots) =
        Writer::new(world.state, Arc::new(Noon), metrics, &readiness);
    let stop = CancellationToken::new();
    let mut owner = tokio::task::JoinSet::new();
    owner.spawn(writer.run(stop.clone()));
    let before = snapshots.load().generation;
    let mut waits = Vec::new();
    for number in 0..50 {
        let (swapped, wait) = oneshot::channel();
        let items = vec![binding(
            1,
            &format!("key {number}"),
            &Digest::sha256_of(b"program"),
        )];
        commands
            .send(Command::Batch {
                agent: agent(1),
                session: Session(1),
                items,
                intermediates: Vec::new(),
                swapped,
            })
            .await
            .unwrap();
        waits.push(wait);
    }
    for wait in waits {
        assert_eq!(wait.await.unwrap().generation, before + 1);
    }
    assert_eq!(snapshots.load().bindings.len(), 50);
    assert_eq!(readiness.missing().len(), 2);
    stop.cancel();
    owner.join_all().await;
    assert!(
        commands
            .send(Command::EndOfState {
                agent: agent(1),
                session: Session(1)
            })
            .await
            .is_err()
    );
}
