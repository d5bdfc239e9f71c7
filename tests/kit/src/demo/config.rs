//! The configuration files of one run.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::layout::{Layout, uid};
use super::ports::Ports;
use super::tamper::Tamper;
use crate::envoy;

/// Writes the policy, both programs' configurations and Envoy's.
///
/// # Errors
///
/// When a file cannot be written.
pub fn write(layout: &Layout, ports: &Ports, tamper: &Tamper) -> anyhow::Result<()> {
    let policy = layout.policy().join("demo.yaml");
    std::fs::write(&policy, policy_text(tamper)?)
        .with_context(|| format!("cannot write {}", policy.display()))?;
    std::fs::write(layout.agent_config(), agent(layout, ports))?;
    std::fs::write(layout.authz_config(), authz(layout, ports))?;
    std::fs::write(layout.envoy_config(), proxy(layout, ports, tamper)?)?;
    Ok(())
}

fn policy_text(tamper: &Tamper) -> anyhow::Result<String> {
    let text = include_str!("../../policy/demo.yaml");
    let Tamper::Policy { from, to } = tamper else {
        return Ok(text.to_owned());
    };
    ensure!(
        text.matches(from).count() == 1,
        "the policy does not have `{from}` once"
    );
    Ok(text.replace(from, to))
}

fn agent(layout: &Layout, ports: &Ports) -> String {
    let base = layout.base().display();
    let Ports {
        feed, agent_health, ..
    } = ports;
    let (authz, envoy) = (uid::AUTHZ, uid::ENVOY);
    format!(
        r#"trustDomain: acme.test
node: node-1
directories: {{ runtime: {base}/agent/run, state: {base}/agent/state }}
policy: {{ directory: {base}/policy }}
evidence: {{ directories: [{base}/evidence] }}
issuer: {{ embeddedCa: {{ directory: {base}/ca }} }}
infrastructure:
  - {{ name: authz-service, spiffeId: spiffe://acme.test/countersign/authz-service, selectors: ["unix:uid:{authz}"], signedBy: infrastructure, role: app, ttl: 1h }}
  - {{ name: envoy, spiffeId: spiffe://acme.test/proxy/envoy, selectors: ["unix:uid:{envoy}"], signedBy: infrastructure, role: proxy, ttl: 1h, dnsNames: [localhost] }}
feed: {{ replicas: [ {{ address: "{feed}", identity: spiffe://acme.test/countersign/authz-service }} ] }}
health: {{ listen: "{agent_health}" }}
logging: {{ format: json }}
"#
    )
}

fn authz(layout: &Layout, ports: &Ports) -> String {
    let base = layout.base().display();
    let Ports {
        check,
        feed,
        authz_health,
        registry,
        otlp,
        ..
    } = ports;
    let envoy = uid::ENVOY;
    format!(
        r#"trustDomain: acme.test
replica: authz-1
directories: {{ runtime: {base}/authz/run, state: {base}/authz/state }}
policy: {{ directory: {base}/policy }}
trustBundles: [ {{ trustDomain: acme.test, file: {base}/root.pem }} ]
workloadApi: unix://{base}/agent/run/agent.sock
agents: [ {{ identity: spiffe://acme.test/countersign/agent/node-1, mayVouchFor: ["spiffe://acme.test/**"] }} ]
proxies: {{ identities: ["spiffe://acme.test/proxy/*"], uids: [{envoy}] }}
listeners: {{ unix: {{ path: {base}/authz/run/authz.sock }}, tcp: {{ listen: "{check}" }} }}
feed: {{ listen: "{feed}" }}
health: {{ listen: "{authz_health}" }}
registries: [ {{ host: localhost, endpoint: "http://{registry}", dangerPlainHttp: true }} ]
records: {{ file: {base}/authz/state/records.jsonl }}
telemetry: {{ otlp: {{ endpoint: "http://{otlp}" }} }}
logging: {{ format: json }}
"#
    )
}

/// The shipped configuration with this run's addresses, and the listeners that each lack a defence.
fn proxy(layout: &Layout, ports: &Ports, tamper: &Tamper) -> anyhow::Result<String> {
    let places: envoy::Places = [
        ("127.0.0.1:8443", ports.envoy.to_string()),
        ("127.0.0.1:9901", ports.envoy_admin.to_string()),
        ("127.0.0.1:9191", ports.check.to_string()),
        ("127.0.0.1:8080", ports.payments.to_string()),
        ("127.0.0.1:5000", ports.registry.to_string()),
        ("127.0.0.1:4317", ports.otlp.to_string()),
        (
            "/run/countersign/agent.sock",
            layout.agent_socket().display().to_string(),
        ),
    ]
    .map(|(shipped, here)| (shipped.to_owned(), here))
    .into();
    let mut config = envoy::render(&places)?;
    let extra: BTreeMap<_, _> = ports
        .extra
        .iter()
        .map(|(name, address)| (name.clone(), address.to_string()))
        .collect();
    envoy::add_extra_listeners(&mut config, &extra)?;
    match tamper {
        Tamper::Envoy { pointer, value } => envoy::change(&mut config, pointer, value.clone())?,
        Tamper::EnvoyCertificateFromFile => {
            let files = layout.base().join("actors/envoy");
            let certificate = json!([{
                "certificate_chain": { "filename": files.join("svid.pem") },
                "private_key": { "filename": files.join("svid_key.pem") },
            }]);
            let tls = "/static_resources/listeners/0/filter_chains/0/transport_socket/typed_config/common_tls_context";
            envoy::change(
                &mut config,
                &format!("{tls}/tls_certificate_sds_secret_configs"),
                json!([]),
            )?;
            envoy::change(&mut config, &format!("{tls}/tls_certificates"), certificate)?;
        }
        Tamper::None
        | Tamper::Policy { .. }
        | Tamper::RogueIsSigned
        | Tamper::ThiefHasTheKey
        | Tamper::PaymentsIsUnsigned
        | Tamper::RogueImageIsSigned
        | Tamper::TagMovesToSigned
        | Tamper::RecordsAreLost
        | Tamper::AttackedIsUnsigned => {}
    }
    Ok(serde_json::to_string_pretty(&config)?)
}
