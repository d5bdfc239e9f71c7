//! Callers that show a name which is not theirs, and what the operator learns of it.

use crate::demo::row::{Findings, Row};
use crate::demo::stage::{Stage, charge};
use crate::demo::world::ExplainFrom;
use crate::wire::{WireError, once};
use anyhow::Context as _;

pub(super) const THIEF: Row = Row {
    number: 6,
    who: "thief",
    does: "POST as frontend's ID on another key, real CA",
    expected: "403 binding-missing",
};

pub(super) async fn thief(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    let reply = stage.call(stage.actors.client("thief")?, &charge()).await?;
    stage.thiefs_decision = reply.decision().map(str::to_owned);
    Stage::denied(found, &reply, 403, "binding-missing");
    found.why("no agent vouches for this key");
    stage.behind_fail_open(6, "thief", &charge()).await
}

pub(super) const FORGER: Row = Row {
    number: 7,
    who: "forger",
    does: "POST with a DNS SAN that reads as frontend's ID",
    expected: "refused in the handshake; behind a plain trusted_ca: 403 identity-malformed",
};

pub(super) async fn forger(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    match stage
        .call(stage.actors.client_tls12("forger")?, &charge())
        .await
    {
        Err(WireError::Handshake(_alert)) => found.got("refused in the handshake"),
        Err(other) => anyhow::bail!("{other}"),
        Ok(reply) => {
            found.got(format!("{}", reply.status));
            found.holds("refused in the handshake", false);
        }
    }
    let behind_plain = stage.extra("plain-trusted-ca")?;
    let reply = once(behind_plain, stage.actors.client("forger")?, &charge()).await?;
    Stage::denied(found, &reply, 403, "identity-malformed");
    found.why("a DNS name is not an identity");
    Ok(())
}

pub(super) const EXPLAINED: Row = Row {
    number: 8,
    who: "operator",
    does: "authz-service explain of row 6",
    expected: "the broken link, and rogue's refusal for that identity: artifact-unsigned",
};

pub(super) async fn explained(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    let decision = stage
        .thiefs_decision
        .clone()
        .context("row 6 left no decision")?;
    let finished = stage.world.explain(&decision, ExplainFrom::Admin).await?;
    found.same("exit code", &finished.code, &0);
    found.contains("explain", &finished.out, "binding-missing");
    found.contains("explain", &finished.out, "artifact-unsigned");
    found.contains(
        "explain",
        &finished.out,
        stage.world.programs.rogue.as_str(),
    );
    found.got("binding-missing, artifact-unsigned");
    found.why("the agent's refusal names rogue's digest");
    Ok(())
}
