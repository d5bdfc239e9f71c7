//! When a Check must be answered: before the proxy stops waiting, never after.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// The deadline of a Check that arrived at `now`: the proxy's `grpc-timeout`, less what the answer's way back takes.
pub(super) fn of(metadata: &HeaderMap, now: Instant) -> Instant {
    let timeout = metadata
        .get("grpc-timeout")
        .and_then(|value| parse(value.as_bytes()));
    let wait = timeout.map_or(DEFAULT_DEADLINE, |timeout| {
        // A proxy that waits less than twice the margin still gets half of its time.
        timeout
            .saturating_sub(MARGIN)
            .max(timeout / 2)
            .min(MAX_DEADLINE)
    });
    now.checked_add(wait).unwrap_or(now)
}

/// SPEC(gRPC over HTTP/2): at most eight digits and a unit.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => count.checked_mul(3600).map(Duration::from_secs),
        b'M' => count.checked_mul(60).map(Duration::from_secs),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// 20 ms // the way back and the proxy's own work; past its deadline the proxy takes no answer for an error of ours.
const MARGIN: Duration = Duration::from_millis(20);
/// 150 ms // only without grpc-timeout; Envoy's default is 200 ms.
const DEFAULT_DEADLINE: Duration = Duration::from_millis(150);
/// 15 s // what waits holds a slot, and no proxy we know waits longer: the shipped Envoy gives a pull 10 s.
const MAX_DEADLINE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(timeout: &str) -> Duration {
        let now = Instant::now();
        of(
            &HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                timeout.parse().unwrap(),
            )]),
            now,
        ) - now
    }

    #[test]
    fn deadline_is_the_proxys_less_the_margin() {
        for (timeout, millis) in [
            ("250m", 230),
            ("1S", 980),
            ("500000u", 480),
            ("10000000n", 5),
            ("30m", 15),
            ("2m", 1),
        ] {
            assert_eq!(wait(timeout), Duration::from_millis(millis), "{timeout}");
        }
    }

    #[test]
    fn longest_wait_is_bounded() {
        for timeout in ["99999999H", "2M", "16S"] {
            assert_eq!(wait(timeout), MAX_DEADLINE, "{timeout}");
        }
    }

    #[test]
    fn missing_and_malformed_timeouts_are_the_default() {
        let now = Instant::now();
        assert_eq!(of(&HeaderMap::new(), now) - now, DEFAULT_DEADLINE);
        for timeout in ["", "m", "1", "1x", "-1m", "123456789m", "1.5S", "250 m"] {
            assert_eq!(wait(timeout), DEFAULT_DEADLINE, "{timeout}");
        }
    }
}
