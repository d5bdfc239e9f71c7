//! Broken policies, each with every error it must give and where.

use super::*;

/// Errors of `documents`, which begin at line 1 of `policy.yaml`, as `line:column` and problem.
fn errors(documents: &str) -> Vec<(String, Problem)> {
    let errors = compile(&source(documents)).unwrap_err();
    errors
        .iter()
        .map(|error| {
            (
                format!("{}:{}", error.line, error.column),
                error.problem.clone(),
            )
        })
        .collect()
}

/// Asserts on every error of one document.
fn assert_errors(documents: &str, expected: &[(&str, Problem)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(place, problem)| ((*place).to_owned(), problem.clone()))
        .collect();
    assert_eq!(errors(documents), expected, "{documents}");
}

/// A signature policy of this spec, on lines 4 and on.
fn signature_policy(spec: &str) -> String {
    format!(
        "apiVersion: countersign.dev/v1alpha1\nkind: SignaturePolicy\nmetadata: {{ name: release }}\nspec:\n{spec}\n"
    )
}

/// A grant of this spec, on lines 9 and on, after a signature policy `release`.
fn grant(spec: &str) -> String {
    after_release("IdentityGrant", spec)
}

/// An access policy with these rules, on lines 10 and on, after a signature policy `release`.
fn rules(rules: &str) -> String {
    after_release("AccessPolicy", &format!("  rules:\n{rules}"))
}

