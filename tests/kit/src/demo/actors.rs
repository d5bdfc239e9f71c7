//! Who calls in the demo, and the certificate that each shows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use identity::x509_svid::chain_from_pem;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::tamper::Tamper;
use super::world::World;
use crate::forge::{self, Name};
use crate::wire::{self, Credentials};

/// The identity that every attacker is after.
pub const FRONTEND: &str = "spiffe://acme.test/ns/web/sa/frontend";
/// The identity that may pull.
pub const PULLER: &str = "spiffe://acme.test/node/node-1/puller";

/// The actors that act with a certificate in files, by name.
#[derive(Debug)]
pub struct Actors {
    roots: Vec<CertificateDer<'static>>,
    actors: BTreeMap<&'static str, Actor>,
}

/// One actor.
#[derive(Debug, Clone)]
pub struct Actor {
    /// What its certificate says.
    pub spiffe_id: &'static str,
    /// Its chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// What it must get: nothing, if it is hostile.
    pub must: Option<&'static str>,
}

impl Actors {
    /// Finds the holders' files and forges the attackers'.
    ///
    /// # Errors
    ///
    /// When files cannot be read or written.
    pub fn gather(world: &World) -> anyhow::Result<Self> {
        let roots = chain_from_pem(&read(&world.layout.root_pem())?)?;
        let base = world.layout.base().join("actors");
        let held = |name: &str, spiffe_id| at(&base.join(name), spiffe_id, None);
        let mut actors = BTreeMap::from([
            ("frontend", held("frontend", FRONTEND)),
            ("puller", held("puller", PULLER)),
        ]);
        for (name, shown) in [
            ("thief", Name::Uri(FRONTEND)),
            ("forger", Name::Dns(FRONTEND)),
        ] {
            let directory = world.layout.actor(name)?;
            let forged = forge::certificate(&world.layout.ca(), shown)?;
            std::fs::write(directory.join("svid.pem"), forged.chain_pem)?;
            std::fs::write(directory.join("svid_key.pem"), forged.key_pem)?;
            actors.insert(name, at(&directory, FRONTEND, Some("nothing")));
        }
        if world.tamper == Tamper::ThiefHasTheKey {
            actors.insert("thief", held("frontend", FRONTEND));
        }
        Ok(Self { roots, actors })
    }

    /// Each actor with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Actor)> {
        self.actors.iter().map(|(name, actor)| (*name, actor))
    }

    /// TLS as the actor `name`, with the certificate that its files hold now; as `nobody`, without one.
    ///
    /// # Errors
    ///
    /// When there is no such actor.
    pub fn client(&self, name: &str) -> anyhow::Result<Arc<ClientConfig>> {
        wire::client(&self.roots, self.credentials(name)?)
    }

    /// The same, refused within the handshake if it is refused.
    ///
    /// # Errors
    ///
    /// When there is no such actor.
    pub fn client_tls12(&self, name: &str) -> anyhow::Result<Arc<ClientConfig>> {
        wire::client_tls12(&self.roots, self.credentials(name)?)
    }

    fn credentials(&self, name: &str) -> anyhow::Result<Option<Credentials>> {
        if name == "nobody" {
            return Ok(None);
        }
        let actor = self
            .actors
            .get(name)
            .with_context(|| format!("no actor {name}"))?;
        let chain = chain_from_pem(&read(&actor.cert)?)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&actor.key)?).context("not a key")?;
        Ok(Some(Credentials { chain, key }))
    }
}

fn at(directory: &Path, spiffe_id: &'static str, must: Option<&'static str>) -> Actor {
    Actor {
        spiffe_id,
        cert: directory.join("svid.pem"),
        key: directory.join("svid_key.pem"),
        must,
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
