use std::time::Duration;

use evidence::digest::Digest;
use identity::{PrivateKey, SpiffeId};

use super::*;
use crate::grant::{DEFAULT_TTL, Selector};
use crate::rule::{Effect, RegistryAction};
use crate::source::MAX_FILE_BYTES;

mod broken;

/// The documents of design.md §6.1, as far as they are supported.
const GOOD: &str = r##"
apiVersion: countersign.dev/v1alpha1
kind: SignaturePolicy
metadata: { name: release }
spec:
  signers:
    - { name: release-key, key: { file: keys/release.pub } }
    - { name: ci, key: { file: keys/ci.pub } }
  signatures: { from: [release-key, ci], threshold: 2 }
---
apiVersion: countersign.dev/v1alpha1
kind: SignaturePolicy
metadata: { name: infrastructure }
spec:
  signers: [{ name: platform, key: { file: keys/release.pub } }]
---
apiVersion: countersign.dev/v1alpha1
kind: IdentityGrant
metadata: { name: payments }
spec:
  spiffeId: spiffe://acme.test/ns/pay/sa/payments
  selectors: ["unix:uid:1000"]
  artifact:
    signedBy: release
    claims: { repository: r/pay, name: pay, annotations: { product: payments } }
  svid: { ttl: 30m, dnsNames: [payments.acme.test], hint: payments }
  contact: "#team-pay"
---
apiVersion: countersign.dev/v1alpha1
kind: IdentityGrant
metadata: { name: tools }
spec:
  spiffeId: spiffe://acme.test/tools
  selectors: ["unix:uid:1001"]
  artifact: { signedBy: release, anySigned: true }
