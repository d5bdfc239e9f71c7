//! The sample configurations are read as the programs read them.

use kit::workspace;
use policy::source::PolicySource;

#[test]
fn sample_of_cert_agent_is_a_configuration() {
    let file = workspace::root().join("deploy/config/cert-agent.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    cert_agent::config::Config::parse(&text, &file).unwrap();
}

#[test]
fn sample_of_authz_service_is_a_configuration() {
    let file = workspace::root().join("deploy/config/authz-service.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let config = authz_service::config::Config::parse(&file, &text).unwrap();
    assert!(config.dangers().is_empty(), "{:?}", config.dangers());
}

#[test]
fn sample_of_the_policy_compiles() {
    let directory = workspace::root().join("deploy/config/policy");
    let read = |name: &str| {
        (
            name.to_owned(),
            std::fs::read(directory.join(name)).unwrap(),
        )
    };
    let files = ["release.yaml", "keys/release.pub", "keys/platform.pub"]
        .map(read)
        .into();
    let policy = policy::compile(&PolicySource { files }).unwrap();
    assert!(policy.grant("frontend").is_some());
    assert_eq!(policy.rules().len(), 2);
}
