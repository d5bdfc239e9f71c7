//! How many connections each untrusted proxy holds, so that none takes the places of the trusted.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ext_authz::service::{Connection, Proxy, Standing};

/// The connections of untrusted proxies, counted by proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(Arc<Mutex<HashMap<Proxy, usize>>>);

/// Leave to keep one connection. An untrusted proxy gives its place back when this is dropped.
#[derive(Debug)]
pub(super) enum Place {
    /// A trusted proxy's: the listener's own limit is the only one.
    Trusted,
    /// One of the few of an untrusted proxy.
    Counted(Strangers, Proxy),
}

impl Strangers {
    /// A place for the connection. `None` when its proxy is untrusted and has as many as it may.
    pub(super) fn place(&self, connection: &Connection) -> Option<Place> {
        match connection.standing {
            Standing::Trusted => Some(Place::Trusted),
            Standing::Untrusted => self.count(&connection.proxy),
        }
    }

    fn count(&self, proxy: &Proxy) -> Option<Place> {
        let mut held = self.0.lock();
        let held = held.entry(proxy.clone()).or_default();
        if *held >= MAX_CONNECTIONS {
            return None;
        }
        *held = held.saturating_add(1);
        Some(Place::Counted(self.clone(), proxy.clone()))
    }

    fn give_back(&self, proxy: &Proxy) {
        let mut held = self.0.lock();
        let left = held.get(proxy).map_or(0, |held| held.saturating_sub(1));
        if left == 0 {
            held.remove(proxy);
        } else {
            held.insert(proxy.clone(), left);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self {
            Self::Trusted => {}
            Self::Counted(strangers, proxy) => strangers.give_back(proxy),
        }
    }
}

/// 64 // a proxy that someone forgot to name holds one per worker, and must go on to hear `proxy-untrusted`.
pub(super) const MAX_CONNECTIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(uid: u32, standing: Standing) -> Connection {
        Connection {
            proxy: Proxy::Local { uid },
            standing,
        }
    }

    #[test]
    fn untrusted_proxy_has_a_few_places_and_gives_them_back() {
        let strangers = Strangers::default();
        let mut held: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| {
                strangers
                    .place(&connection(1, Standing::Untrusted))
                    .unwrap()
            })
            .collect();
        assert!(
            strangers
                .place(&connection(1, Standing::Untrusted))
                .is_none()
        );
        assert!(
            strangers
                .place(&connection(2, Standing::Untrusted))
                .is_some()
        );
        held.pop();
        held.push(
            strangers
                .place(&connection(1, Standing::Untrusted))
                .unwrap(),
        );
        assert!(
            strangers
                .place(&connection(1, Standing::Untrusted))
                .is_none()
        );
        drop(held);
        assert!(strangers.0.lock().is_empty(), "who left is forgotten");
    }

    #[test]
    fn trusted_proxy_is_not_counted() {
        let strangers = Strangers::default();
        let trusted = connection(1, Standing::Trusted);
        let held: Vec<_> = (0..=MAX_CONNECTIONS)
            .map(|_| strangers.place(&trusted).unwrap())
            .collect();
        assert!(strangers.0.lock().is_empty());
        drop(held);
    }
}
