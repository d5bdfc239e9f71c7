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
        Self::with_agents(2)
    }

    fn with_agents(count: u32) -> Self {
        let root = Authority::root("root");
        let bundles = std::iter::once(root.bundle("acme.test")).collect();
        let policy = Arc::new(policy(&Signer::new(), RULE));
        let mut state = State::new(policy, bundles, (1..=count).map(agent));
        for node in 1..=count {
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
    assert_eq!(world.rejected("first"), 2, "the same evidence counts once");
}

/// A binding that this node gives to an identity of its own.
fn own(node: u32, name: &str, digest: &Digest) -> FeedItem {
    let FeedItem::Binding(binding) = binding(node, name, digest) else {
        panic!("made otherwise")
    };
    FeedItem::Binding(Binding {
        spiffe_id: SpiffeId::parse(&format!("spiffe://acme.test/ns/node{node}/sa/own")).unwrap(),
        ..binding
    })
}

#[test]
fn key_that_two_agents_speak_of_is_bound_by_both() {
    let mut world = World::new();
    let digest = Digest::sha256_of(b"program");
    world.says(2, vec![own(2, "key", &digest)]);
    world.says(1, vec![binding(1, "key", &digest)]);
    let of = |world: &World, identity: &str| {
        let identity = SpiffeId::parse(identity).unwrap();
        let snapshot = world.state.snapshot();
        let key = key("key");
        let bounds = snapshot.bindings_of(&key, &identity);
        bounds
            .map(|bound| bound.binding.node.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&world, FRONTEND), [agent(1)]);
    assert_eq!(
        of(&world, "spiffe://acme.test/ns/node2/sa/own"),
        [agent(2)],
        "one displaces nothing of the other"
    );
    world.says(2, vec![FeedItem::Withdrawn { spki: key("key") }]);
    assert_eq!(of(&world, FRONTEND), [agent(1)], "and withdraws nothing");
    world.says(1, vec![FeedItem::Withdrawn { spki: key("key") }]);
    assert!(world.state.snapshot().binding(&key("key")).is_none());
}

#[test]
fn flood_of_one_agent_shuts_out_no_evidence_of_another() {
    let mut world = World::new();
    let flood = (0..65_536_u32).map(|number| FeedItem::Evidence {
        digest: Digest::sha256_of(&number.to_be_bytes()),
        evidence: garbage("a"),
    });
    world.says(2, flood.collect());
    let digest = Digest::sha256_of(b"program");
    let told = FeedItem::Evidence {
        digest: digest.clone(),
        evidence: garbage("a"),
    };
    world.says(1, vec![told.clone(), binding(1, "late", &digest)]);
    assert_eq!(world.rejected("late"), 1);
    world.says(2, vec![told, binding(2, "one more", &digest)]);
    assert!(
        world.state.snapshot().binding(&key("one more")).is_none(),
        "an agent that names too many digests"
    );
}

#[test]
fn evidence_told_in_several_items_adds_up() {
    let mut world = World::new();
    let digest = Digest::sha256_of(b"program");
    let told = |from: u32, to: u32| FeedItem::Evidence {
        digest: digest.clone(),
        evidence: (from..to).flat_map(|n| garbage(&n.to_string())).collect(),
    };
    world.says(1, vec![told(0, 10), binding(1, "key", &digest)]);
    world.says(1, vec![told(5, 16)]);
    assert_eq!(world.rejected("key"), 16, "each piece once");
    world.says(1, vec![told(100, 108), told(0, 8)]);
    assert_eq!(world.rejected("key"), 16, "the newest sixteen");
    world.says(1, vec![told(0, 0)]);
    assert_eq!(world.rejected("key"), 0, "all of it taken back");
}

#[test]
fn evidence_leaves_with_the_last_binding_that_needs_it() {
    let mut world = World::new();
    let digest = Digest::sha256_of(b"program");
    let told = FeedItem::Evidence {
        digest: digest.clone(),
        evidence: garbage("a"),
    };
    let withdrawn = |name| FeedItem::Withdrawn { spki: key(name) };
    world.says(2, vec![binding(2, "other", &digest)]);
    world.says(
        1,
        vec![
            told,
            binding(1, "old", &digest),
            binding(1, "new", &digest),
            withdrawn("old"),
        ],
    );
    assert_eq!((world.rejected("new"), world.rejected("other")), (1, 1));
    world.says(1, vec![binding(1, "new", &digest)]);
    assert_eq!(world.rejected("new"), 1, "said again, and still needed");
    world.says(1, vec![withdrawn("new")]);
    assert_eq!(world.rejected("other"), 0);
}

#[test]
fn junk_of_many_agents_shuts_out_no_evidence() {
    let mut world = World::with_agents(10);
    let digest = Digest::sha256_of(b"program");
    for node in 1..=10 {
        let evidence = (0..16).flat_map(|n| garbage(&format!("{node} {n}")));
        world.says(
            node,
            vec![FeedItem::Evidence {
                digest: digest.clone(),
                evidence: evidence.collect(),
            }],
        );
    }
    world.says(1, vec![binding(1, "key", &digest)]);
    assert_eq!(world.rejected("key"), 160);
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
fn refusals_are_bounded_and_forgotten_after_an_hour() {
    let mut world = World::new();
    world.says(1, (0..20_000).map(refusal).collect());
    let snapshot = world.state.snapshot();
    assert_eq!(snapshot.refusals.len(), 256);
    assert!(snapshot.refusals.values().all(|kept| kept.len() == 8));
    assert!(!world.state.sweep(noon() + HOUR));
    assert!(world.state.sweep(noon() + HOUR + Duration::from_secs(1)));
    assert!(world.state.snapshot().refusals.is_empty());
}

#[test]
fn refusals_of_one_agent_displace_none_of_another() {
    let mut world = World::new();
    world.says(1, vec![refusal(7)]);
    let others = (0..20_000).map(|number| {
        let FeedItem::Refusal(refusal) = refusal(number) else {
            panic!("made otherwise")
        };
        FeedItem::Refusal(Refusal {
            node: agent(2),
            ..refusal
        })
    });
    world.says(2, others.collect());
    let wanted = SpiffeId::parse("spiffe://acme.test/ns/web/sa/n0").unwrap();
    let snapshot = world.state.snapshot();
    let nodes: Vec<_> = snapshot
        .refusals(&wanted)
        .iter()
        .map(|kept| &kept.node)
        .collect();
    assert_eq!(nodes, [&agent(1)]);
}

#[test]
fn intermediates_of_many_nodes_all_count() {
    let mut world = World::with_agents(9);
    let intermediate = |node: u32, number: u32| Intermediate {
        der: format!("{node} {number}").into_bytes().into(),
        not_after: noon() + HOUR * (number + 1),
    };
    for node in 1..=9 {
        let own = (0..9).map(|number| intermediate(node, number)).collect();
        world
            .state
            .hello(&agent(node), Session(100), String::new(), own);
    }
    let kept = |world: &World| -> Vec<Intermediate> {
        let trust = Arc::clone(&world.state.snapshot().trust);
        trust.intermediates.values().flatten().cloned().collect()
    };
    assert_eq!(kept(&world).len(), 9 * 8, "eight of each node");
    assert!(
        !kept(&world).contains(&intermediate(1, 0)),
        "the shortest went"
    );
}

#[test]
fn intermediates_of_a_new_stream_replace_those_of_the_old() {
    let mut world = World::new();
    let intermediate = |name: &str| Intermediate {
        der: name.as_bytes().to_vec().into(),
        not_after: noon() + HOUR,
    };
    let (old, new) = (intermediate("old"), intermediate("new"));
    let trust = |world: &World| Arc::clone(&world.state.snapshot().trust);
    let hello = |world: &mut World, number: u64, brought: &Intermediate| {
        let brought = vec![brought.clone()];
        world
            .state
            .hello(&agent(1), Session(number), String::new(), brought);
    };
    hello(&mut world, 3, &old);
    let generation = trust(&world).generation;
    hello(&mut world, 4, &old);
    world.state.end_of_state(&agent(1), Session(4));
    assert_eq!(trust(&world).generation, generation, "nothing changed");
    hello(&mut world, 5, &new);
    let all = |world: &World| {
        trust(world)
            .intermediates
            .values()
            .map(Vec::len)
            .sum::<usize>()
    };
    assert_eq!(all(&world), 2, "until the end marker");
    world.state.end_of_state(&agent(1), Session(5));
    let left = trust(&world);
    assert_eq!(
        left.intermediates.values().flatten().collect::<Vec<_>>(),
        [&new]
    );
    assert_eq!(left.generation, generation + 2);
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
