//! The operator's roots: one PEM file for each trust domain, read again and again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use identity::spiffe_id::TrustDomain;
use identity::trust_bundle::{InvalidTrustBundle, TrustBundle, TrustBundles};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::snapshot::writer::{Command, Commands};

/// The files, and what they held last.
#[derive(Debug)]
pub struct BundleFiles {
    files: BTreeMap<TrustDomain, PathBuf>,
    bundles: watch::Sender<TrustBundles>,
    /// The last fault, so that it is told once.
    fault: Option<String>,
}

/// A root file that gives no bundle.
#[derive(Debug, thiserror::Error)]
pub enum NoBundle {
    /// The file cannot be read.
    #[error("trust bundle `{}` cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no bundle of that trust domain.
    #[error("`{}` is no trust bundle of `{trust_domain}`", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Whose bundle it should be.
        trust_domain: TrustDomain,
        /// Why.
        #[source]
        source: InvalidTrustBundle,
    },
}

impl BundleFiles {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// One of them gives no bundle: nobody's certificate could be checked.
    pub fn first(files: BTreeMap<TrustDomain, PathBuf>) -> Result<Self, NoBundle> {
        let bundles = read(&files)?;
        Ok(Self {
            files,
            bundles: watch::Sender::new(bundles),
            fault: None,
        })
    }

    /// What is in force, now and later.
    pub fn subscribe(&self) -> watch::Receiver<TrustBundles> {
        self.bundles.subscribe()
    }

    /// Puts every later set of good files in force, until `stop`.
    pub async fn run(mut self, commands: Commands, stop: CancellationToken) {
        let mut again = interval(INTERVAL);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(again.tick()).await.is_some() {
            if let Some(bundles) = self.changed()
                && commands.send(Command::Bundles(bundles)).await.is_err()
            {
                return;
            }
        }
    }

    fn changed(&mut self) -> Option<TrustBundles> {
        match read(&self.files) {
            Ok(bundles) => {
                self.fault = None;
                let changed = self.bundles.send_if_modified(|current| {
                    let differs = *current != bundles;
                    current.clone_from(&bundles);
                    differs
                });
                if changed {
                    info!("trust bundles in force were replaced");
                }
                changed.then_some(bundles)
            }
            Err(fault) => {
                let text = daemon::chain(&fault);
                if self.fault.as_ref() != Some(&text) {
                    error!(error = %text, "trust bundle cannot be used; the last good one stays");
                    self.fault = Some(text);
                }
                None
            }
        }
    }
}

fn read(files: &BTreeMap<TrustDomain, PathBuf>) -> Result<TrustBundles, NoBundle> {
    let bundle = |(trust_domain, file): (&TrustDomain, &PathBuf)| {
        let pem = std::fs::read(file).map_err(|source| NoBundle::Unreadable {
            file: file.clone(),
            source,
        })?;
        TrustBundle::from_pem(trust_domain.clone(), &pem).map_err(|source| NoBundle::Invalid {
            file: file.clone(),
            trust_domain: trust_domain.clone(),
            source,
        })
    };
    files.iter().map(bundle).collect()
}

/// 2 s // a timed re-read sees every kind of replacement, notifications do not.
const INTERVAL: Duration = Duration::from_secs(2);
