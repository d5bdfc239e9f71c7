//! Why the service could not start.

use std::io;
use std::path::PathBuf;

use artifact::InvalidRegistry;
use daemon::tls::TlsError;
use daemon::unix_socket::SocketError;

use crate::reload::bundles::NoBundle;
use crate::reload::policy::NoPolicy;

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No trust bundle to check anybody with.
    #[error(transparent)]
    Bundle(NoBundle),
    /// No policy to decide by.
    #[error(transparent)]
    Policy(NoPolicy),
    /// A registry cannot be set up.
    #[error("a registry cannot be set up")]
    Registry(#[source] InvalidRegistry),
    /// A registry's roots cannot be read.
    #[error("`{}` cannot be read", file.display())]
    RegistryRoots {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory of ours cannot be made.
    #[error("directory `{}` cannot be made", directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The record file cannot be written.
    #[error("record file `{}` cannot be opened", file.display())]
    Records {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The health address cannot be bound.
    #[error("the health address cannot be bound")]
    Health(#[source] io::Error),
    /// A TCP address cannot be bound.
    #[error(transparent)]
    Tls(TlsError),
    /// A unix socket cannot be bound.
    #[error(transparent)]
    Socket(SocketError),
    /// No thread for the Check path.
    #[error("the thread for Checks cannot be started")]
    Lane(#[source] io::Error),
    /// The file that says what was bound cannot be written.
    #[error("`{}` cannot be written", file.display())]
    Addresses {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    /// Whether the operator's files are what is wrong, and not the machine.
    pub const fn is_bad_input(&self) -> bool {
        match self {
            Self::Bundle(_) | Self::Policy(_) | Self::Registry(_) | Self::RegistryRoots { .. } => {
                true
            }
            Self::Directory { .. }
            | Self::Records { .. }
            | Self::Health(_)
            | Self::Tls(_)
            | Self::Socket(_)
            | Self::Lane(_)
            | Self::Addresses { .. } => false,
        }
    }
}
