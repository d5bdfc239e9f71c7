//! The ports of one run: free ones, below those that the kernel gives to outgoing connections.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;

/// Every address of one run, by use.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Envoy's shipped listener.
    pub envoy: SocketAddr,
    /// Envoy's admin port.
    pub envoy_admin: SocketAddr,
    /// The listeners with one defence taken away, by name.
    pub extra: BTreeMap<String, SocketAddr>,
    /// Check over mTLS.
    pub check: SocketAddr,
    /// The feed.
    pub feed: SocketAddr,
    /// authz-service's health.
    pub authz_health: SocketAddr,
    /// cert-agent's health.
    pub agent_health: SocketAddr,
    /// The registry itself.
    pub registry: SocketAddr,
    /// The payments service itself.
    pub payments: SocketAddr,
    /// Where spans go.
    pub otlp: SocketAddr,
}

impl Ports {
    /// Picks free ports. authz-service must come back on its own port after it was killed, so the kernel's choice
    /// (port 0) will not do: it comes from the range of outgoing connections, one of which could take it meanwhile.
    ///
    /// # Errors
    ///
    /// When there are none.
    pub fn pick() -> anyhow::Result<Self> {
        let mut free = Free::new();
        let extra = ["plain-trusted-ca", "no-normalisation", "failure-mode-allow"];
        Ok(Self {
            envoy: free.next()?,
            envoy_admin: free.next()?,
            extra: extra
                .iter()
                .map(|name| Ok(((*name).to_owned(), free.next()?)))
                .collect::<anyhow::Result<_>>()?,
            check: free.next()?,
            feed: free.next()?,
            authz_health: free.next()?,
            agent_health: free.next()?,
            registry: free.next()?,
            payments: free.next()?,
            otlp: free.next()?,
        })
    }
}

/// Where to look next.
struct Free {
    port: u16,
    last: u16,
}

impl Free {
    /// Two runs at once begin at different places.
    fn new() -> Self {
        let offset = u16::try_from(std::process::id() % 90).unwrap_or_default() * 100;
        Self {
            port: FIRST + offset,
            last: FIRST + offset + 99,
        }
    }

    fn next(&mut self) -> anyhow::Result<SocketAddr> {
        while self.port < self.last {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            self.port += 1;
            if TcpListener::bind(address).is_ok() {
                return Ok(address);
            }
        }
        bail!("no free port between {FIRST} and 32000")
    }
}

/// Above the well-known ports, below the kernel's range for outgoing connections (32768).
const FIRST: u16 = 20_000;
