//! The way to a server through a proxy: which one, the tunnel, and what to say when there is none.
//!
//! A kubeconfig's `proxy-url` goes before the environment, and no `NO_PROXY` excepts from it, as
//! for client-go. The password of a proxy is never said.

mod rules;

use super::connect::Stream;
use super::failure::Failure;
use crate::kubeconfig::{Cluster, Login, ProxyKind, ProxyUrl};
use bytes::Bytes;
use http::Request;
use http::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error as _;
use std::net::IpAddr;
use std::{fmt, io};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

pub(crate) use rules::Environment;

/// Largest answer of a proxy to CONNECT.
const ANSWER_BYTES_MAX: usize = 8 << 10;

/// A proxy, and where it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) url: ProxyUrl,
    origin: Origin,
    /// `host:port` of the server behind it.
    server: String,
}

/// Where a proxy was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Kubeconfig,
    Variable(&'static str),
}

/// The proxy on the way to a cluster, if there is one.
pub(super) fn proxy_for(
    cluster: &Cluster,
    environment: &Environment,
) -> Result<Option<Proxy>, Failure> {
    let server = &cluster.server;
    let found = |url, origin| Proxy {
        url,
        origin,
        server: server.authority(),
    };
    if let Some(url) = &cluster.proxy {
        return Ok(Some(found(url.clone(), Origin::Kubeconfig)));
    }
    let Some(named) = environment.proxy_for(server.is_plain(), server.host(), server.port()) else {
        return Ok(None);
    };
    let variable = named.variable;
    match named.proxy {
        Ok(url) => Ok(Some(found(url, Origin::Variable(variable)))),
        Err(what) => Err(Failure::unreachable(format!(
            "{server}: the proxy that {variable} names cannot be used: it {what}; correct {variable}, or except {} by \
             NO_PROXY",
            server.host()
        ))),
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy {} ({})", self.url, self.origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubeconfig => f.write_str("proxy-url of the kubeconfig"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

impl Proxy {
    /// It could not be reached, for `why`.
    pub(super) fn unreachable(&self, why: &str) -> Failure {
        let otherwise = self.otherwise();
        Failure::unreachable(format!(
            "cannot use the {self}: {why}; see that it runs there and is to be trusted, correct its address, or {otherwise}"
        ))
    }

    /// Makes `stream`, connected to the proxy, a tunnel to the server.
    pub(super) async fn tunnel(
        &self,
        stream: Box<dyn Stream>,
        host: &str,
        port: u16,
    ) -> Result<Box<dyn Stream>, Failure> {
        let tunnel = match self.url.kind() {
            ProxyKind::Http | ProxyKind::Https => self.http_connect(stream).await,
            ProxyKind::Socks5 => self.socks5(stream, host, port).await,
        };
        tunnel.map_err(|refused| {
            Failure::unreachable(format!(
                "the {self} gives no tunnel to {}: {}",
                self.server,
                refused.text(self)
            ))
        })
    }

    /// What to do when this proxy is not wanted.
    fn otherwise(&self) -> String {
        let host = self.server.rsplit_once(':').map_or("", |(host, _)| host);
        match self.origin {
            Origin::Kubeconfig => "remove proxy-url".to_owned(),
            Origin::Variable(_) => {
                format!("except {} by NO_PROXY", host.trim_matches(['[', ']']))
            }
        }
    }

    /// RFC 9110 section 9.3.6. Bytes that come with the answer belong to the tunnel.
    async fn http_connect(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, Refused> {
        let mut request = Request::connect(&self.server)
            .header(HOST, &self.server)
            .header(USER_AGENT, super::USER_AGENT_TEXT);
        if let Some(login) = self.url.login() {
            let login = Zeroizing::new(super::headers::basic(login));
            request = request.header(PROXY_AUTHORIZATION, login.as_str());
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(ANSWER_BYTES_MAX)
            .title_case_headers(true)
            .handshake(TokioIo::new(stream))
            .await?;
        // Ends when the tunnel is made, or the sender and the answer are dropped; its errors reach
        // the request.
        tokio::spawn(connection.with_upgrades());
        let answer = sender.send_request(request).await?;
        if !answer.status().is_success() {
            return Err(Refused::Http(answer.status().as_u16()));
        }
        let tunnel = hyper::upgrade::on(answer).await?;
        Ok(Box::new(TokioIo::new(tunnel)))
    }

    /// RFC 1928, and RFC 1929 for user and password. Names are the proxy's to look up.
    async fn socks5(
        &self,
        mut stream: Box<dyn Stream>,
        host: &str,
        port: u16,
    ) -> Result<Box<dyn Stream>, Refused> {
        let methods: &[u8] = match self.url.login() {
            Some(_) => &[5, 2, 0, 2],
            None => &[5, 1, 0],
        };
        stream.write_all(methods).await?;
        stream.flush().await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        match (chosen, self.url.login()) {
            ([5, 0], _) => {}
            ([5, 2], Some(login)) => {
                let message = Zeroizing::new(socks_login(login)?);
                stream.write_all(&message).await?;
                stream.flush().await?;
                let mut verdict = [0; 2];
                stream.read_exact(&mut verdict).await?;
                if verdict[1] != 0 {
                    return Err(Refused::Login);
                }
            }
            ([5, _], _) => return Err(Refused::Login),
            _ => return Err(Refused::NotAProxy),
        }
        let mut request = vec![5, 1, 0];
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => {
                request.push(1);
                request.extend(address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(4);
                request.extend(address.octets());
            }
            Err(_) => {
                request.push(3);
                socks_text(&mut request, host)?;
            }
        }
        request.extend(port.to_be_bytes());
        stream.write_all(&request).await?;
        stream.flush().await?;
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        if head[0] != 5 {
            return Err(Refused::NotAProxy);
        }
        if head[1] != 0 {
            return Err(Refused::Socks(head[1]));
        }
        // The address it connects from, which nobody needs, and a port.
        let length = match head[3] {
            1 => 4,
            4 => 16,
            3 => usize::from(stream.read_u8().await?),
            _ => return Err(Refused::NotAProxy),
        };
        stream.read_exact(&mut vec![0; length + 2]).await?;
        Ok(stream)
    }
}

fn socks_login(login: &Login) -> Result<Vec<u8>, Refused> {
    let mut message = vec![1];
    socks_text(&mut message, login.user.expose())?;
    socks_text(&mut message, login.password.expose())?;
    Ok(message)
}

/// A text with its length before it.
fn socks_text(message: &mut Vec<u8>, text: &str) -> Result<(), Refused> {
    let length = u8::try_from(text.len()).map_err(|_| Refused::TooLong)?;
    message.push(length);
    message.extend(text.as_bytes());
    Ok(())
}

/// Why there is no tunnel.
enum Refused {
    /// Its answer to CONNECT.
    Http(u16),
    /// It wants a user and a password, or others.
    Login,
    /// What answers is not a proxy of this kind.
    NotAProxy,
    /// Its reply to a SOCKS request.
    Socks(u8),
    /// A name, user or password that SOCKS cannot carry.
    TooLong,
    /// The connection to it broke.
    Broken(io::Error),
}

impl From<hyper::Error> for Refused {
    fn from(error: hyper::Error) -> Self {
        let cause = error.source();
        // One error of hyper within another: it spoke before it was asked.
        let is_unasked = cause.is_some_and(|cause| cause.is::<hyper::Error>());
        if error.is_parse() || is_unasked {
            Self::NotAProxy
        } else if error.is_incomplete_message() || error.is_canceled() {
            Self::Broken(io::ErrorKind::UnexpectedEof.into())
        } else {
            Self::Broken(io::Error::other(error))
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Refused {
    fn text(&self, proxy: &Proxy) -> String {
        let otherwise = proxy.otherwise();
        let server = &proxy.server;
        match self {
            Self::Login | Self::Http(407) => match proxy.url.login() {
                None => format!(
                    "it wants a user and a password; write them into {} (USER:PASSWORD@ before the host), or {otherwise}",
                    proxy.origin
                ),
                Some(_) => format!(
                    "it does not take the user and password of {}; correct them there",
                    proxy.origin
                ),
            },
            Self::Http(code @ (403 | 405)) => {
                format!("it forbids it ({code}); have it allow CONNECT to {server}, or {otherwise}")
            }
            Self::Http(code @ (500 | 502..=504)) => format!(
                "it cannot reach the server itself ({code}); see to the way from there to {server}, or {otherwise}"
            ),
            Self::Http(code) => {
                format!("it answered {code}; see its log, or {otherwise}")
            }
            Self::NotAProxy => format!(
                "what answers there is no {} proxy; check host, port and scheme, or {otherwise}",
                match proxy.url.kind() {
                    ProxyKind::Http | ProxyKind::Https => "HTTP",
                    ProxyKind::Socks5 => "SOCKS5",
                }
            ),
            Self::Socks(code) => match code {
                2 => format!("it forbids it; have it allow {server}, or {otherwise}"),
                3..=6 => format!(
                    "it cannot reach the server itself ({}); see to the way from there to {server}, or {otherwise}",
                    match code {
                        3 => "network unreachable",
                        4 => "host unreachable",
                        5 => "connection refused",
                        _ => "time to live expired",
                    }
                ),
                code => format!("it failed (SOCKS reply {code}); see its log, or {otherwise}"),
            },
            Self::TooLong => {
                "SOCKS carries no name, user or password of more than 255 bytes".to_owned()
            }
            Self::Broken(error) if error.kind() == io::ErrorKind::UnexpectedEof => format!(
                "it closed the connection; check that it is a proxy of this kind and allows {server}, or {otherwise}"
            ),
            Self::Broken(error) => format!(
                "the connection to it broke: {}",
                everleaf_tls::chain_words(error)
            ),
        }
    }
}

#[cfg(test)]
mod tests;
