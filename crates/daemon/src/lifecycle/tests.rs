use std::future::pending;

use super::*;

const LONG: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn parts_that_end_after_the_stop_are_clean() {
    let lifecycle = Lifecycle::new();
    let stop = lifecycle.token();
    lifecycle.spawn("part", async move { stop.cancelled().await });
    lifecycle.stop();
    assert_eq!(lifecycle.drain(LONG).await, Outcome::Clean);
}

#[tokio::test(start_paused = true)]
async fn part_that_ends_early_stops_the_program() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn("early", async {});
    assert_eq!(
        lifecycle.drain(LONG).await,
        Outcome::Failed { part: "early" }
    );
}

#[tokio::test(start_paused = true)]
async fn part_that_panics_stops_the_program() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn("broken", async { panic!("on purpose") });
    assert_eq!(
        lifecycle.drain(LONG).await,
        Outcome::Failed { part: "broken" }
    );
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_is_no_reason_to_stop() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn_brief("connection", async {});
    tokio::task::yield_now().await;
    assert!(!lifecycle.token().is_cancelled());
    lifecycle.stop();
    assert_eq!(lifecycle.drain(LONG).await, Outcome::Clean);
}

#[tokio::test(start_paused = true)]
async fn work_that_panics_is_remembered_but_does_not_stop_the_program() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn_brief("connection", async { panic!("on purpose") });
    tokio::task::yield_now().await;
    assert!(!lifecycle.token().is_cancelled());
    lifecycle.stop();
    assert_eq!(
        lifecycle.drain(LONG).await,
        Outcome::Failed { part: "connection" }
    );
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_what_is_in_flight() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn_brief("request", tokio::time::sleep(Duration::from_secs(5)));
    lifecycle.stop();
    assert_eq!(lifecycle.drain(LONG).await, Outcome::Clean);
}

#[tokio::test(start_paused = true)]
async fn task_that_does_not_end_is_forced_at_the_deadline() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn("stuck", pending());
    lifecycle.stop();
    assert_eq!(
        lifecycle.drain(Duration::from_secs(5)).await,
        Outcome::Forced
    );
    assert!(lifecycle.tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn hard_stop_ends_the_wait_before_the_deadline() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn("stuck", pending());
    lifecycle.stop();
    lifecycle.hard_stop.cancel();
    let started = tokio::time::Instant::now();
    assert_eq!(lifecycle.drain(LONG).await, Outcome::Forced);
    assert!(started.elapsed() < Duration::from_secs(5));
}
