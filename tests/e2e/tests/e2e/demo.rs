//! The demo's own table.

use kit::demo::{Afterwards, Run, Tamper, Verdict};

use crate::stage::ONE_AT_A_TIME;

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_demo_is_as_expected() -> anyhow::Result<()> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let results = Box::pin(kit::demo::run(Run {
        base: kit::demo::base("e2e-demo"),
        tamper: Tamper::None,
        afterwards: Afterwards::Stop,
        progress: &mut |_| {},
        row: &mut |_| {},
    }))
    .await?;
    let failed: Vec<_> = results
        .iter()
        .filter(|result| result.verdict == Verdict::Fail)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(results.len(), 16);
    Ok(())
}
