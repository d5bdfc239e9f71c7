use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use evidence::binding::{Binding, BoundArtifact, Handout, Role};
use evidence::vouched::{Cause, Rejection, Vouched};
use identity::public_key::SpkiHash;

use super::*;
use crate::caller::Caller;
use crate::ext_authz::request::RawCheck;
use crate::question::TargetArtifact;
use crate::snapshot::{Bound, Synced, Trust};
use crate::target::{Access, target};
use crate::testing::{FRONTEND, HOUR, Signer, noon, policy, unsigned};

const RULES: &str = r#"
- name: web-charges
  from: { identities: ["spiffe://acme.test/ns/web/**"], artifact: { signedBy: release } }
  to: { service: { hosts: [payments.acme.test], methods: [POST], paths: [/v1/charges] } }
- name: web-pulls
  from: { identities: ["spiffe://acme.test/ns/web/**"], artifact: { signedBy: release } }
  to: { registry: { hosts: [registry.acme.test], repositories: ["prod/**"], actions: [pull, evidence, list, push], artifact: { signedBy: release } } }
- name: other-charges
  from: { identities: [spiffe://acme.test/other], artifact: { signedBy: release } }
  to: { service: { hosts: [payments.acme.test], methods: [DELETE], paths: [/v1/charges] } }
"#;

/// A snapshot in which frontend runs one artifact, and what is known of that.
struct World {
    signer: Signer,
    snapshot: Snapshot,
}

impl World {
    fn new() -> Self {
        Self::with_rules("")
    }

    fn with_rules(more: &str) -> Self {
        let signer = Signer::new();
        let snapshot = Snapshot {
            generation: 7,
            policy: Arc::new(policy(
                &signer,
                &format!("{}\n{}", RULES.trim(), more.trim()),
            )),
            bindings: imbl::HashMap::new(),
            refusals: imbl::HashMap::new(),
            trust: Arc::new(Trust {
                generation: 1,
                bundles: [].into_iter().collect(),
                intermediates: [].into(),
            }),
            synced: Synced::All,
        };
        let mut world = Self { signer, snapshot };
        let vouched = world.signer.vouches(&program());
        world.bind(binding(), vec![vouched]);
        world
    }

    fn bind(&mut self, binding: Binding, vouched: Vec<Vouched>) {
        let key = binding.spki;
        let vouched = vouched.into_iter().map(Arc::new).collect();
        self.snapshot
            .bindings
            .insert(key, Arc::new([Bound { binding, vouched }]));
    }

    fn decide(&self, question: &Question) -> Judgement {
        decide(question, &self.snapshot, noon())
    }

    fn denial(&self, question: &Question) -> Denial {
        match self.decide(question).decision {
            Decision::Deny(denial) => denial,
            other @ (Decision::Permit(_) | Decision::Needs(_)) => panic!("{other:?}"),
        }
    }

    fn permit(&self, question: &Question) -> Permit {
        match self.decide(question).decision {
            Decision::Permit(permit) => permit,
            other @ (Decision::Deny(_) | Decision::Needs(_)) => panic!("{other:?}"),
        }
    }

    fn needs(&self, question: &Question) -> NeededArtifact {
        match self.decide(question).decision {
            Decision::Needs(needed) => needed,
            other @ (Decision::Deny(_) | Decision::Permit(_)) => panic!("{other:?}"),
        }
    }

    fn signed(&self, digest: &Digest) -> TargetArtifact {
        TargetArtifact {
            digest: digest.clone(),
            vouched: Arc::new(self.signer.vouches(digest)),
        }
    }
}

fn key() -> SpkiHash {
    SpkiHash::of_spki_der(b"frontend's key")
}

fn program() -> Digest {
    Digest::sha256_of(b"frontend's program")
}

fn image() -> Digest {
    Digest::sha256_of(b"an image")
}

fn caller() -> Caller {
    Caller {
        spiffe_id: SpiffeId::parse(FRONTEND).unwrap(),
        key: key(),
        serial: "01".to_owned(),
        not_after: noon() + HOUR,
    }
}

fn binding() -> Binding {
    Binding {
        spiffe_id: SpiffeId::parse(FRONTEND).unwrap(),
        spki: key(),
        node: SpiffeId::parse("spiffe://acme.test/countersign/agent/node-1").unwrap(),
        workload: "frontend-1".to_owned(),
        grant: "frontend".to_owned(),
        artifacts: vec![BoundArtifact {
            role: Role::App,
            digests: vec![program()],
        }],
        handout: Handout::Api,
        not_before: noon() - HOUR,
        not_after: noon() + HOUR,
    }
}

fn request(method: &str, host: &str, path: &str) -> Question {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let raw = RawCheck {
        method: bytes(method),
        host: bytes(host),
        path: bytes(path),
        ..RawCheck::default()
    };
    Question::new(Ok(caller()), target(&raw))
}

fn charge() -> Question {
    request("POST", "payments.acme.test", "/v1/charges")
}

fn pull(reference: &str) -> Question {
    request(
        "GET",
        "registry.acme.test",
        &format!("/v2/prod/payments/manifests/{reference}"),
    )
}

#[test]
fn signed_caller_is_permitted_by_the_rule() {
    let permit = World::new().permit(&charge());
    assert_eq!(
        (
            permit.rule(),
            permit.caller().as_str(),
            permit.pinned_path()
        ),
        ("web-charges", FRONTEND, None)
    );
}

#[test]
fn unknown_caller_is_denied_with_its_own_reason() {
    let missing = Denial::new(Reason::IdentityMissing, "");
    let question = Question::new(
        Err(missing.clone()),
        Ok(charge().target.known().unwrap().clone()),
    );
    assert_eq!(World::new().denial(&question), missing);
}

#[test]
fn absent_identity_satisfies_no_rule() {
    let world = World::with_rules(
        "- name: any\n  effect: deny\n  from: { identities: [\"spiffe://acme.test/ns/web/sa/*\"] }",
    );
    let question = Question::new(
        Err(Denial::new(Reason::IdentityMissing, "")),
        Err(Denial::new(Reason::TargetUnknown, "")),
    );
    assert_eq!(world.denial(&question).reason, Reason::IdentityMissing);
}

#[test]
fn unknown_target_is_denied_with_its_own_reason() {
    let question = request("GET", "registry.acme.test", "/v2/prod/payments/nothing/1");
    assert_eq!(World::new().denial(&question).reason, Reason::TargetUnknown);
}

#[test]
fn key_without_binding_is_binding_missing() {
    let mut world = World::new();
    world.snapshot.bindings.clear();
    assert_eq!(world.denial(&charge()).reason, Reason::BindingMissing);
}

#[test]
fn key_without_binding_is_not_synced_until_every_agent_was_heard() {
    let mut world = World::new();
    let agent = SpiffeId::parse("spiffe://acme.test/countersign/agent/node-2").unwrap();
    world.snapshot.synced = Synced::Missing(BTreeSet::from([agent]));
    assert_eq!(world.permit(&charge()).rule(), "web-charges");
    world.snapshot.bindings.clear();
    let denial = world.denial(&charge());
    assert_eq!(denial.reason, Reason::NotSynced);
    assert!(denial.detail.contains("node-2"), "{}", denial.detail);
}

#[test]
fn key_of_two_agents_is_judged_by_the_binding_to_its_own_identity() {
    let mut world = World::new();
    let key = binding().spki;
    let own = world.snapshot.bindings[&key][0].clone();
    let other = Bound {
        binding: Binding {
            spiffe_id: SpiffeId::parse("spiffe://acme.test/other").unwrap(),
            ..binding()
        },
        vouched: vec![],
    };
    let ended = Bound {
        binding: Binding {
            not_after: noon(),
            ..binding()
        },
        vouched: vec![],
    };
    for bounds in [
        vec![other.clone(), own.clone()],
        vec![own.clone(), other.clone()],
        vec![ended, own],
    ] {
        world.snapshot.bindings.insert(key, bounds.into());
        assert_eq!(world.permit(&charge()).rule(), "web-charges");
    }
    let agent = SpiffeId::parse("spiffe://acme.test/countersign/agent/node-2").unwrap();
    world.snapshot.bindings.insert(key, [other].into());
    world.snapshot.synced = Synced::Missing(BTreeSet::from([agent]));
    assert_eq!(world.denial(&charge()).reason, Reason::NotSynced);
}

#[test]
fn key_bound_to_another_identity_is_binding_identity_mismatch() {
    let mut world = World::new();
    world.bind(
        Binding {
            spiffe_id: SpiffeId::parse("spiffe://acme.test/other").unwrap(),
            ..binding()
        },
        vec![],
    );
    assert_eq!(
        world.denial(&charge()).reason,
        Reason::BindingIdentityMismatch
    );
}

#[test]
fn binding_counts_from_its_first_to_before_its_last_instant() {
    let world = World::new();
    let at = |now| decide(&charge(), &world.snapshot, now).decision;
    let expired = |decision| {
        matches!(
            decision,
            Decision::Deny(Denial {
                reason: Reason::BindingExpired,
                ..
            })
        )
    };
    let second = Duration::from_secs(1);
    assert!(expired(at(noon() - HOUR - second)));
    assert!(matches!(at(noon() - HOUR), Decision::Permit(_)));
    assert!(matches!(at(noon() + HOUR - second), Decision::Permit(_)));
    assert!(
        expired(at(noon() + HOUR)),
        "an expired binding is denied at, not after, its not_after"
    );
}

#[test]
fn caller_whose_artifact_is_not_trusted_is_requirement_unmet_with_the_cause() {
    let stranger = Signer::new().vouches(&program());
    let tampered = Vouched {
        rejected: vec![Rejection {
            cause: Cause::SignatureInvalid,
            detail: String::new(),
        }],
        ..unsigned(&program())
    };
    for (vouched, cause) in [
        (vec![], Reason::ArtifactUnsigned),
        (vec![unsigned(&program())], Reason::ArtifactUnsigned),
        (vec![stranger], Reason::ArtifactSignerUntrusted),
        (vec![tampered], Reason::ArtifactSignatureInvalid),
    ] {
        let mut world = World::new();
        world.bind(binding(), vouched);
        let denial = world.denial(&charge());
        assert_eq!(
            (denial.reason, denial.cause),
            (Reason::RequirementUnmet, Some(cause))
        );
        assert_eq!(denial.rule.as_deref(), Some("web-charges"));
    }
}

#[test]
fn every_app_artifact_must_be_signed_and_one_digest_of_each_is_enough() {
    let index = Digest::sha256_of(b"index");
    let app = |digests: &[&Digest]| BoundArtifact {
        role: Role::App,
        digests: digests.iter().copied().cloned().collect(),
    };
    let proxy = BoundArtifact {
        role: Role::Proxy,
        digests: vec![image()],
    };
    for (artifacts, passes) in [
        (vec![app(&[&index, &program()])], true),
        (vec![app(&[&program()]), proxy.clone()], true),
        (vec![app(&[&program()]), app(&[&index])], false),
        (vec![proxy], false),
        (vec![app(&[])], false),
        (vec![], false),
    ] {
        let mut world = World::new();
        let vouched = world.signer.vouches(&program());
        let detail = format!("{artifacts:?}");
        world.bind(
            Binding {
                artifacts,
                ..binding()
            },
            vec![vouched],
        );
        let decision = world.decide(&charge()).decision;
        assert_eq!(
            matches!(decision, Decision::Permit(_)),
            passes,
            "{detail}: {decision:?}"
        );
    }
}

#[test]
fn every_app_artifact_must_have_a_digest_that_the_permit_lists() {
    let other = Digest::sha256_of(b"another signed program");
    let app = |digests: &[&Digest]| BoundArtifact {
        role: Role::App,
        digests: digests.iter().copied().cloned().collect(),
    };
    let (listed, beside) = (program(), &other);
    for (artifacts, passes) in [
        (vec![app(&[&listed])], true),
        (vec![app(&[&listed, beside])], true),
        (vec![app(&[&listed]), app(&[beside])], false),
        (vec![app(&[beside]), app(&[&listed])], false),
        (vec![app(&[beside])], false),
        (vec![app(&[&listed]), app(&[])], false),
        (vec![app(&[])], false),
        (vec![], false),
    ] {
        let mut world = World::with_rules(&format!(
            "- name: pinned\n  from: {{ identities: [\"spiffe://acme.test/ns/web/**\"], digests: [\"{listed}\"], artifact: {{ signedBy: release }} }}\n  to: {{ service: {{ hosts: [ledger.acme.test], methods: [GET], paths: [/x] }} }}"
        ));
        let vouched = [&listed, &other].map(|digest| world.signer.vouches(digest));
        let detail = format!("{artifacts:?}");
        world.bind(
            Binding {
                artifacts,
                ..binding()
            },
            vouched.into(),
        );
        let decision = world
            .decide(&request("GET", "ledger.acme.test", "/x"))
            .decision;
        assert_eq!(
            matches!(decision, Decision::Permit(_)),
            passes,
            "{detail}: {decision:?}"
        );
    }
}

#[test]
fn deny_by_digest_matches_any_artifact_of_the_caller() {
    let leaked = Digest::sha256_of(b"a leaked program");
    let artifact = |role, digest: &Digest| BoundArtifact {
        role,
        digests: vec![digest.clone()],
    };
    for role in [Role::App, Role::Proxy] {
        let mut world = World::with_rules(&format!(
            "- name: leaked\n  effect: deny\n  from: {{ digests: [\"{leaked}\"] }}"
        ));
        let vouched = [&program(), &leaked].map(|digest| world.signer.vouches(digest));
        world.bind(
            Binding {
                artifacts: vec![artifact(Role::App, &program()), artifact(role, &leaked)],
                ..binding()
            },
            vouched.into(),
        );
        assert_eq!(
            world.denial(&charge()).reason,
            Reason::RuleDenied,
            "{role:?}"
        );
    }
}

#[test]
fn call_that_no_rule_is_about_is_no_rule_matched() {
    let world = World::new();
    for (method, host, path) in [
        ("DELETE", "payments.acme.test", "/v1/charges/7"),
        ("DELETE", "payments.acme.test", "/v1/charges"),
        ("POST", "payments.acme.test", "/v1/charges/"),
        ("POST", "other.acme.test", "/v1/charges"),
        ("GET", "registry.acme.test", "/v2/dev/x/tags/list"),
        ("DELETE", "registry.acme.test", "/v2/prod/x/manifests/1"),
        ("GET", "other.acme.test", "/v2/"),
    ] {
        assert_eq!(
            world.denial(&request(method, host, path)).reason,
            Reason::NoRuleMatched,
            "{method} {host}{path}"
        );
    }
}

#[test]
fn deny_wins_over_every_permit() {
    let by = |from: &str| World::with_rules(&format!("- name: no\n  effect: deny\n  from: {from}"));
    for from in [
        r#"{ identities: ["spiffe://acme.test/ns/web/sa/*"] }"#.to_owned(),
        format!("{{ digests: [\"{}\"] }}", program()),
        format!("{{ keys: [\"{}\"] }}", key()),
        r#"{ identities: ["spiffe://acme.test/ns/web/sa/*"], artifact: { signedBy: release } }"#
            .to_owned(),
    ] {
        let denial = by(&from).denial(&charge());
        assert_eq!(
            (denial.reason, denial.rule.as_deref()),
            (Reason::RuleDenied, Some("no")),
            "{from}"
        );
    }
    let elsewhere = by(r#"{ identities: ["spiffe://acme.test/other/*"] }"#);
    assert_eq!(elsewhere.permit(&charge()).rule(), "web-charges");
}

#[test]
fn deny_that_cannot_be_evaluated_matches() {
    let rule = "- name: no\n  effect: deny\n  from: { identities: [\"spiffe://acme.test/ns/web/sa/*\"], artifact: { signedBy: release } }";
    let malformed = Vouched {
        rejected: vec![Rejection {
            cause: Cause::Malformed,
            detail: String::new(),
        }],
        ..unsigned(&program())
    };
    for (artifacts, vouched) in [
        (binding().artifacts, vec![]),
        (binding().artifacts, vec![malformed]),
        (vec![], vec![]),
    ] {
        let mut world = World::with_rules(rule);
        world.bind(
            Binding {
                artifacts,
                ..binding()
            },
            vouched,
        );
        assert_eq!(world.denial(&charge()).reason, Reason::RuleDenied);
    }
    let mut world = World::with_rules(rule);
    let stranger = Signer::new().vouches(&program());
    world.bind(binding(), vec![stranger]);
    assert_eq!(
        world.denial(&charge()).reason,
        Reason::RequirementUnmet,
        "a signer that the deny is not about"
    );
}

#[test]
fn deny_is_missed_only_by_an_artifact_that_evidence_tells_apart() {
    let rule = "- name: no\n  effect: deny\n  from: { identities: [\"spiffe://acme.test/ns/web/sa/*\"], artifact: { signedBy: release } }";
    for (cause, reason) in [
        (Cause::Malformed, Reason::RuleDenied),
        (Cause::SignatureInvalid, Reason::RuleDenied),
        (Cause::SubjectMismatch, Reason::RuleDenied),
        (Cause::SignerUntrusted, Reason::RequirementUnmet),
    ] {
        let rejected = Vouched {
            rejected: vec![Rejection {
                cause,
                detail: String::new(),
            }],
            ..unsigned(&program())
        };
        let mut world = World::with_rules(rule);
        world.bind(binding(), vec![rejected]);
        assert_eq!(world.denial(&charge()).reason, reason, "{cause:?}");
    }
    let mut world = World::with_rules(rule);
    world.bind(binding(), vec![unsigned(&program())]);
    assert_eq!(world.denial(&charge()).reason, Reason::RequirementUnmet);
}

#[test]
fn deny_matches_by_a_second_digest_that_cannot_be_evaluated() {
    let index = Digest::sha256_of(b"index");
    let malformed = Vouched {
        rejected: vec![Rejection {
            cause: Cause::Malformed,
            detail: String::new(),
        }],
        ..unsigned(&program())
    };
    let mut world = World::with_rules(
        "- name: no\n  effect: deny\n  from: { identities: [\"spiffe://acme.test/ns/web/sa/*\"], artifact: { signedBy: release } }",
    );
    world.bind(
        Binding {
            artifacts: vec![BoundArtifact {
                role: Role::App,
                digests: vec![index.clone(), program()],
            }],
            ..binding()
        },
        vec![Signer::new().vouches(&index), malformed],
    );
    assert_eq!(world.denial(&charge()).reason, Reason::RuleDenied);
}

#[test]
fn deny_of_a_host_holds_whatever_the_mirror_parameter_says() {
    let world = World::with_rules(
        "- name: frozen\n  effect: deny\n  from: { identities: [\"spiffe://acme.test/ns/web/sa/*\"] }\n  to: { registry: { hosts: [mirror.acme.test], actions: [pull] } }",
    );
    let question = request(
        "GET",
        "mirror.acme.test",
        "/v2/prod/payments/manifests/1?ns=registry.acme.test",
    );
    assert_eq!(world.denial(&question).reason, Reason::RuleDenied);
    let question = request(
        "GET",
        "registry.acme.test",
        "/v2/prod/payments/manifests/1?ns=mirror.acme.test",
    );
    assert_eq!(world.denial(&question).reason, Reason::RuleDenied);
}

#[test]
fn mirror_parameter_lends_no_permit_to_the_host_that_serves() {
    let world = World::new();
    let image = image();
    for (method, path) in [
        ("GET", "/v2/".to_owned()),
        ("GET", "/v2/prod/hidden/tags/list".to_owned()),
        ("GET", format!("/v2/prod/hidden/referrers/{image}")),
        ("GET", "/v2/prod/hidden/manifests/1.4".to_owned()),
        ("GET", format!("/v2/prod/hidden/manifests/{image}")),
        ("HEAD", format!("/v2/prod/hidden/blobs/{image}")),
    ] {
        for (asked, ns) in [
            ("secret-registry.acme.test", "registry.acme.test"),
            ("payments.acme.test", "registry.acme.test"),
            ("registry.acme.test", "secret-registry.acme.test"),
        ] {
            let question = request(method, asked, &format!("{path}?ns={ns}"));
            assert_eq!(
                world.denial(&question).reason,
                Reason::NoRuleMatched,
                "{method} {asked}{path}?ns={ns}"
            );
        }
    }
}

#[test]
fn mirror_is_permitted_by_a_rule_that_names_both_hosts() {
    let world = World::with_rules(
        "- name: mirrored\n  from: { identities: [\"spiffe://acme.test/ns/web/**\"], artifact: { signedBy: release } }\n  to: { registry: { hosts: [mirror.acme.test, registry.acme.test], repositories: [\"prod/**\"], actions: [pull, list], artifact: { signedBy: release } } }",
    );
    let ask = |path: &str| request("GET", "mirror.acme.test", path);
    for path in [
        "/v2/?ns=registry.acme.test",
        "/v2/prod/payments/tags/list?ns=registry.acme.test",
    ] {
        assert_eq!(world.permit(&ask(path)).rule(), "mirrored", "{path}");
    }
    let needed = world.needs(&ask("/v2/prod/payments/manifests/1?ns=registry.acme.test"));
    assert_eq!(needed.host.as_str(), "registry.acme.test");
}

#[test]
fn base_needs_the_from_of_some_registry_permit_for_the_host() {
    let base = request("GET", "registry.acme.test", "/v2/");
    assert_eq!(World::new().permit(&base).rule(), "web-pulls");
    let mut unsigned = World::new();
    unsigned.bind(binding(), vec![]);
    assert_eq!(unsigned.denial(&base).reason, Reason::RequirementUnmet);
    let some = World::with_rules(
        "- name: legacy\n  effect: deny\n  from: { identities: [\"spiffe://acme.test/ns/web/sa/*\"] }\n  to: { registry: { repositories: [\"legacy/**\"], actions: [pull] } }",
    );
    assert_eq!(some.permit(&base).rule(), "web-pulls");
    let all = World::with_rules(
        "- name: all\n  effect: deny\n  from: { identities: [\"spiffe://acme.test/ns/web/sa/*\"] }\n  to: { registry: { hosts: [registry.acme.test] } }",
    );
    assert_eq!(all.denial(&base).reason, Reason::RuleDenied);
}

#[test]
fn registry_request_without_parts_is_no_rule_matched() {
    let world = World::new();
    let mut question = request("GET", "registry.acme.test", "/v2/");
    for access in [Access::Write, Access::Delete] {
        let Fact::Known(Target::Registry(base)) = &mut question.target else {
            panic!("{:?}", question.target)
        };
        base.access = access;
        let judgement = world.decide(&question);
        assert!(
            matches!(&judgement.decision, Decision::Deny(denial) if denial.reason == Reason::NoRuleMatched),
            "{judgement:?}"
        );
        let rule = judgement.trail.steps().map(|step| step.outcome)[3];
        assert_eq!(rule, Outcome::Broke(Reason::NoRuleMatched));
    }
}

#[test]
fn tag_is_resolved_vouched_and_pinned() {
    let world = World::new();
    let question = pull("1.4?ns=registry.acme.test");
    let needed = world.needs(&question);
    assert_eq!(
        (needed.host.as_str(), needed.repository.as_str()),
        ("registry.acme.test", "prod/payments")
    );
    assert_eq!(
        needed.wanted,
        Wanted::Manifest(Reference::parse("1.4").unwrap())
    );
    let permit = world.permit(&question.with_artifact(Ok(world.signed(&image()))));
    assert_eq!(permit.rule(), "web-pulls");
    let pinned = format!(
        "/v2/prod/payments/manifests/{}?ns=registry.acme.test",
        image()
    );
    assert_eq!(permit.pinned_path(), Some(pinned.as_str()));
}

#[test]
fn digest_is_vouched_and_not_rewritten() {
    let world = World::new();
    let question = pull(image().as_str());
    assert_eq!(
        world.needs(&question).wanted,
        Wanted::Manifest(Reference::parse(image().as_str()).unwrap())
    );
    let permit = world.permit(&question.with_artifact(Ok(world.signed(&image()))));
    assert_eq!(permit.pinned_path(), None);
}

#[test]
fn blob_needs_the_manifest_that_holds_it() {
    let world = World::new();
    let question = request(
        "HEAD",
        "registry.acme.test",
        &format!("/v2/prod/payments/blobs/{}", image()),
    );
    assert_eq!(world.needs(&question).wanted, Wanted::Blob(image()));
    let manifest = Digest::sha256_of(b"the manifest");
    let inside = TargetArtifact {
        digest: image(),
        vouched: Arc::new(world.signer.vouches(&manifest)),
    };
    assert_eq!(
        world
            .permit(&question.clone().with_artifact(Ok(inside)))
            .rule(),
        "web-pulls"
    );
    let outside = Denial::new(Reason::BlobOutsideClosure, "");
    assert_eq!(
        world.denial(&question.with_artifact(Err(outside))).reason,
        Reason::BlobOutsideClosure
    );
}

#[test]
fn artifact_that_is_not_trusted_is_denied_with_its_own_reason() {
    let world = World::new();
    let known = |vouched: Vouched| {
        Ok(TargetArtifact {
            digest: image(),
            vouched: Arc::new(vouched),
        })
    };
    for (artifact, reason) in [
        (known(unsigned(&image())), Reason::ArtifactUnsigned),
        (
            known(Signer::new().vouches(&image())),
            Reason::ArtifactSignerUntrusted,
        ),
        (
            Err(Denial::new(Reason::ArtifactNotFound, "")),
            Reason::ArtifactNotFound,
        ),
        (
            Err(Denial::new(Reason::RegistryUnreachable, "")),
            Reason::RegistryUnreachable,
        ),
        (
            Err(Denial::new(Reason::VerificationPending, "")),
            Reason::VerificationPending,
        ),
    ] {
        let denial = world.denial(&pull("1.0").with_artifact(artifact));
        assert_eq!(
            (denial.reason, denial.rule.as_deref()),
            (reason, Some("web-pulls"))
        );
    }
}

#[test]
fn another_digest_than_the_asked_one_is_artifact_image_mismatch() {
    let world = World::new();
    let question = pull(image().as_str()).with_artifact(Ok(world.signed(&program())));
    assert_eq!(
        world.denial(&question).reason,
        Reason::ArtifactImageMismatch
    );
}

#[test]
fn deny_rules_are_read_again_when_the_artifact_is_there() {
    let before = World::new();
    let question = pull("1.4");
    before.needs(&question);
    let mut after = World::with_rules(
        "- name: no\n  effect: deny\n  from: { identities: [\"spiffe://acme.test/ns/web/sa/*\"] }",
    );
    let vouched = after.signer.vouches(&program());
    after.bind(binding(), vec![vouched]);
    let signed = after.signed(&image());
    assert_eq!(
        after.denial(&question.with_artifact(Ok(signed))).reason,
        Reason::RuleDenied
    );
}

#[test]
fn nobody_learns_of_an_artifact_before_the_caller_passes() {
    let mut world = World::new();
    world.bind(binding(), vec![]);
    assert_eq!(world.denial(&pull("1.4")).reason, Reason::RequirementUnmet);
}

#[test]
fn evidence_is_pinned_and_needs_no_signature_of_its_own() {
    let world = World::new();
    let question = pull(&format!("sha256-{}.sig", image().hex()));
    world.needs(&question);
    let artifact = TargetArtifact {
        digest: program(),
        vouched: Arc::new(unsigned(&program())),
    };
    let permit = world.permit(&question.with_artifact(Ok(artifact)));
    assert_eq!(
        permit.pinned_path(),
        Some(format!("/v2/prod/payments/manifests/{}", program()).as_str())
    );
    let referrers = request(
        "GET",
        "registry.acme.test",
        &format!("/v2/prod/payments/referrers/{}", image()),
    );
    assert_eq!(world.permit(&referrers).rule(), "web-pulls");
}

#[test]
fn mount_is_a_write_here_and_a_verified_read_there() {
    let world = World::new();
    let mount = |repository: &str, from: &str| {
        request(
            "POST",
            "registry.acme.test",
            &format!(
                "/v2/{repository}/blobs/uploads/?from={from}&mount={}",
                image()
            ),
        )
    };
    assert_eq!(
        world.denial(&mount("prod/a", "secret/b")).reason,
        Reason::NoRuleMatched
    );
    assert_eq!(
        world.denial(&mount("dev/a", "prod/b")).reason,
        Reason::NoRuleMatched
    );
    let question = mount("prod/a", "prod/b");
    let needed = world.needs(&question);
    assert_eq!(
        (needed.repository.as_str(), needed.wanted),
        ("prod/b", Wanted::Blob(image()))
    );
    let outside = Denial::new(Reason::BlobOutsideClosure, "");
    assert_eq!(
        world
            .denial(&question.clone().with_artifact(Err(outside)))
            .reason,
        Reason::BlobOutsideClosure
    );
    assert_eq!(
        world
            .permit(&question.with_artifact(Ok(world.signed(&image()))))
            .rule(),
        "web-pulls"
    );
}

#[test]
fn trail_ends_at_the_link_that_broke() {
    use Outcome::{Broke, Held, NotReached, Waits};
    let world = World::new();
    let outcomes = |question: &Question| {
        world
            .decide(question)
            .trail
            .steps()
            .map(|step| step.outcome)
    };
    assert_eq!(
        outcomes(&charge()),
        [Held, Held, Held, Held, Held, NotReached]
    );
    assert_eq!(
        outcomes(&pull("1.4")),
        [Held, Held, Held, Held, Held, Waits]
    );
    assert_eq!(
        outcomes(&pull("1.4").with_artifact(Ok(world.signed(&image())))),
        [Held; 6]
    );
    let unsigned = TargetArtifact {
        digest: image(),
        vouched: Arc::new(unsigned(&image())),
    };
    assert_eq!(
        outcomes(&pull("1.4").with_artifact(Ok(unsigned))),
        [
            Held,
            Held,
            Held,
            Held,
            Held,
            Broke(Reason::ArtifactUnsigned)
        ]
    );
    assert_eq!(
        outcomes(&request("DELETE", "payments.acme.test", "/x")),
        [
            Held,
            Held,
            Held,
            Broke(Reason::NoRuleMatched),
            NotReached,
            NotReached
        ]
    );
    let mut rogue = World::new();
    rogue.bind(binding(), vec![]);
    assert_eq!(
        rogue
            .decide(&charge())
            .trail
            .steps()
            .map(|step| step.outcome),
        [
            Held,
            Held,
            Held,
            Held,
            Broke(Reason::RequirementUnmet),
            NotReached
        ]
    );
    let mut unbound = World::new();
    unbound.snapshot.bindings.clear();
    assert_eq!(
        unbound
            .decide(&charge())
            .trail
            .steps()
            .map(|step| step.outcome),
        [
            Held,
            Held,
            Broke(Reason::BindingMissing),
            NotReached,
            NotReached,
            NotReached
        ]
    );
}

#[test]
fn question_survives_json() {
    let world = World::new();
    let question = pull("1.4").with_artifact(Ok(world.signed(&image())));
    let json = serde_json::to_string(&question).unwrap();
    let read: Question = serde_json::from_str(&json).unwrap();
    assert_eq!(
        world.permit(&read).pinned_path(),
        world.permit(&question).pinned_path()
    );
}
