//! The bounded memory of peer certificates that were parsed and chained before.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use moka::sync::Cache;

use super::{Caller, Certificate, present};
use crate::denial::Denial;
use crate::ext_authz::request::RawCheck;
use crate::snapshot::Trust;

/// Certificates seen lately, by the very bytes of the field. An entry saves parsing and chaining again; it never outlives what it was
/// checked against. Refusals are not kept.
#[derive(Debug)]
pub struct Peers {
    known: Cache<Bytes, Arc<Known>>,
}

/// A certificate that chained at `checked`.
#[derive(Debug)]
struct Known {
    certificate: Certificate,
    /// `Trust::generation` it was checked against.
    trust: u64,
    checked: SystemTime,
    /// When something that may be on the path ends.
    ends: SystemTime,
}

impl Peers {
    /// Remembers at most `capacity` certificates.
    pub fn new(capacity: u64) -> Self {
        Self {
            known: Cache::new(capacity),
        }
    }

    /// Who the request comes from, at `now`.
    ///
    /// # Errors
    /// `identity-missing`, `-malformed`, `-ambiguous`, `-expired` or `-untrusted`.
    pub fn caller(
        &self,
        asked: &RawCheck,
        trust: &Trust,
        now: SystemTime,
    ) -> Result<Caller, Denial> {
        let field = present(asked)?;
        let known = match self
            .known
            .get(field)
            .filter(|known| known.holds(trust, now))
        {
            Some(known) => known,
            None => self.learn(field, &asked.principal, trust, now)?,
        };
        known.certificate.check_presented(&asked.principal, now)?;
        Ok(known.certificate.caller())
    }

    fn learn(
        &self,
        field: &[u8],
        principal: &[u8],
        trust: &Trust,
        now: SystemTime,
    ) -> Result<Arc<Known>, Denial> {
        let certificate = Certificate::parse(field)?;
        certificate.check_presented(principal, now)?;
        let ends = certificate.chain(trust, now)?;
        let known = Arc::new(Known {
            certificate,
            trust: trust.generation,
            checked: now,
            ends,
        });
        // A copy: the field is a slice of a whole request.
        self.known
            .insert(Bytes::copy_from_slice(field), Arc::clone(&known));
        Ok(known)
    }
}

impl Known {
    /// A clock that went back may have left what was valid when this was checked.
    fn holds(&self, trust: &Trust, now: SystemTime) -> bool {
        self.trust == trust.generation && self.checked <= now && now <= self.ends
    }
}
