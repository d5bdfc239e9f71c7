//! `cargo xtask generate`: writes again what is generated, where a test holds it to its source.

use crate::run;

/// Writes the generated gRPC code and the reasons page.
///
/// # Errors
///
/// When a generator fails.
pub(crate) fn run() -> anyhow::Result<()> {
    written("gRPC code", "countersign-proto", "generated_current")?;
    written("the page of reasons", "countersign-policy", "reasons_page")
}

/// The test that holds a generated file to its source writes it when it is told to.
fn written(what: &str, package: &str, test: &str) -> anyhow::Result<()> {
    let mut command = run::cargo();
    command
        .args(["test", "--locked", "--package", package, "--test", test])
        .env("UPDATE_GENERATED", "1");
    run::step(what, &mut command)
}
