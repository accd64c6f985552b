//! Where a member listens.

use std::fmt;
use std::str::FromStr;

/// The port that etcd serves its clients at.
const PORT: u16 = 2379;

/// The address of one member, as `--etcd-servers` has it: `https://10.0.0.1:2379`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// TLS, or plain HTTP/2.
    pub is_tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Not the address of a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the address of an etcd member; it looks like https://10.0.0.1:2379, or http:// where it has no TLS"
)]
pub struct BadEndpoint(String);

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let bad = || BadEndpoint(text.to_owned());
        let uri: http::Uri = text.trim().parse().map_err(|_| bad())?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?;
        if !uri.path().trim_end_matches('/').is_empty() || uri.query().is_some() {
            return Err(bad());
        }
        // A port that is none is no error to the parser.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let port = match authority.strip_prefix(host).ok_or_else(bad)? {
            "" => PORT,
            rest => {
                let port = rest.strip_prefix(':').and_then(|port| port.parse().ok());
                port.filter(|port| *port > 0).ok_or_else(bad)?
            }
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
        })
    }
}

impl Endpoint {
    /// `host:port`, an IPv6 address in brackets.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        let check = |text: &str, shown: &str| {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
        };
        check("https://10.0.0.1:2379", "https://10.0.0.1:2379");
        check(" http://etcd.example/ ", "http://etcd.example:2379");
        check("https://[fd00::1]:4001", "https://[fd00::1]:4001");
        for bad in [
            "",
            "10.0.0.1:2379",
            "ftp://a:1",
            "https://",
            "https://a/b",
            "https://a:x",
            "https://a:0",
            "https://u@a:1",
        ] {
            let error = bad.parse::<Endpoint>().unwrap_err();
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
    }
}
