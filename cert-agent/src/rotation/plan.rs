//! When one SVID is renewed, retried, and over. PURE.

use std::time::{Duration, SystemTime};

/// The times of one SVID. Its jitter is drawn once: drawn again at every look, the spread collapses to a fraction of what was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    renew_at: SystemTime,
    not_after: SystemTime,
}

/// What the plan asks for at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing until then.
    Wait(Duration),
    /// A new SVID now; the old one still holds.
    Renew,
    /// The SVID is over: nothing may be handed out any more.
    Over,
}

impl Plan {
    /// Plans the renewal at the middle of the lifetime, moved by up to a tenth of the half-life either way as `draw` says.
    pub fn of(not_before: SystemTime, not_after: SystemTime, draw: Draw) -> Self {
        let lifetime = not_after.duration_since(not_before).unwrap_or_default();
        let half = lifetime / 2;
        let spread = half / SPREAD;
        let earliest = half.saturating_sub(spread);
        Self {
            renew_at: not_before + earliest + draw.share(spread * 2),
            not_after,
        }
    }

    /// Says what is due at `now`. Wall time is asked at each look, so a stepped clock or a suspended machine is planned anew.
    pub fn at(&self, now: SystemTime) -> Next {
        if now >= self.not_after {
            return Next::Over;
        }
        match self.renew_at.duration_since(now) {
            Ok(wait) if !wait.is_zero() => Next::Wait(wait),
            Ok(_) | Err(_) => Next::Renew,
        }
    }

    /// When the renewal is due.
    pub fn renew_at(&self) -> SystemTime {
        self.renew_at
    }
}

/// One draw of chance, made once per SVID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw(pub u16);

impl Draw {
    fn share(self, whole: Duration) -> Duration {
        whole / u32::from(u16::MAX) * u32::from(self.0)
    }
}

/// The renewal moves by at most this part of the half-life, so that SVIDs made together are not renewed together.
const SPREAD: u32 = 10;

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn second(count: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(count)
    }

    fn hour(draw: u16) -> Plan {
        Plan::of(UNIX_EPOCH, second(3600), Draw(draw))
    }

    #[test]
    fn renewal_lies_within_a_tenth_of_the_half_life() {
        assert_eq!(hour(0).renew_at(), second(1620));
        let latest = hour(u16::MAX)
            .renew_at()
            .duration_since(UNIX_EPOCH)
            .expect("after the epoch");
        assert!((1979..=1980).contains(&latest.as_secs()), "{latest:?}");
    }

    #[test]
    fn before_the_renewal_the_plan_waits() {
        assert_eq!(
            hour(0).at(second(1600)),
            Next::Wait(Duration::from_secs(20))
        );
    }

    #[test]
    fn at_the_renewal_the_plan_renews() {
        assert_eq!(hour(0).at(second(1620)), Next::Renew);
    }

    #[test]
    fn at_not_after_the_svid_is_over() {
        assert_eq!(hour(0).at(second(3599)), Next::Renew);
        assert_eq!(hour(0).at(second(3600)), Next::Over);
    }

    #[test]
    fn a_lifetime_that_ends_before_it_begins_is_over() {
        let plan = Plan::of(second(9), UNIX_EPOCH, Draw(7));
        assert_eq!(plan.at(second(9)), Next::Over);
    }

    proptest! {
        #[test]
        fn any_look_at_the_same_time_says_the_same(draw: u16, at in 0_u64..4000) {
            let now = UNIX_EPOCH + Duration::from_secs(at);
            prop_assert_eq!(hour(draw).at(now), hour(draw).at(now));
        }

        #[test]
        fn renewal_is_before_the_end(draw: u16, lifetime in 1_u64..10_000_000) {
            let end = UNIX_EPOCH + Duration::from_secs(lifetime);
            prop_assert!(Plan::of(UNIX_EPOCH, end, Draw(draw)).renew_at() < end);
        }
    }
}
