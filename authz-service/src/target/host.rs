//! The host that was asked for, in its one canonical form.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A host without its port: a name in lower case without a trailing dot, or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(Arc<str>);

impl Host {
    /// Reads a host that has no port.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        match text.strip_prefix('[') {
            Some(rest) => check_address(rest)?,
            None => check_name(text)?,
        }
        Ok(Self(text.into()))
    }

    /// Reads a host that may have a port, which is left out: rules are about hosts.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn without_port(text: &str) -> Result<Self, InvalidHost> {
        match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let digits = !port.is_empty()
                    && port.bytes().all(|byte| byte.is_ascii_digit())
                    && !port.starts_with('0');
                if !digits || port.parse::<u16>().is_err() {
                    return Err(InvalidHost::Port);
                }
                Self::parse(host)
            }
            Some(_) | None => Self::parse(text),
        }
    }

    /// The name or address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Host {
    type Error = InvalidHost;

    fn try_from(text: String) -> Result<Self, InvalidHost> {
        Self::parse(&text)
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.as_str().to_owned()
    }
}

/// The text is not a host in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// It has upper-case letters, which another reader may fold.
    #[error("the host is not in lower case")]
    UpperCase,
    /// It ends in a dot, or has an empty label.
    #[error("the host has an empty label, or ends in a dot")]
    EmptyLabel,
    /// It has a character that no host has, such as the `@` of user information.
    #[error("the host has a character that no host has")]
    Character,
    /// It is longer than a host name can be.
    #[error("the host is longer than {MAX_HOST_BYTES} bytes")]
    TooLong,
    /// What follows the colon is not a port.
    #[error("the host's port is not a number without leading zeros")]
    Port,
}

fn check_name(text: &str) -> Result<(), InvalidHost> {
    if text.len() > MAX_HOST_BYTES {
        return Err(InvalidHost::TooLong);
    }
    text.bytes().try_for_each(|byte| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => Ok(()),
        b'A'..=b'Z' => Err(InvalidHost::UpperCase),
        _ => Err(InvalidHost::Character),
    })?;
    if text.split('.').any(str::is_empty) {
        Err(InvalidHost::EmptyLabel)
    } else {
        Ok(())
    }
}

fn check_address(rest: &str) -> Result<(), InvalidHost> {
    let inner = rest.strip_suffix(']').ok_or(InvalidHost::Character)?;
    let address: std::net::Ipv6Addr = inner
        .parse()
        .map_err(|_not_an_address| InvalidHost::Character)?;
    // One address has many spellings; this is the one of RFC 5952.
    if address.to_string() == inner {
        Ok(())
    } else {
        Err(InvalidHost::Character)
    }
}

/// RFC 1035 §2.3.4, less the root label.
const MAX_HOST_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_port_and_nothing_else() {
        for (text, host) in [
            ("payments.acme.test", "payments.acme.test"),
            ("registry.acme.test:443", "registry.acme.test"),
            ("localhost:5000", "localhost"),
            ("127.0.0.1:8443", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::1]:5000", "[::1]"),
            ("a_b-c.d", "a_b-c.d"),
        ] {
            assert_eq!(
                Host::without_port(text).map(|host| host.to_string()),
                Ok(host.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn each_rule_refuses() {
        let long = "a".repeat(MAX_HOST_BYTES + 1);
        for (text, refused) in [
            ("Registry.Example.COM", InvalidHost::UpperCase),
            ("registry.example.com.", InvalidHost::EmptyLabel),
            ("registry..com", InvalidHost::EmptyLabel),
            ("", InvalidHost::EmptyLabel),
            (":80", InvalidHost::EmptyLabel),
            ("a@b", InvalidHost::Character),
            ("user:pw@b", InvalidHost::Port),
            ("a b", InvalidHost::Character),
            ("a,b", InvalidHost::Character),
            ("a/b", InvalidHost::Character),
            ("a%2e", InvalidHost::Character),
            ("caf\u{e9}", InvalidHost::Character),
            ("::1", InvalidHost::Character),
            ("[::1", InvalidHost::Character),
            ("[0:0::1]", InvalidHost::Character),
            ("[::1]x", InvalidHost::Port),
            ("a:", InvalidHost::Port),
            ("a:080", InvalidHost::Port),
            ("a:0", InvalidHost::Port),
            ("a:65536", InvalidHost::Port),
            ("a:1x", InvalidHost::Port),
            (long.as_str(), InvalidHost::TooLong),
        ] {
            assert_eq!(Host::without_port(text), Err(refused), "{text}");
        }
    }

    #[test]
    fn deserialized_host_is_checked() {
        assert!(serde_json::from_str::<Host>("\"a.test\"").is_ok());
        assert!(serde_json::from_str::<Host>("\"A.test\"").is_err());
    }
}
