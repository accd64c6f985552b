//! The URL of a proxy, as kubeconfigs (`proxy-url`) and the environment (`HTTPS_PROXY`) name it.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::secret::Secret;

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP CONNECT.
    Http,
    /// HTTP CONNECT, inside TLS.
    Https,
    /// SOCKS5, which is told names and looks them up itself.
    Socks5,
}

impl ProxyKind {
    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
        }
    }

    fn usual_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 => 1080,
        }
    }
}

/// A checked URL of a proxy: `http`, `https` or `socks5`, host, port, user and password. Shown without the last two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    text: Secret,
    kind: ProxyKind,
    host: String,
    port: u16,
    login: Option<Login>,
}

/// User and password for a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// User; may be empty.
    pub user: Secret,
    /// Password; may be empty.
    pub password: Secret,
}

impl ProxyUrl {
    /// Parses what `proxy-url` of a kubeconfig says; the error never quotes it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("proxy-url is not a URL; write http://HOST:PORT".to_owned());
        };
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "http" => ProxyKind::Http,
            "https" => ProxyKind::Https,
            "socks5" => ProxyKind::Socks5,
            _ => return Err("proxy-url must begin with http://, https:// or socks5://".to_owned()),
        };
        Self::new(text, kind, rest).map_err(|what| format!("proxy-url {what}"))
    }

    /// Parses what a variable of the environment says, where the scheme may be left out (`http` then); the error
    /// never quotes it.
    pub(crate) fn parse_lenient(text: &str) -> Result<Self, String> {
        let (kind, rest) = match text.split_once("://") {
            None => (ProxyKind::Http, text),
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "http" => (ProxyKind::Http, rest),
                "https" => (ProxyKind::Https, rest),
                "socks5" | "socks5h" => (ProxyKind::Socks5, rest),
                _ => return Err("must begin with http://, https:// or socks5://".to_owned()),
            },
        };
        Self::new(text, kind, rest)
    }

    fn new(text: &str, kind: ProxyKind, rest: &str) -> Result<Self, String> {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (login, place) = match rest[..end].rsplit_once('@') {
            Some((login, place)) => (Some(Login::parse(login)?), place),
            None => (None, &rest[..end]),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => rest
                .split_once(']')
                .ok_or("has a host with an opening bracket alone")?,
            None => place.split_at(place.find(':').unwrap_or(place.len())),
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err("names no host".to_owned());
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => kind.usual_port(),
            Some("") => kind.usual_port(),
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or("has a port that is no number from 1 to 65535")?,
            None => return Err("names no host".to_owned()),
        };
        Ok(Self {
            text: Secret::new(text.to_owned()),
            kind,
            host: host.to_owned(),
            port,
            login,
        })
    }

    /// How it is spoken to.
    pub fn kind(&self) -> ProxyKind {
        self.kind
    }

    /// Host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// User and password, if it names them.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// The whole text, password included: for a kubeconfig, never for people.
    pub(super) fn expose(&self) -> &str {
        self.text.expose()
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, String> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let decoded = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .map(|text| Secret::new(text.into_owned()))
                .map_err(|_| "has a user or password that is not UTF-8".to_owned())
        };
        Ok(Self {
            user: decoded(user)?,
            password: decoded(password)?,
        })
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.kind.scheme();
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_shown_without_its_password() {
        for (text, shown, login) in [
            ("http://p:3128", "http://p:3128", None),
            ("HTTP://p", "http://p:80", None),
            ("https://p/", "https://p:443", None),
            ("socks5://p", "socks5://p:1080", None),
            ("http://[fd00::9]:1", "http://[fd00::9]:1", None),
            ("http://p:/x?y", "http://p:80", None),
            ("http://u:s3cr3t@p:1", "http://p:1", Some(("u", "s3cr3t"))),
            (
                "http://u%40x:s3%3Acr@3t@p",
                "http://p:80",
                Some(("u@x", "s3:cr@3t")),
            ),
            ("socks5://u@p", "socks5://p:1080", Some(("u", ""))),
        ] {
            let url = ProxyUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
            let found = url.login().map(|l| (l.user.expose(), l.password.expose()));
            assert_eq!(found, login, "{text}");
            assert!(!format!("{url:?}").contains("s3"), "{url:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_text() {
        for (text, expected) in [
            ("s3cr3t", "is not a URL"),
            ("ftp://s3cr3t", "must begin with"),
            ("http://u:s3cr3t@", "names no host"),
            ("http://:1", "names no host"),
            ("http://p:99999", "has a port"),
            ("http://p:0", "has a port"),
            ("http://p:s3cr3t", "has a port"),
            ("http://[::1", "bracket"),
            ("http://u:%ff@p", "not UTF-8"),
        ] {
            let error = ProxyUrl::parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(
                error.starts_with("proxy-url ") && !error.contains("s3cr3t"),
                "{error}"
            );
        }
        // A kubeconfig's must be whole; the environment's need not be (net/http).
        ProxyUrl::parse("p:3128").unwrap_err();
        ProxyUrl::parse("socks5h://p").unwrap_err();
        for text in ["p:3128", "p", "socks5h://p"] {
            ProxyUrl::parse_lenient(text).unwrap();
        }
    }
}
