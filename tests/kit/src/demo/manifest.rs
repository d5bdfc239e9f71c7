//! `target/demo/demo.json`: where everything of a kept run is, for other programs.

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::stage::Stage;
use crate::images::Recorded;
use crate::workspace;

/// Writes the file and returns its path.
///
/// # Errors
///
/// When it cannot be written.
pub fn write(stage: &Stage) -> anyhow::Result<PathBuf> {
    let path = workspace::root().join("target/demo/demo.json");
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let text = serde_json::to_string_pretty(&manifest(stage)?)?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn manifest(stage: &Stage) -> anyhow::Result<Value> {
    let (layout, ports) = (&stage.world.layout, &stage.world.ports);
    Ok(json!({
        "envoy": {
            "address": ports.envoy,
            "admin": ports.envoy_admin,
            "listeners": ports.extra,
            "root": layout.root_pem(),
        },
        "cert_agent": {
            "socket": layout.agent_socket(),
            "admin": layout.agent_admin(),
            "health": ports.agent_health,
            "program": layout.bin("cert-agent"),
            "config": layout.agent_config(),
        },
        "authz_service": {
            "check": ports.check,
            "check_socket": layout.check_socket(),
            "feed": ports.feed,
            "health": ports.authz_health,
            "admin": layout.authz_admin(),
            "records": layout.records(),
            "program": layout.bin("authz-service"),
            "config": layout.authz_config(),
        },
        "registry": { "address": ports.registry, "host": stage.registry_host() },
        "service": { "authority": "payments.acme.test", "address": ports.payments },
        "policy": layout.policy(),
        "evidence": layout.evidence(),
        "actors": actors(stage),
        "images": { "signed": image("prod/payments", "1.4")?, "unsigned": image("prod/rogue", "1.0")? },
        "warning": "the actors' certificates and keys lie in files so that other programs can call as them: \
                    that is the demo's own hole, no part of a deployment",
    }))
}

fn actors(stage: &Stage) -> Value {
    let entries = stage.actors.iter().map(|(name, actor)| {
        let mut entry =
            json!({ "spiffe_id": actor.spiffe_id, "cert": actor.cert, "key": actor.key });
        if let (Some(must), Value::Object(fields)) = (actor.must, &mut entry) {
            fields.insert("must".to_owned(), must.into());
        }
        (name.to_owned(), entry)
    });
    Value::Object(entries.collect::<Map<_, _>>())
}

fn image(repository: &str, tag: &str) -> anyhow::Result<Value> {
    let recorded = Recorded::read(repository)?;
    Ok(json!({
        "repository": repository,
        "tag": tag,
        "digest": recorded.digest(tag)?,
        "layer": recorded.layer(tag)?,
    }))
}
