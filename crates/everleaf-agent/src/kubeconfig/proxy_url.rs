//! The URL of a proxy, as kubeconfigs (`proxy-url`) and the environment (`HTTPS_PROXY`) name it.

use crate::secret::Secret;
use percent_encoding::percent_decode_str;
use std::fmt;

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
    fn usual_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 => 1080,
        }
    }
}

/// A checked URL of a proxy: `http`, `https` or `socks5`, host, port, user and password. Shown
/// without the last two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    text: Secret,
    /// As it is shown.
    scheme: &'static str,
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
        match known_scheme(scheme) {
            Some(known) if known.0 != SOCKS5H.0 => Self::new(text, known, rest),
            _ => Err("must begin with http://, https:// or socks5://".to_owned()),
        }
        .map_err(|what| format!("proxy-url {what}"))
    }

    /// Parses what a variable of the environment says, where the scheme may be left out (`http`
    /// then); the error never quotes it.
    pub(crate) fn parse_lenient(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::new(text, ("http", ProxyKind::Http), text);
        };
        let known = known_scheme(scheme).ok_or("must begin with http://, https:// or socks5://")?;
        Self::new(text, known, rest)
    }

    fn new(
        text: &str,
        (scheme, kind): (&'static str, ProxyKind),
        rest: &str,
    ) -> Result<Self, String> {
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
        if host.is_empty() || host.contains(char::is_whitespace) || !has_whole_escapes(host) {
            return Err("names no host".to_owned());
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => kind.usual_port(),
            Some("") => kind.usual_port(),
            Some(digits) => match digits.parse() {
                Ok(0) | Err(_) if login.is_none() && rest[end..].contains('@') => {
                    return Err(
                        "has a / ? or # before its @: in a user or password these are \
                                written %2F, %3F and %23"
                            .to_owned(),
                    );
                }
                Ok(0) | Err(_) => {
                    return Err("has a port that is no number from 1 to 65535".to_owned());
                }
                Ok(port) => port,
            },
            None => return Err("names no host".to_owned()),
        };
        Ok(Self {
            text: Secret::new(text.to_owned()),
            scheme,
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
            if !has_whole_escapes(text) {
                return Err(
                    "has a % in its user or password that begins no escape; write %25 for it"
                        .to_owned(),
                );
            }
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

/// Its name says that names are looked up by the proxy, which is so for `socks5`, too.
const SOCKS5H: (&str, ProxyKind) = ("socks5h", ProxyKind::Socks5);

fn known_scheme(scheme: &str) -> Option<(&'static str, ProxyKind)> {
    [
        ("http", ProxyKind::Http),
        ("https", ProxyKind::Https),
        ("socks5", ProxyKind::Socks5),
        SOCKS5H,
    ]
    .into_iter()
    .find(|(known, _)| scheme.eq_ignore_ascii_case(known))
}

/// Whether two hexadecimal digits follow each percent sign (Go: `net/url`, `unescape`).
fn has_whole_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        rest.as_bytes()
            .get(..2)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme;
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
            ("http://u:s3cr3t%zz@p:1", "%25"),
            ("http://u%:s3cr3t@p:1", "%25"),
            ("http://u:s3cr3t%2@p:1", "%25"),
            ("http://u:s3cr#3t@p:1", "%23"),
            ("http://u:s3cr/3t@p:1", "%2F"),
            ("http://p%zz:1", "names no host"),
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
        for (text, shown) in [
            ("p:3128", "http://p:3128"),
            ("p", "http://p:80"),
            ("SOCKS5H://p", "socks5h://p:1080"),
        ] {
            let url = ProxyUrl::parse_lenient(text).unwrap();
            assert_eq!(url.to_string(), shown);
        }
    }
}