fn after_release(kind: &str, spec: &str) -> String {
    let release = signature_policy("  signers: [{ name: a, key: { file: keys/release.pub } }]");
    format!(
        "{release}---\napiVersion: countersign.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: x }}\nspec:\n{spec}\n"
    )
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn error_is_shown_with_file_line_and_column() {
    let errors = compile(&source(&grant("  selectors: []"))).unwrap_err();
    let shown = errors.to_string();
    assert_eq!(
        shown,
        "policy.yaml:11:3: `artifact` is missing
policy.yaml:11:3: `spiffeId` is missing
policy.yaml:11:14: it is empty; give it an entry or leave the key out"
    );
    assert_eq!(
        errors.iter().next().unwrap().message(),
        "`artifact` is missing"
    );
}

#[test]
fn directory_without_documents_is_refused() {
    let empty = compile(&PolicySource::default()).unwrap_err();
    let expected = Place::start_of(".").error(Problem::NoDocuments);
    assert_eq!(empty.iter().collect::<Vec<_>>(), [&expected]);
    assert_errors("# nothing\n", &[("1:1", Problem::NoDocuments)]);
}

#[test]
fn directory_with_too_many_files_is_refused() {
    let files = (0..=MAX_FILES).map(|index| (index.to_string(), Vec::new()));
    let errors = compile(&files.collect()).unwrap_err();
    assert_eq!(errors.iter().next().unwrap().problem, Problem::TooManyFiles);
}

#[test]
fn large_file_is_refused() {
    assert_errors(
        &"#".repeat(MAX_FILE_BYTES + 1),
        &[("1:1", Problem::FileTooLarge)],
    );
}

#[test]
fn file_that_is_not_text_is_refused() {
    let mut source = source("");
    source.files.insert(text("policy.yaml"), vec![b'a', 0xff]);
    assert_eq!(
        compile(&source).unwrap_err().iter().next().unwrap().problem,
        Problem::NotUtf8
    );
}

#[test]
fn text_that_is_not_yaml_is_refused_at_its_place() {
    for (broken, place) in [
        ("a: [1, 2\n", "1:4"),
        ("a: !env x\n", "1:9"),
        ("a: &x {<<: *x}\n", "1:8"),
    ] {
        let errors = errors(broken);
        assert!(
            errors
                .iter()
                .any(|(_, problem)| matches!(problem, Problem::Syntax { .. })),
            "{broken}: {errors:?}"
        );
        assert_eq!(errors[0].0, place, "{broken}: {errors:?}");
    }
    assert!(!errors(&"[".repeat(100_000)).is_empty());
}

#[test]
fn error_in_one_document_does_not_hide_those_of_the_next() {
    let documents = format!("{}---\n{}", grant("  selectors: 1"), rules("    - 1"));
    let shapes = errors(&documents)
        .into_iter()
        .filter(|(_, problem)| matches!(problem, Problem::Shape { .. }));
    assert_eq!(shapes.count(), 2);
}

#[test]
fn unknown_key_is_refused_at_every_level() {
    let unknown = |key: &str, expected: &str| Problem::UnknownKey {
        key: text(key),
        expected: text(expected),
    };
    let from = "`identities`, `artifact`, `digests`, `keys`";
    assert_errors(
        &rules(
            "    - { name: a, effect: deny, from: { identity: [x], artifact: { signedBy: release } } }",
        ),
        &[("12:40", unknown("identity", from))],
    );
    let top = "`apiVersion`, `kind`, `metadata`, `spec`";
    let document = format!(
        "{}status: 1\n",
        signature_policy("  signers: [{ name: a, key: { file: keys/ci.pub } }]")
    );
    assert_errors(&document, &[("6:1", unknown("status", top))]);
}

#[test]
fn repeated_key_is_refused() {
    let document =
        signature_policy("  signers: [{ name: a, name: b, key: { file: keys/ci.pub } }]");
    assert_errors(
        &document,
        &[("5:24", Problem::DuplicateKey { key: text("name") })],
    );
}

#[test]
fn blank_key_is_refused_even_where_it_may_be_left_out() {
    let blank = |key: &str| Problem::Blank { key: text(key) };
    let rule = "    - name: a
      from: { identities: [\"spiffe://acme.test/a\"], artifact: { signedBy: release } }
      to:
        registry:
          hosts: [a.test]
          repositories: [\"**\"]
          actions: [pull]
          artifact:";
    assert_errors(&rules(rule), &[("19:11", blank("artifact"))]);
    assert_errors(
        &rules("    - { name: a, effect: deny, from: ~, to: null }"),
        &[("12:32", blank("from")), ("12:41", blank("to"))],
    );
    assert_errors(
        &grant(
            "  spiffeId: spiffe://acme.test/a\n  selectors: [\"unix:uid:1\"]\n  artifact: { signedBy: release, anySigned: true }\n  svid:\n  contact:",
        ),
        &[("14:3", blank("svid")), ("15:3", blank("contact"))],
    );
    assert_errors(
        &grant(
            "  spiffeId: spiffe://acme.test/a\n  selectors: [\"unix:uid:1\"]\n  artifact:\n    signedBy: release\n    claims:",
        ),
        &[("15:5", blank("claims"))],
    );
}

#[test]
fn missing_key_is_refused_at_its_mapping() {
    assert_errors(
        "kind: AccessPolicy\n",
        &[
            ("1:1", Problem::Missing { key: "apiVersion" }),
            ("1:1", Problem::Missing { key: "metadata" }),
            ("1:1", Problem::Missing { key: "spec" }),
        ],
    );
}

#[test]
fn value_of_another_shape_is_refused() {
    let shape = |expected, found| Problem::Shape { expected, found };
    assert_errors("- a\n", &[("1:1", shape("a mapping", "a list"))]);
    assert_errors(
        &signature_policy("  signers: a\n  signatures: { from: [a], threshold: 1.5 }"),
        &[
            ("5:12", shape("a list", "a text")),
            ("6:24", Problem::NoSuchSigner { name: text("a") }),
            ("6:39", shape("a whole number", "a number")),
        ],
    );
    assert_errors(
        &grant(
            "  spiffeId: spiffe://acme.test/a\n  selectors: [1]\n  artifact: { signedBy: release, anySigned: \"true\" }",
        ),
        &[
            ("12:15", shape("a text in quotes", "a number")),
            ("13:45", shape("true or false", "a text")),
        ],
    );
    assert_errors(
        &grant(
            "  spiffeId: spiffe://acme.test/a\n  selectors: [\"unix:uid:1\"]\n  artifact: { signedBy: release, claims: { annotations: { v: 1.4 } } }",
        ),
        &[("13:62", shape("a text in quotes", "a number"))],
    );
}

#[test]
fn empty_list_and_empty_text_are_refused() {
    assert_errors(
        &rules("    - { name: a, effect: deny, from: { identities: [] } }"),
        &[("12:52", Problem::EmptyList)],
    );
    assert_errors(
        &grant(
            "  spiffeId: \"\"\n  selectors: [\"unix:uid:1\"]\n  artifact: { signedBy: release, claims: {} }",
        ),
        &[("11:13", Problem::EmptyText), ("13:42", Problem::EmptyList)],
    );
}

#[test]
fn repeated_entry_is_refused() {
    let documents = rules(
        "    - { name: a, effect: deny, from: { identities: [\"spiffe://a.test/b\", \"spiffe://a.test/b\"] } }",
    );
    assert_errors(
        &documents,
        &[(
            "12:74",
            Problem::DuplicateEntry {
                value: text("spiffe://a.test/b"),
            },
        )],
    );
}

#[test]
fn unknown_word_is_refused() {
    let unknown = |value: &str, expected: &str| Problem::UnknownValue {
        value: text(value),
        expected: text(expected),
    };
    let documents = "apiVersion: v1\nkind: Rule\nmetadata: { name: a }\nspec: {}\n";
    assert_errors(
        documents,
        &[
            ("1:13", unknown("v1", "`countersign.dev/v1alpha1`")),
            (
                "2:7",
                unknown("Rule", "`SignaturePolicy`, `IdentityGrant`, `AccessPolicy`"),
            ),
        ],
    );
    let documents =
        rules("    - { name: a, effect: allow, from: { identities: [\"spiffe://a.test/b\"] } }");
    assert_errors(
        &documents,
        &[("12:26", unknown("allow", "`permit`, `deny`"))],
    );
}

#[test]
fn value_that_its_type_refuses_is_an_error_at_its_place() {
    let documents = rules(
        "    - { name: a, effect: deny, from: { identities: [\"SPIFFE://a.test/b\", \"spiffe://a.test/b*\"] } }",
    );
    let places: Vec<_> = errors(&documents)
        .into_iter()
        .map(|(place, problem)| (place, matches!(problem, Problem::InvalidValue { .. })))
        .collect();
    assert_eq!(places, [(text("12:53"), true), (text("12:74"), true)]);
}

#[test]
fn name_that_could_not_be_a_directory_is_refused() {
    for name in ["..", "a/b", "A", "-a", "a-", "a.b", &"a".repeat(64)] {
        let documents = grant("  {}").replace("name: x", &format!("name: \"{name}\""));
        let found = errors(&documents);
        assert!(
            found.contains(&(text("9:19"), Problem::InvalidName { name: text(name) })),
            "{found:?}"
        );
    }
}

#[test]
fn spec_before_kind_is_refused() {
    let document = "apiVersion: countersign.dev/v1alpha1\nspec:\n  signers: [{ name: a, key: { file: keys/ci.pub } }]\nkind: SignaturePolicy\nmetadata: { name: a }\n";
    assert_errors(document, &[("3:3", Problem::KindAfterSpec)]);
}

#[test]
fn what_is_not_supported_yet_is_refused() {
    let not_yet = |what| Problem::NotSupportedYet { what };
    assert_errors(
        &signature_policy(
            "  signers:\n    - name: ci\n      keyless: { issuer: https://a.test }\n  signatures: { from: [ci], threshold: 1 }\n  signedAfter: 2026-01-01T00:00:00Z\n  attestations: [{ type: sbom }]",
        ),
        &[
            ("7:7", not_yet("keyless signers")),
            ("9:3", not_yet("`signedAfter`")),
            ("10:3", not_yet("`attestations`")),
        ],
    );
    assert_errors(
        &grant(
            "  spiffeId: spiffe://acme.test/ns/{k8s.ns}\n  selectors: [\"unix:uid:1\"]\n  artifact: { signedBy: release, claims: { sourceRepository: a } }",
        ),
        &[
            ("11:13", not_yet("templates in `spiffeId`")),
            (
                "13:44",
                not_yet("claim `sourceRepository`, which keyless signatures carry"),
            ),
        ],
    );
}

#[test]
fn name_that_is_taken_is_refused() {
    let release = signature_policy("  signers: [{ name: a, key: { file: keys/ci.pub } }]");
    assert_errors(
        &format!("{release}---\n{release}"),
        &[(
            "9:19",
            Problem::DuplicateName {
                name: text("release"),
                first: text("policy.yaml:3:19"),
            },
        )],
    );
    let document = signature_policy(
        "  signers:\n    - { name: a, key: { file: keys/ci.pub } }\n    - { name: a, key: { file: keys/release.pub } }",
    );
    assert_errors(
        &document,
        &[(
            "7:15",
            Problem::DuplicateName {
                name: text("a"),
                first: text("policy.yaml:6:15"),
            },
        )],
    );
    let deny = "    - { name: a, effect: deny, from: { identities: [\"spiffe://a.test/b\"] } }";
    let document = rules(&format!("{deny}\n{}", deny.replace("/b", "/c")));
    assert_errors(
        &document,
        &[(
            "13:15",
            Problem::DuplicateName {
                name: text("a"),
                first: text("policy.yaml:12:15"),
            },
        )],
    );
}

#[test]
fn reference_to_nothing_is_refused() {
    let nothing = |name: &str| Problem::NoSuchSignaturePolicy { name: text(name) };
    assert_errors(
        &rules("    - name: a
      from: { identities: [\"spiffe://a.test/b\"], artifact: { signedBy: relase } }
      to: { registry: { hosts: [a], repositories: [a], actions: [pull], artifact: { signedBy: relaese } } }"),
        &[("13:72", nothing("relase")), ("14:95", nothing("relaese"))],
    );
    assert_errors(
        &grant(
            "  spiffeId: spiffe://acme.test/a\n  selectors: [\"unix:uid:1\"]\n  artifact: { signedBy: nobody, anySigned: true }",
        ),
        &[("13:25", nothing("nobody"))],
    );
    assert_errors(
        &signature_policy(
            "  signers: [{ name: a, key: { file: keys/ci.pub } }]\n  signatures: { from: [b], threshold: 1 }",
        ),
        &[
            ("5:21", Problem::UnusedSigner { name: text("a") }),
            ("6:24", Problem::NoSuchSigner { name: text("b") }),
        ],
    );
}

#[test]
fn reference_to_a_broken_signature_policy_is_not_an_error_too() {
    let documents =
        rules("    - { name: a, effect: deny, from: { artifact: { signedBy: release } } }")
            .replace("keys/release.pub", "x");
    assert_errors(
        &documents,
        &[("5:37", Problem::NoSuchFile { path: text("x") })],
    );
}

#[test]
fn key_file_that_is_missing_or_outside_the_directory_is_refused() {
    for path in [
        "keys/none.pub",
        "/etc/passwd",
        "../keys/ci.pub",
        "./keys/ci.pub",
    ] {
        let document = signature_policy(&format!(
            "  signers: [{{ name: a, key: {{ file: {path} }} }}]"
        ));
        assert_errors(
            &document,
            &[("5:37", Problem::NoSuchFile { path: text(path) })],
        );
    }
}

#[test]
fn file_that_holds_no_key_is_refused() {
    let document = signature_policy("  signers: [{ name: a, key: { file: policy.yaml } }]");
    let found = errors(&document);
    let [(place, Problem::InvalidKey { path, .. })] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!((place.as_str(), path.as_str()), ("5:37", "policy.yaml"));
}

#[test]
fn two_signers_with_one_key_are_refused() {
    let signers = "  signers:\n    - { name: a, key: { file: keys/ci.pub } }\n    - { name: b, key: { file: keys/ci.pub } }";
    assert_errors(
        &signature_policy(signers),
        &[(
            "7:31",
            Problem::SharedKey {
                name: text("b"),
                other: text("a"),
            },
        )],
    );
}

#[test]
fn threshold_that_nothing_or_everything_meets_is_refused() {
    for threshold in [0, 2, u64::MAX] {
        let spec = format!(
            "  signers: [{{ name: a, key: {{ file: keys/ci.pub }} }}]\n  signatures: {{ from: [a], threshold: {threshold} }}"
        );
        assert_errors(
            &signature_policy(&spec),
            &[(
                "6:39",
                Problem::Threshold {
                    threshold,
                    signers: 1,
                },
            )],
        );
    }
}

#[test]
fn grant_of_anything_signed_must_say_so() {
    let artifact = |artifact: &str| {
        grant(&format!(
            "  spiffeId: spiffe://acme.test/a\n  selectors: [\"unix:uid:1\"]\n  artifact: {{ signedBy: release{artifact} }}"
        ))
    };
    assert_errors(
        &artifact(""),
        &[(
            "13:13",
            Problem::AnySignedUnsaid {
                signed_by: text("release"),
            },
        )],
    );
    assert_errors(
        &artifact(", anySigned: false"),
        &[("13:34", Problem::AnySignedFalse)],
    );
    assert_errors(
        &artifact(", anySigned: true, claims: { name: a }"),
        &[("13:34", Problem::AnySignedContradicted)],
    );
    assert_errors(
        &rules(
            "    - { name: a, effect: deny, from: { artifact: { signedBy: release, anySigned: true } } }",
        ),
        &[("12:71", Problem::AnySignedInRule)],
    );
}

#[test]
fn reserved_identity_is_refused() {
    let documents = grant(
        "  spiffeId: spiffe://acme.test/countersign/agent/node-1\n  selectors: [\"unix:uid:1\"]\n  artifact: { signedBy: release, anySigned: true }",
    );
    let spiffe_id = text("spiffe://acme.test/countersign/agent/node-1");
    assert_errors(
        &documents,
        &[("11:13", Problem::ReservedIdentity { spiffe_id })],
    );
}

#[test]
fn ttl_outside_its_bounds_is_refused() {
    let ttl = |ttl: &str| {
        grant(&format!(
            "  spiffeId: spiffe://acme.test/a\n  selectors: [\"unix:uid:1\"]\n  artifact: {{ signedBy: release, anySigned: true }}\n  svid: {{ ttl: {ttl} }}"
        ))
    };
    for out_of_range in ["0s", "9s", "25h"] {
        assert_errors(&ttl(out_of_range), &[("14:16", Problem::TtlOutOfRange)]);
    }
    for no_duration in [
        "1",
        "h",
        "1.5h",
        "-1h",
        "+1h",
        "1d",
        "1 h",
        "99999999999999999999h",
        "18446744073709551615h",
        "é",
    ] {
        let found = errors(&ttl(&format!("\"{no_duration}\"")));
        assert!(
            matches!(found.as_slice(), [(_, Problem::InvalidValue { .. })]),
            "{no_duration}: {found:?}"
        );
    }
    for good in ["10s", "24h"] {
        assert!(compile(&source(&ttl(good))).is_ok(), "{good}");
    }
}

#[test]
fn permit_must_say_who_and_what() {
    assert_errors(
        &rules("    - { name: a }"),
        &[
            ("12:7", Problem::PermitWithoutArtifact),
            ("12:7", Problem::PermitWithoutIdentities),
            ("12:7", Problem::PermitWithoutTarget),
        ],
    );
    assert_errors(
        &rules(
            "    - { name: a, from: { keys: [\"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"] }, to: { service: {} } }",
        ),
        &[
            ("12:24", Problem::PermitWithoutArtifact),
            ("12:24", Problem::PermitWithoutIdentities),
            ("12:119", Problem::PermitWithoutList { key: "hosts" }),
            ("12:119", Problem::PermitWithoutList { key: "methods" }),
            ("12:119", Problem::PermitWithoutList { key: "paths" }),
        ],
    );
}

#[test]
fn permit_of_a_pull_must_say_what_is_pulled() {
    let permit = |registry: &str| {
        rules(&format!(
            "    - name: a\n      from: {{ identities: [\"spiffe://a.test/b\"], artifact: {{ signedBy: release }} }}\n      to: {{ registry: {{ hosts: [a], repositories: [a], {registry} }} }}"
        ))
    };
    assert_errors(
        &permit("actions: [evidence, pull]"),
        &[("14:23", Problem::PullWithoutArtifact)],
    );
    assert_errors(
        &permit("actions: [list], artifact: { signedBy: release }"),
        &[("14:73", Problem::ArtifactWithoutPull)],
    );
    assert_errors(
        &permit("artifact: { signedBy: release }"),
        &[
            ("14:23", Problem::PermitWithoutList { key: "actions" }),
            ("14:56", Problem::ArtifactWithoutPull),
        ],
    );
}

#[test]
fn deny_must_have_a_condition() {
    assert_errors(
        &rules("    - { name: a, effect: deny }"),
        &[("12:7", Problem::DenyWithoutCondition)],
    );
    assert_errors(
        &rules("    - { name: a, effect: deny, from: {} }"),
        &[("12:38", Problem::FromWithoutCondition)],
    );
    assert_errors(
        &rules(
            "    - { name: a, effect: deny, to: { registry: { artifact: { signedBy: release } } } }",
        ),
        &[("12:50", Problem::DenyWithTargetArtifact)],
    );
}

#[test]
fn target_must_be_of_one_kind() {
    let deny = |to: &str| rules(&format!("    - {{ name: a, effect: deny, to: {to} }}"));
    assert_errors(&deny("{}"), &[("12:36", Problem::OneTarget)]);
    assert_errors(
        &deny("{ registry: {}, service: {} }"),
        &[("12:36", Problem::OneTarget)],
    );
}

#[test]
fn rule_that_can_never_apply_is_refused_where_it_stands() {
    let documents = rules(
        "    - { name: wide, effect: deny, from: { identities: [\"spiffe://a.test/**\"] } }
    - { name: narrow, effect: deny, from: { identities: [\"spiffe://a.test/b\"] } }",
    );
    assert_errors(
        &documents,
        &[(
            "13:15",
            Problem::Unreachable {
                rule: text("narrow"),
                effect: "deny",
                by: text("wide"),
                at: text("policy.yaml:12:15"),
            },
        )],
    );
}
