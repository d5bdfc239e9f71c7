use std::time::{Duration, UNIX_EPOCH};

use daemon::metrics::Registry;
use identity::public_key::SpkiHash;
use tokio::task::JoinSet;

use super::*;

fn feed() -> Feed {
    Feed::new(Metrics::new(&Registry::new()))
}

fn evidence(n: u8) -> FeedItem {
    FeedItem::Evidence {
        digest: evidence::digest::Digest::sha256_of(&[n]),
        evidence: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_replica_that_is_not_synced() {
    let feed = feed();
    let _apart = feed.add_replica();
    let before = Instant::now();
    feed.swapped_in(feed.tell(vec![evidence(1)])).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn handover_waits_until_the_replica_decides_by_the_change() {
    let feed = feed();
    let replica = feed.add_replica();
    replica.send_replace(Progress::At(0));
    let told = feed.tell(vec![evidence(1)]);
    let mut tasks = JoinSet::new();
    let waiting = feed.clone();
    tasks.spawn(async move { waiting.swapped_in(told).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        tasks.try_join_next().is_none(),
        "the replica has not answered"
    );
    replica.send_replace(Progress::At(told));
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(feed.0.metrics.feed_late.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn hanging_replica_holds_nobody_up_for_long_and_is_counted() {
    let feed = feed();
    let (hangs, also) = (feed.add_replica(), feed.add_replica());
    hangs.send_replace(Progress::At(0));
    also.send_replace(Progress::At(0));
    let before = Instant::now();
    feed.swapped_in(feed.tell(vec![evidence(1)])).await;
    assert_eq!(
        before.elapsed(),
        SWAP_DEADLINE,
        "two that hang take no longer than one"
    );
    assert_eq!(feed.0.metrics.feed_late.value(), 2);
}

#[tokio::test]
async fn state_and_changes_leave_nothing_between_them() {
    let feed = feed();
    feed.tell(vec![evidence(1)]);
    let (number, state, mut changes) = feed.state();
    assert_eq!((number, state), (1, vec![evidence(1)]));
    feed.tell(vec![evidence(2)]);
    let change = changes.recv().await.unwrap();
    assert_eq!(
        (change.number, &*change.items),
        (2, [evidence(2)].as_slice())
    );
}

#[test]
fn withdrawal_of_an_unknown_key_is_not_told() {
    let feed = feed();
    assert_eq!(
        feed.tell(vec![FeedItem::Withdrawn {
            spki: SpkiHash::of_spki_der(b"key")
        }]),
        0
    );
}

#[test]
fn binding_never_ends_after_our_own_chain() {
    let feed = feed();
    let hour = UNIX_EPOCH + Duration::from_hours(1);
    assert_eq!(feed.not_past_our_own(hour), hour);
    feed.own_ends(UNIX_EPOCH);
    assert_eq!(feed.not_past_our_own(hour), UNIX_EPOCH);
}
