//! Calls to a service: permitted, without a rule, and by nobody.

use anyhow::Context as _;
use serde_json::Value;

use crate::demo::row::{Findings, Row};
use crate::demo::stage::{Stage, charge};
use crate::wire::{Call, WireError, once};

pub(super) const SIGNED: Row = Row {
    number: 1,
    who: "frontend",
    does: "POST payments /v1/charges",
    expected: "200, rule web-charges",
};

pub(super) async fn signed(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    let reply = request(stage, "row-1", &["--method", "POST"]).await?;
    found.got(format!("{}", status(&reply)));
    found.same("status", &status(&reply), &200);
    found.contains("the answer", text(&reply, "body"), "payments");
    let decision = reply
        .get("decision")
        .and_then(Value::as_str)
        .context("no decision id")?;
    let record = stage.world.record(decision).await?;
    found.why(format!("rule {}", text(&record, "rule")));
    found.same("decision", &text(&record, "decision"), &"permit");
    found.same("rule", &text(&record, "rule"), &"web-charges");
    Ok(())
}

pub(super) const WITHOUT_A_RULE: Row = Row {
    number: 2,
    who: "frontend",
    does: "DELETE /v1/charges/7",
    expected: "403 no-rule-matched",
};

pub(super) async fn without_a_rule(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    let reply = request(
        stage,
        "row-2",
        &["--method", "DELETE", "--path", "/v1/charges/7"],
    )
    .await?;
    found.got(format!("{} {}", status(&reply), text(&reply, "reason")));
    found.why("signed and known, but nobody permitted this");
    found.same("status", &status(&reply), &403);
    found.same("reason", &text(&reply, "reason"), &"no-rule-matched");
    let call = Call::new("DELETE", "payments.acme.test", "/v1/charges/7");
    stage.behind_fail_open(2, "frontend", &call).await
}

pub(super) const NOBODY: Row = Row {
    number: 5,
    who: "nobody",
    does: "POST without a certificate",
    expected: "refused in the handshake; behind a plain trusted_ca: 401 identity-missing",
};

pub(super) async fn nobody(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    match stage
        .call(stage.actors.client_tls12("nobody")?, &charge())
        .await
    {
        Err(WireError::Handshake(_alert)) => found.got("refused in the handshake"),
        Err(other) => anyhow::bail!("{other}"),
        // A proxy whose validator does not demand a certificate.
        Ok(reply) => Stage::denied(found, &reply, 401, "identity-missing"),
    }
    let behind_plain = stage.extra("plain-trusted-ca")?;
    let reply = once(behind_plain, stage.actors.client("nobody")?, &charge()).await?;
    Stage::denied(found, &reply, 401, "identity-missing");
    found.why("no certificate, no identity");
    stage.behind_fail_open(5, "nobody", &charge()).await
}

async fn request(stage: &Stage, log: &str, arguments: &[&str]) -> anyhow::Result<Value> {
    let proxy = stage.world.ports.envoy.to_string();
    let arguments: Vec<&str> = ["request", "--proxy", &proxy]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    let reply = stage.frontend(log, &arguments).await?;
    if let Some(error) = reply.get("error").and_then(Value::as_str) {
        anyhow::bail!("the frontend got no answer: {error}");
    }
    Ok(reply)
}

fn status(reply: &Value) -> u64 {
    reply
        .get("status")
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
