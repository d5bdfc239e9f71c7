//! The embedded CA: signs with an intermediate that it reads from a directory, and reads again while running.

pub mod certificate;
pub mod directory;
pub mod error;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use daemon::{chain, clock::Clock};
use futures_util::future::{BoxFuture, FutureExt as _};
use identity::{spiffe_id::TrustDomain, x509_svid::Authority};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::{
    directory::{Directory, Loaded},
    error::CaError,
};
use super::{Authorities, IssueError, Issuer, SigningRequest};
use crate::metrics::Metrics;

/// The issuer of one machine. A directory that can no longer be read leaves the last good intermediate in use until its own end.
pub struct EmbeddedCa {
    directory: Directory,
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    loaded: watch::Sender<Arc<Loaded>>,
    authorities: watch::Sender<Arc<Authorities>>,
}

impl EmbeddedCa {
    /// Reads the directory for the first time.
    ///
    /// # Errors
    /// The directory has no usable intermediate of this trust domain at this time.
    pub fn open(
        directory: Directory,
        trust_domain: TrustDomain,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, CaError> {
        let loaded = Arc::new(directory.load(&trust_domain, clock.now())?);
        let authorities = Arc::new(loaded.authorities(&[], &loaded));
        if directory.has_root_key() {
            warn!(directory = %directory.path().display(), "the root's private key is on this machine; keep it offline");
        }
        Ok(Self {
            directory,
            trust_domain,
            clock,
            metrics,
            loaded: watch::Sender::new(loaded),
            authorities: watch::Sender::new(authorities),
        })
    }

    /// Reads the directory again every two seconds until stopped, and warns in time before the intermediate ends.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut look = Look::default();
        while stop
            .run_until_cancelled(tokio::time::sleep(REREAD))
            .await
            .is_some()
        {
            self.reload(&mut look);
            self.warn_in_time(&mut look.said);
        }
    }

    fn reload(&self, look: &mut Look) {
        match self.directory.load(&self.trust_domain, self.clock.now()) {
            Ok(read) => {
                look.said.broken = None;
                self.on_read(Arc::new(read), look);
            }
            Err(failure) => look.said.once_broken(&failure),
        }
    }

    /// A new intermediate is announced one look before it signs: a proxy hands on only the leaf, so whoever checks it must know the intermediate first.
    fn on_read(&self, read: Arc<Loaded>, look: &mut Look) {
        let signing = Arc::clone(&self.loaded.borrow());
        if signing.is_same(&read) {
            look.announced = None;
            return;
        }
        let announced = look
            .announced
            .take()
            .is_some_and(|announced| announced.is_same(&read));
        if announced || signing.authority().not_after <= self.clock.now() {
            info!(serial = %read.authority().serial, not_after = %rfc3339(read.authority().not_after), "intermediate in use");
            self.loaded.send_replace(Arc::clone(&read));
            self.announce(&read, &read);
        } else {
            self.announce(&read, &signing);
            look.announced = Some(read);
        }
    }

    /// Those before stay known until they end: what they signed is still in use.
    fn announce(&self, read: &Loaded, signing: &Loaded) {
        let now = self.clock.now();
        let live = |der: &&CertificateDer<'static>| {
            Authority::parse(der).is_ok_and(|authority| now < authority.not_after)
        };
        self.authorities.send_if_modified(|authorities| {
            let before: Vec<_> = authorities
                .intermediates
                .iter()
                .filter(live)
                .cloned()
                .collect();
            let after = read.authorities(&before, signing);
            let differs = **authorities != after;
            if differs {
                *authorities = Arc::new(after);
            }
            differs
        });
    }

    fn warn_in_time(&self, said: &mut Said) {
        let loaded = Arc::clone(&self.loaded.borrow());
        self.metrics
            .intermediate_left
            .set(i64::try_from(self.left().as_secs()).unwrap_or(i64::MAX));
        let level = Runway::of(
            loaded.authority().not_before,
            loaded.authority().not_after,
            self.clock.now(),
        );
        if said.runway.replace(level) == Some(level) {
            return;
        }
        let not_after = rfc3339(loaded.authority().not_after);
        match level {
            Runway::Enough => {}
            Runway::Short => {
                warn!(%not_after, "less than a third of the intermediate's life is left; run `cert-agent ca intermediate`");
            }
            Runway::Over => {
                error!(%not_after, "the intermediate has ended; no SVID can be issued; run `cert-agent ca intermediate`");
            }
        }
    }

    /// How much of the intermediate's life is left.
    pub fn left(&self) -> Duration {
        self.loaded
            .borrow()
            .authority()
            .not_after
            .duration_since(self.clock.now())
            .unwrap_or_default()
    }

    fn sign(&self, request: &SigningRequest) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let public_key = request.proven_key()?;
        let loaded = Arc::clone(&self.loaded.borrow());
        let leaf = certificate::leaf(
            request,
            public_key,
            loaded.signer(),
            loaded.authority(),
            self.clock.now(),
        )?;
        Ok(vec![leaf, loaded.intermediate().clone()])
    }
}

impl Issuer for EmbeddedCa {
    fn issue<'a>(
        &'a self,
        request: &'a SigningRequest,
    ) -> BoxFuture<'a, Result<Vec<CertificateDer<'static>>, IssueError>> {
        std::future::ready(self.sign(request)).boxed()
    }

    fn authorities(&self) -> watch::Receiver<Arc<Authorities>> {
        self.authorities.subscribe()
    }
}

impl std::fmt::Debug for EmbeddedCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedCa")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

/// How much of the intermediate's life is left, as an operator must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runway {
    Enough,
    Short,
    Over,
}

impl Runway {
    fn of(not_before: SystemTime, not_after: SystemTime, now: SystemTime) -> Self {
        let life = not_after.duration_since(not_before).unwrap_or_default();
        match not_after.duration_since(now) {
            Err(_past) => Self::Over,
            Ok(left) if left.is_zero() => Self::Over,
            Ok(left) if left < life / 3 => Self::Short,
            Ok(_) => Self::Enough,
        }
    }
}

/// What one look leaves for the next.
#[derive(Debug, Default)]
struct Look {
    announced: Option<Arc<Loaded>>,
    said: Said,
}

/// What was already logged: a state is told once, not every two seconds.
#[derive(Debug, Default)]
struct Said {
    broken: Option<String>,
    runway: Option<Runway>,
}

impl Said {
    fn once_broken(&mut self, failure: &CaError) {
        let text = chain(failure);
        if self.broken.as_ref() != Some(&text) {
            warn!(error = %text, "the CA directory cannot be used; keeping the last good intermediate");
            self.broken = Some(text);
        }
    }
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.to_string())
        .unwrap_or_default()
}

/// A timed look is the truth about a directory; change notices get lost.
const REREAD: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
