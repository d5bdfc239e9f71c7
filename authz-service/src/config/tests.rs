use super::*;

const SAMPLE: &str = include_str!("../../../deploy/config/authz-service.yaml");

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(Path::new("authz-service.yaml"), text)
}

/// What is wrong with the sample once `from` reads `to`: the first message.
fn fault(from: &str, to: &str) -> String {
    assert!(SAMPLE.contains(from), "`{from}` is not in the sample");
    parse(&SAMPLE.replacen(from, to, 1))
        .unwrap_err()
        .to_string()
}

#[test]
fn shipped_sample_is_good_and_says_the_defaults() {
    let config = parse(SAMPLE).unwrap();
    assert_eq!(config.replica, "authz-1");
    assert_eq!(
        config.records.max_bytes,
        u64::from(DEFAULT_RECORD_MEBIBYTES) << 20
    );
    assert_eq!(config.log_format, LogFormat::default());
    assert_eq!(config.check_tcp.unwrap().port(), 9191);
    assert_eq!(
        config.admin_socket(),
        Path::new("/run/countersign-authz/authz-admin.sock")
    );
    assert!(config.dangers().is_empty());
}

#[test]
fn optional_keys_have_the_defaults_that_the_sample_says() {
    let without = [
        "    group: 902\n",
        "  maxMebibytes: 64\n",
        "logging:\n  format: json\n",
    ];
    let text = without
        .iter()
        .fold(SAMPLE.to_owned(), |text, key| text.replacen(key, "", 1));
    let (full, short) = (parse(SAMPLE).unwrap(), parse(&text).unwrap());
    assert_eq!(
        (short.records, short.log_format),
        (full.records, full.log_format)
    );
    assert_eq!(short.check_unix.unwrap().group, None);
}

#[test]
fn unknown_key_is_an_error_with_its_place() {
    let message = fault("replica: authz-1", "replica: authz-1\nrepilca: authz-2");
    assert!(
        message.starts_with("authz-service.yaml:9:1: unknown field `repilca`"),
        "{message}"
    );
}

#[test]
fn blank_key_is_an_error() {
    let message = fault("registries:\n", "registries:\nx-rest:\n");
    assert!(message.starts_with("authz-service.yaml:"), "{message}");
}

#[test]
fn missing_key_is_an_error() {
    let message = fault("replica: authz-1\n", "");
    assert!(message.contains("missing field `replica`"), "{message}");
}

#[test]
fn duplicate_key_is_an_error() {
    let message = fault("replica: authz-1\n", "replica: authz-1\nreplica: authz-2\n");
    assert!(message.contains("duplicate"), "{message}");
}

#[test]
fn value_of_the_wrong_shape_is_an_error_that_says_what_was_expected() {
    for (from, to, expected) in [
        (
            "replica: authz-1",
            "replica: Authz_1",
            "is not a replica name",
        ),
        (
            "trustDomain: acme.test",
            "trustDomain: Acme.test",
            "`Acme.test` is not a trust domain",
        ),
        (
            "workloadApi: unix:///run",
            "workloadApi: /run",
            "expected unix:///PATH",
        ),
        (
            "  runtime: /run/countersign-authz",
            "  runtime: run",
            "is not an absolute path",
        ),
        ("\"127.0.0.1:9191\"", "localhost:9191", "expected IP:PORT"),
        ("  format: json", "  format: yes", "yes"),
        ("[902]", "[root]", "`root` is not a number"),
        (
            "host: registry.acme.test",
            "host: registry.acme.test:5000",
            "without a port",
        ),
        (
            "endpoint: https://registry-internal",
            "endpoint: registry-internal",
            "is not a registry's scheme",
        ),
        (
            "endpoint: https://registry-internal.acme.test:5000",
            "endpoint: nowhere",
            "is not a URL",
        ),
        (
            "maxMebibytes: 64",
            "maxMebibytes: 0",
            "no record could be kept",
        ),
    ] {
        let message = fault(from, to);
        assert!(message.contains(expected), "{to}: {message}");
        let line: u64 = message.split(':').nth(1).unwrap().parse().unwrap();
        assert!(line > 0, "{message}");
    }
}

#[test]
fn empty_lists_are_errors() {
    for (from, to, expected) in [
        (
            "mayVouchFor: [\"spiffe://acme.test/ns/**\"]",
            "mayVouchFor: []",
            "`mayVouchFor` is an empty list",
        ),
        ("uids: [902]", "uids: []", "`proxies.uids` is an empty list"),
        (
            "  - identity: spiffe://acme.test/countersign/agent/node-1\n    mayVouchFor: [\"spiffe://acme.test/ns/**\"]",
            "  []",
            "`agents` is empty",
        ),
    ] {
        let message = fault(from, to);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn listener_that_nobody_may_ask_is_an_error() {
    assert!(fault("  uids: [902]\n", "").contains("`listeners.unix` needs `proxies.uids`"));
    let message = fault("  identities: [\"spiffe://acme.test/proxy/*\"]\n", "");
    assert!(
        message.contains("`listeners.tcp` needs `proxies.identities`"),
        "{message}"
    );
}

#[test]
fn agent_without_a_bundle_is_an_error_at_its_identity() {
    let message = fault(
        "spiffe://acme.test/countersign/agent/node-1",
        "spiffe://other.test/countersign/agent/node-1",
    );
    assert!(message.contains("without a bundle"), "{message}");
}

#[test]
fn plain_http_needs_its_danger_said() {
    assert!(fault("endpoint: https", "endpoint: http").contains("dangerPlainHttp: true"));
    assert!(
        fault("dangerPlainHttp: false", "dangerPlainHttp: true").contains("the endpoint is https")
    );
    let text = SAMPLE.replacen("endpoint: https", "endpoint: http", 1);
    let text = text.replacen("dangerPlainHttp: false", "dangerPlainHttp: true", 1);
    assert_eq!(
        parse(&text).unwrap().dangers(),
        ["registries.dangerPlainHttp: registry.acme.test"]
    );
}

#[test]
fn every_fault_is_told_at_once() {
    let text = SAMPLE
        .replacen("uids: [902]", "uids: []", 1)
        .replacen("maxMebibytes: 64", "maxMebibytes: 0", 1)
        .replacen("endpoint: https", "endpoint: http", 1);
    let ConfigErrors(errors) = parse(&text).unwrap_err();
    assert!(errors.len() >= 3, "{errors:?}");
}

#[test]
fn file_that_cannot_be_read_is_an_error_without_a_place() {
    let error = Config::load(Path::new("/nonexistent/authz-service.yaml")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/authz-service.yaml: the file cannot be read"),
        "{error}"
    );
}

#[test]
fn text_that_is_no_yaml_is_an_error_with_its_place() {
    let message = parse("a: [\n").unwrap_err().to_string();
    assert!(message.starts_with("authz-service.yaml:"), "{message}");
}
