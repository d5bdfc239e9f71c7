//! The sixteen rows, in the order in which they are run.

mod calls;
mod impostors;
mod outage;
mod programs;
mod pulls;
mod rotation;

use super::row::{Findings, Result, Row};
use super::stage::Stage;

/// Every row, in order.
pub const ROWS: [Row; 16] = [
    calls::SIGNED,
    calls::WITHOUT_A_RULE,
    programs::ROGUE,
    programs::ATTACKERS,
    calls::NOBODY,
    impostors::THIEF,
    impostors::FORGER,
    impostors::EXPLAINED,
    pulls::SIGNED,
    pulls::UNSIGNED,
    pulls::NOT_CANONICAL,
    pulls::BLOB,
    pulls::TAG_MOVED,
    outage::KILLED,
    outage::BACK,
    rotation::UNDER_LOAD,
];

/// Runs one row.
pub async fn run(row: Row, stage: &mut Stage) -> Result {
    let mut findings = Findings::default();
    let found = &mut findings;
    let ended = match row.number {
        1 => calls::signed(stage, found).await,
        2 => calls::without_a_rule(stage, found).await,
        3 => programs::rogue(stage, found).await,
        4 => programs::attackers(stage, found).await,
        5 => calls::nobody(stage, found).await,
        6 => impostors::thief(stage, found).await,
        7 => impostors::forger(stage, found).await,
        8 => impostors::explained(stage, found).await,
        9 => pulls::signed(stage, found).await,
        10 => pulls::unsigned(stage, found).await,
        11 => pulls::not_canonical(stage, found).await,
        12 => pulls::blob(stage, found).await,
        13 => pulls::tag_moved(stage, found).await,
        14 => outage::killed(stage, found).await,
        15 => outage::back(stage, found).await,
        16 => rotation::under_load(stage, found).await,
        other => Err(anyhow::anyhow!("there is no row {other}")),
    };
    findings.result(row, ended)
}
