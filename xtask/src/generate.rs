//! `cargo xtask generate`: writes again what is generated, where a test holds it to its source.

use crate::run;

/// Writes the generated gRPC code and the reasons page.
///
/// # Errors
///
/// When a generator fails.
pub(crate) fn run() -> anyhow::Result<()> {
    run::step(
        "gRPC code",
        run::cargo()
            .args([
                "test",
                "--locked",
                "--package",
                "countersign-proto",
                "--test",
                "generated_current",
            ])
            .env("UPDATE_GENERATED", "1"),
    )
}
