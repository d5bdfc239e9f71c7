//! One world at a time, stopped whatever the test came to.

use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;

use futures_util::FutureExt as _;
use kit::demo::stage::Stage;
use kit::demo::tamper::Tamper;
use kit::demo::world::{Files, World};
use kit::otlp::Receiver;
use tokio::sync::Mutex;

/// What a test does with the running world.
type Play<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// Starts a world, hands it to the test, and stops it; its files stay only if the test fails.
pub(crate) async fn with_world(
    name: &str,
    play: impl for<'a> FnOnce(&'a mut Stage, &'a Receiver) -> Play<'a>,
) -> anyhow::Result<()> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut world = World::prepare(&kit::demo::base(name), Tamper::None)?;
    let spans = Receiver::listen(world.ports.otlp).await?;
    if let Err(error) = Box::pin(world.start(&mut |_| {})).await {
        world.stop(Files::Leave).await?;
        return Err(error);
    }
    let mut stage = Stage::set(world).map_err(|(error, _)| error)?;
    // A failed assertion must not leave programs behind.
    let played = AssertUnwindSafe(play(&mut stage, &spans))
        .catch_unwind()
        .await;
    let files = if matches!(played, Ok(Ok(()))) {
        Files::Remove
    } else {
        Files::Leave
    };
    stage.world.stop(files).await?;
    played.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Two worlds at once would share the uids of their programs.
pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
