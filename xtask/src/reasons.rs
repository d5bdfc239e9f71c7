//! Placeholder until its owner writes it.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {}
pub(crate) fn run(_arguments: &Arguments) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not built yet")
}