---
apiVersion: countersign.dev/v1alpha1
kind: AccessPolicy
metadata: { name: pulls }
spec:
  rules:
    - name: nodes-pull-prod
      from: { identities: ["spiffe://acme.test/node/*/containerd"], artifact: { signedBy: infrastructure } }
      to:
        registry:
          hosts: [registry.acme.test]
          repositories: ["prod/**"]
          actions: [pull, evidence]
          artifact: { signedBy: release }
    - name: web-charges
      from: { identities: [spiffe://acme.test/ns/web/sa/frontend], artifact: { signedBy: release } }
      to: { service: { hosts: [payments.acme.test], methods: [POST], paths: [/v1/charges] } }
    - name: leaked-build
      effect: deny
      from: { digests: ["sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"] }
    - name: stolen-key
      effect: deny
      from: { keys: ["2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"] }
    - name: freeze
      effect: deny
      from: { identities: ["spiffe://acme.test/**"] }
      to: { registry: { repositories: ["legacy/**"], actions: [pull] } }
"##;

fn pem() -> Vec<u8> {
    PrivateKey::generate()
        .unwrap()
        .public_key()
        .to_pem()
        .into_bytes()
}

fn source(documents: &str) -> PolicySource {
    PolicySource::from_iter([
        ("policy.yaml".to_owned(), documents.as_bytes().to_vec()),
        ("keys/release.pub".to_owned(), pem()),
        ("keys/ci.pub".to_owned(), pem()),
    ])
}

#[test]
fn signature_policies_hold_their_signers_and_threshold() {
    let policy = compile(&source(GOOD)).unwrap();
    let release = policy.signature_policy("release").unwrap();
    assert_eq!(
        (release.name(), release.threshold(), release.signers().len()),
        ("release", 2, 2)
    );
    let infrastructure = policy.signature_policy("infrastructure").unwrap();
    assert_eq!(
        (infrastructure.threshold(), infrastructure.signers().len()),
        (1, 1)
    );
    assert_eq!(
        policy.signers().len(),
        2,
        "one key in two policies is verified against once"
    );
    assert!(policy.signature_policy("relase").is_none());
}

#[test]
fn grants_hold_what_was_written() {
    let policy = compile(&source(GOOD)).unwrap();
    let grant = policy.grant("payments").unwrap();
    assert_eq!(
        grant.spiffe_id,
        SpiffeId::parse("spiffe://acme.test/ns/pay/sa/payments").unwrap()
    );
    assert_eq!(grant.selectors, [Selector::parse("unix:uid:1000").unwrap()]);
    assert_eq!(grant.ttl, Duration::from_mins(30));
    assert_eq!(grant.dns_names, ["payments.acme.test"]);
    assert_eq!(grant.hint.as_deref(), Some("payments"));
    assert_eq!(grant.contact.as_deref(), Some("#team-pay"));
    let claims = grant.artifact.claims();
    assert_eq!(
        (claims.repository.as_deref(), claims.name.as_deref()),
        (Some("r/pay"), Some("pay"))
    );
    assert_eq!(
        claims.annotations.get("product").map(String::as_str),
        Some("payments")
    );
    assert!(!grant.artifact.accepts_any_signed());
    let tools = policy.grant("tools").unwrap();
    assert_eq!(
        (tools.ttl, tools.artifact.accepts_any_signed()),
        (DEFAULT_TTL, true)
    );
    assert_eq!(policy.grants().len(), 2);
}

#[test]
fn grant_selects_only_with_all_its_selectors() {
    let policy = compile(&source(GOOD)).unwrap();
    let grant = policy.grant("payments").unwrap();
    let selector = |text: &str| Selector::parse(text).unwrap();
    assert!(grant.selects(&[selector("unix:gid:1"), selector("unix:uid:1000")]));
    assert!(!grant.selects(&[selector("unix:uid:10001")]));
    assert!(!grant.selects(&[]));
}

#[test]
fn permits_and_denies_hold_what_was_written() {
    let policy = compile(&source(GOOD)).unwrap();
    let rule = |name: &str| {
        policy
            .rules()
            .iter()
            .find(|rule| *rule.name == *name)
            .unwrap()
    };
    let pull = rule("nodes-pull-prod");
    assert_eq!(pull.effect, Effect::Permit);
    assert_eq!(
        pull.from
            .artifact
            .as_ref()
            .unwrap()
            .signature_policy()
            .name(),
        "infrastructure"
    );
    let Some(Targets::Registry {
        artifact: Some(artifact),
        ..
    }) = &pull.to
    else {
        panic!("{pull:?}")
    };
    assert_eq!(artifact.signature_policy().name(), "release");
    let freeze = rule("freeze");
    assert_eq!(freeze.effect, Effect::Deny);
    assert!(freeze.from.artifact.is_none());
    assert_eq!(rule("leaked-build").to, None);
    assert_eq!(policy.rules().len(), 5);
}

#[test]
fn targets_match_what_they_name() {
    let policy = compile(&source(GOOD)).unwrap();
    let target = |name: &str| {
        policy
            .rules()
            .iter()
            .find(|rule| *rule.name == *name)
            .unwrap()
            .to
            .clone()
            .unwrap()
    };
    let pull = target("nodes-pull-prod");
    assert!(pull.matches_registry("registry.acme.test", "prod/payments", RegistryAction::Pull));
    assert!(!pull.matches_registry("registry.acme.test", "prod/payments", RegistryAction::Push));
    assert!(!pull.matches_registry("registry.acme.test", "test/payments", RegistryAction::Pull));
    assert!(!pull.matches_registry("other.acme.test", "prod/payments", RegistryAction::Pull));
    assert!(!pull.matches_service("registry.acme.test", "GET", "/v2/prod/payments"));
    let charges = target("web-charges");
    assert!(charges.matches_service("payments.acme.test", "POST", "/v1/charges"));
    assert!(!charges.matches_service("payments.acme.test", "DELETE", "/v1/charges"));
    assert!(!charges.matches_service("payments.acme.test", "POST", "/v1/charges/7"));
    assert!(!charges.matches_registry("payments.acme.test", "v1/charges", RegistryAction::Pull));
    let freeze = target("freeze");
    assert!(
        freeze.matches_registry("any.host", "legacy/app", RegistryAction::Pull),
        "no hosts: any host"
    );
    assert!(!freeze.matches_registry("any.host", "legacy/app", RegistryAction::Push));
}

#[test]
fn callers_match_by_every_condition_given() {
    let policy = compile(&source(GOOD)).unwrap();
    let from = |name: &str| {
        policy
            .rules()
            .iter()
            .find(|rule| *rule.name == *name)
            .unwrap()
            .from
            .clone()
    };
    let node = SpiffeId::parse("spiffe://acme.test/node/a/containerd").unwrap();
    let other = SpiffeId::parse("spiffe://acme.test/node/a").unwrap();
    assert!(from("nodes-pull-prod").admits_identity(&node));
    assert!(!from("nodes-pull-prod").admits_identity(&other));
    let leaked = Digest::sha256_of(b"leaked");
    let by_digest = Callers {
        digests: vec![leaked.clone()],
        ..Callers::default()
    };
    assert!(
        by_digest.admits_identity(&other),
        "no identities: not a condition"
    );
    assert!(by_digest.admits_digests([&Digest::sha256_of(b"x"), &leaked].into_iter()));
    assert!(!by_digest.admits_digests([&Digest::sha256_of(b"x")].into_iter()));
    assert!(
        !by_digest.admits_digests([].into_iter()),
        "an unknown digest satisfies no condition"
    );
    let (first, second) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    let by_key = Callers {
        keys: vec![first.public_key().hash()],
        ..Callers::default()
    };
    assert!(by_key.admits_key(&first.public_key().hash()));
    assert!(!by_key.admits_key(&second.public_key().hash()));
}

#[test]
fn policy_hash_is_that_of_the_source() {
    let source = source(GOOD);
    assert_eq!(compile(&source).unwrap().hash(), source.hash());
}

#[test]
fn documents_may_be_spread_over_files_and_blank_ones_are_passed_over() {
    let mut spread = source("# only a comment\n---\n---\n");
    for (index, document) in GOOD.split("\n---\n").enumerate() {
        spread
            .files
            .insert(format!("dir/{index}.yml"), document.as_bytes().to_vec());
    }
    let policy = compile(&spread).unwrap();
    assert_eq!((policy.grants().len(), policy.rules().len()), (2, 5));
}
