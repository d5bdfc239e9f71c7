//! Commands for a reader who wants to try a run that was kept.

use std::os::unix::fs::symlink;

use anyhow::Context as _;

use super::stage::Stage;

/// A `curl`, a `skopeo` and an `explain` line.
///
/// # Errors
///
/// When skopeo's certificate directory cannot be made.
pub fn lines(stage: &Stage) -> anyhow::Result<Vec<String>> {
    let (layout, ports) = (&stage.world.layout, &stage.world.ports);
    let actor = |name: &str| layout.base().join("actors").join(name);
    let certificates = layout.actor("try-skopeo")?;
    symlink(layout.root_pem(), certificates.join("ca.crt"))?;
    symlink(
        actor("puller").join("svid.pem"),
        certificates.join("client.cert"),
    )?;
    symlink(
        actor("puller").join("svid_key.pem"),
        certificates.join("client.key"),
    )?;
    let decision = stage
        .thiefs_decision
        .as_deref()
        .context("row 6 left no decision")?;
    Ok(vec![
        format!(
            "curl -i --cacert {} --cert {}/svid.pem --key {}/svid_key.pem -H 'host: payments.acme.test' -X POST https://localhost:{}/v1/charges",
            layout.root_pem().display(),
            actor("frontend").display(),
            actor("frontend").display(),
            ports.envoy.port(),
        ),
        format!(
            "skopeo inspect --cert-dir {} docker://{}/prod/rogue:1.0",
            certificates.display(),
            stage.registry_host(),
        ),
        format!(
            "{} explain --admin {} {decision}",
            layout.bin("authz-service").display(),
            layout.authz_admin().display(),
        ),
    ])
}
