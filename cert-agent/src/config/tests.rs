use super::*;

const SAMPLE: &str = include_str!("../../../deploy/config/cert-agent.yaml");

fn parse(text: &str) -> Result<Config, Vec<String>> {
    Config::parse(text, Path::new("cert-agent.yaml"))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn changed(from: &str, to: &str) -> Vec<String> {
    assert!(SAMPLE.contains(from), "the sample has `{from}`");
    parse(&SAMPLE.replacen(from, to, 1)).unwrap_err()
}

#[test]
fn sample_is_read() {
    let config = parse(SAMPLE).unwrap();
    assert_eq!(
        config.agent.as_str(),
        "spiffe://acme.test/countersign/agent/node-1"
    );
    assert_eq!(config.socket(), Path::new("/run/countersign/agent.sock"));
    assert_eq!(
        config.admin_socket(),
        Path::new("/run/countersign/agent-admin.sock")
    );
    let [authz, envoy] = config.infrastructure.as_slice() else {
        panic!("two grants: {:?}", config.infrastructure)
    };
    assert_eq!((authz.role, envoy.role), (Role::App, Role::Proxy));
    assert_eq!(envoy.dns_names, ["localhost"]);
    assert_eq!(authz.ttl, Duration::from_hours(1));
    assert_eq!(config.replicas.len(), 1);
}

#[test]
fn defaults_stand_in_for_what_is_left_out() {
    let config = parse(
        "trustDomain: acme.test\nnode: node-1\npolicy: { directory: /p }\nevidence: { directories: [/e] }\nissuer: { embeddedCa: { directory: /c } }\n",
    )
    .unwrap();
    assert_eq!(config.runtime, Path::new("/run/countersign"));
    assert_eq!(config.state, Path::new("/var/lib/countersign"));
    assert_eq!(config.health.to_string(), "127.0.0.1:9193");
    assert_eq!(config.log_format, LogFormat::Json);
    assert!(config.infrastructure.is_empty() && config.replicas.is_empty());
}

#[test]
fn unknown_key_is_told_with_its_place() {
    let errors = changed("node: node-1", "nodes: node-1");
    let [error] = errors.as_slice() else {
        panic!("{errors:?}")
    };
    assert!(
        error.starts_with("cert-agent.yaml:") && error.contains("unknown field `nodes`"),
        "{error}"
    );
    assert!(
        !error.contains(" at line "),
        "the place is told once: {error}"
    );
}

#[test]
fn blank_key_is_not_an_absent_one() {
    let errors = changed("  format: json", "  format:");
    assert!(errors[0].starts_with("cert-agent.yaml:"), "{errors:?}");
    let errors = parse("trustDomain: acme.test\nnode: n\ndirectories:\npolicy: { directory: /p }\nevidence: { directories: [/e] }\nissuer: { embeddedCa: { directory: /c } }\n").unwrap_err();
    assert!(errors[0].starts_with("cert-agent.yaml:3:"), "{errors:?}");
}

#[test]
fn every_wrong_value_is_told_at_once() {
    let text = SAMPLE
        .replacen("trustDomain: acme.test", "trustDomain: ACME.test", 1)
        .replacen("\"unix:uid:901\"", "\"unix\"", 1);
    let errors = parse(&text).unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn node_with_a_slash_is_refused() {
    assert!(changed("node: node-1", "node: a/b")[0].contains("one path segment"));
}

#[test]
fn identity_of_another_trust_domain_is_refused() {
    let errors = changed(
        "spiffeId: spiffe://acme.test/proxy/envoy",
        "spiffeId: spiffe://other.test/proxy/envoy",
    );
    assert!(errors[0].contains("not in the trust domain"), "{errors:?}");
}

#[test]
fn no_evidence_directory_is_refused() {
    let errors = changed("    - /etc/countersign/evidence", "    []");
    assert!(errors[0].contains("at least one directory"), "{errors:?}");
}

#[test]
fn relative_directory_is_refused() {
    assert!(
        changed("directory: /etc/countersign/policy", "directory: policy")[0]
            .contains("not an absolute path")
    );
}

#[test]
fn lifetimes_are_bounded_and_have_a_unit() {
    for wrong in ["1", "0s", "5s", "400d", "h", "1h30m", "-1h"] {
        let errors = changed("ttl: 1h", &format!("ttl: \"{wrong}\""));
        assert_eq!(errors.len(), 1, "{wrong}: {errors:?}");
    }
}

#[test]
fn address_without_a_port_is_refused() {
    assert!(changed("address: 127.0.0.1:9195", "address: 127.0.0.1")[0].contains("host:port"));
}

#[test]
fn missing_file_is_told() {
    let errors = Config::read(Path::new("/nowhere/cert-agent.yaml")).unwrap_err();
    assert!(
        errors[0]
            .to_string()
            .starts_with("/nowhere/cert-agent.yaml:1:1: cannot be read")
    );
}
