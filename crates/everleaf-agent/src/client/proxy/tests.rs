use super::Environment;
use crate::client::access::{Access, Identity};
use crate::client::connect::Stream;
use crate::client::{ApiClient, Failure, Transport};
use crate::clock::SystemClock;
use crate::kubeconfig::{ProxyUrl, ServerUrl};
use crate::testing::way::{Manner, Proxy};
use crate::testing::{self, Answerer, Ca, Server, hours, now};
use http::StatusCode;
use serde_json::json;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A server, and a way to it.
struct Stage {
    ca: Ca,
    server: Server,
}

impl Stage {
    async fn set() -> Self {
        let ca = Ca::new("ca");
        let credential = ca.server(now() - hours(1), now() + hours(1));
        let answerer: Answerer =
            Arc::new(|_| testing::json(StatusCode::OK, &json!({"kind": "Thing"})));
        let server = Server::start(&credential, answerer).await;
        Self { ca, server }
    }

    /// Asks by `proxy-url`, or by the environment.
    async fn ask(&self, url: Option<&str>, environment: Environment) -> Result<(), Failure> {
        self.ask_as("localhost", url, environment).await
    }

    async fn ask_as(
        &self,
        host: &str,
        url: Option<&str>,
        environment: Environment,
    ) -> Result<(), Failure> {
        let mut cluster = self.server.cluster(&self.ca);
        let server = format!("https://{host}:{}", self.server.address.port());
        cluster.server = ServerUrl::parse(&server).unwrap();
        cluster.tls_server_name = Some("localhost".to_owned());
        cluster.proxy = url.map(|url| ProxyUrl::parse(url).unwrap());
        let access = Access::new(Arc::new(cluster), Identity::Anonymous);
        let clock = Arc::new(SystemClock::new());
        let client = ApiClient {
            transport: Transport::with(clock, environment, true),
        };
        client.get(&access, "/x").await.map(drop)
    }

    fn is_asked(&self) -> usize {
        self.server.requests().len()
    }
}

#[tokio::test]
async fn every_kind_of_proxy_leads_to_the_server() {
    let stage = Stage::set().await;
    let tls = stage.ca.server(now() - hours(1), now() + hours(1));
    let none = Environment::default;
    for (manner, scheme, tls) in [
        (Manner::Connect, "http", None),
        (Manner::Connect, "https", Some(&tls)),
        (Manner::Socks5, "socks5", None),
    ] {
        for (login, wants_login) in [("", false), ("u:p%40ss@", true)] {
            let before = stage.is_asked();
            let proxy = Proxy::start(manner, wants_login, tls).await;
            let url = format!("{scheme}://{login}{}", proxy.address);
            stage.ask(Some(&url), none()).await.unwrap();
            assert_eq!(stage.is_asked(), before + 1, "{url}");
            // The proxy looks names up, not we.
            let target = format!("localhost:{}", stage.server.address.port());
            assert_eq!(*proxy.targets.lock().unwrap(), [target], "{url}");
        }
    }
}

#[tokio::test]
async fn the_environment_names_a_proxy_where_the_kubeconfig_names_none() {
    let stage = Stage::set().await;
    let proxy = Proxy::start(Manner::Socks5, false, None).await;
    let url = format!("socks5h://{}", proxy.address);
    let environment = |exceptions: &str| Environment::new("", &url, exceptions);
    let targets = || proxy.targets.lock().unwrap().len();
    // This host is not reached through it.
    stage.ask(None, environment("")).await.unwrap();
    stage
        .ask_as("127.0.0.1", None, environment(""))
        .await
        .unwrap();
    assert_eq!(targets(), 0);
    // This name of it is no name to the rules.
    stage
        .ask_as("LOCALHOST", None, environment(""))
        .await
        .unwrap();
    assert_eq!(targets(), 1);
    stage
        .ask_as("LOCALHOST", None, environment("localhost"))
        .await
        .unwrap();
    assert_eq!(targets(), 1);
    // Nothing is excepted from what the kubeconfig says.
    let other = Proxy::start(Manner::Connect, false, None).await;
    let said = format!("http://{}", other.address);
    stage
        .ask_as("LOCALHOST", Some(&said), environment("*"))
        .await
        .unwrap();
    assert_eq!((targets(), other.targets.lock().unwrap().len()), (1, 1));
}

/// A head longer than what is read.
const ENDLESS: &str = match std::str::from_utf8(&[b'a'; 2 * super::ANSWER_BYTES_MAX]) {
    Ok(text) => text,
    Err(_) => "",
};

/// How a proxy behaves, whether it wants a login; scheme and login in its URL; what is said.
const REFUSALS: &[(Manner, bool, &str, &str, &[&str])] = &[
    (
        Manner::Connect,
        true,
        "http",
        "",
        &["wants a user and a password", "USER:PASSWORD@"],
    ),
    (
        Manner::Connect,
        true,
        "http",
        "u:s3cr3t@",
        &["does not take the user and password"],
    ),
    (
        Manner::Socks5,
        true,
        "socks5",
        "",
        &["wants a user and a password"],
    ),
    (
        Manner::Socks5,
        true,
        "socks5",
        "u:s3cr3t@",
        &["does not take the user and password"],
    ),
    (
        Manner::Answers("HTTP/1.1 403 Forbidden\r\n\r\n"),
        false,
        "http",
        "",
        &["forbids it (403)", "allow CONNECT to localhost:"],
    ),
    (
        Manner::Answers("HTTP/1.1 502 Bad Gateway\r\n\r\n"),
        false,
        "http",
        "",
        &["cannot reach the server itself (502)"],
    ),
    (
        Manner::Answers("HTTP/1.0 404 Not Found\r\n\r\n"),
        false,
        "http",
        "",
        &["answered 404"],
    ),
    (
        Manner::Answers("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n"),
        false,
        "http",
        "",
        &["forbids it (403)"],
    ),
    (
        Manner::Answers(ENDLESS),
        false,
        "http",
        "",
        &["no HTTP proxy"],
    ),
    (
        Manner::Answers("nonsense\r\n\r\n"),
        false,
        "http",
        "",
        &["no HTTP proxy"],
    ),
    (
        Manner::Answers(""),
        false,
        "http",
        "",
        &["closed the connection"],
    ),
    (Manner::Socks5, false, "http", "", &["gives no tunnel"]),
    (
        Manner::Socks5Replies(2),
        false,
        "socks5",
        "",
        &["forbids it"],
    ),
    (
        Manner::Socks5Replies(5),
        false,
        "socks5",
        "",
        &["cannot reach the server itself (connection refused)"],
    ),
    (
        Manner::Socks5Replies(9),
        false,
        "socks5",
        "",
        &["SOCKS reply 9"],
    ),
];

/// Which proxy, where it was named, what failed, what next; never its password.
#[tokio::test]
async fn a_proxy_that_fails_is_told_with_what_to_do() {
    let stage = Stage::set().await;
    for (manner, wants_login, scheme, login, expected) in REFUSALS {
        let proxy = Proxy::start(*manner, *wants_login, None).await;
        let url = format!("{scheme}://{login}{}", proxy.address);
        let shown = format!("the proxy {scheme}://{} ", proxy.address);
        let by_kubeconfig = stage.ask(Some(&url), Environment::default()).await;
        let by_variable = stage
            .ask_as("LOCALHOST", None, Environment::new("", &url, ""))
            .await;
        for (failure, origin) in [
            (by_kubeconfig.unwrap_err(), "(proxy-url of the kubeconfig)"),
            (by_variable.unwrap_err(), "(HTTPS_PROXY)"),
        ] {
            let text = failure.message.to_lowercase();
            for part in expected.iter().copied().chain([&*shown, origin]) {
                assert!(
                    text.contains(&part.to_lowercase()),
                    "{failure} lacks {part:?}"
                );
            }
            assert!(!text.contains("s3cr3t"), "{failure}");
        }
    }
    assert_eq!(stage.is_asked(), 0);
}

#[tokio::test]
async fn a_proxy_that_is_not_there_or_not_trusted_is_told() {
    let stage = Stage::set().await;
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let url = format!("http://{gone}");
    let failure = stage
        .ask(Some(&url), Environment::default())
        .await
        .unwrap_err();
    for part in [
        "cannot use the proxy",
        &url,
        "proxy-url of the kubeconfig",
        "remove proxy-url",
    ] {
        assert!(failure.message.contains(part), "{failure} lacks {part:?}");
    }
    let environment = Environment::new("", &url, "");
    let failure = stage
        .ask_as("LOCALHOST", None, environment)
        .await
        .unwrap_err();
    assert!(
        failure.message.contains("except LOCALHOST by NO_PROXY"),
        "{failure}"
    );
    let stranger = Ca::new("other").server(now() - hours(1), now() + hours(1));
    let proxy = Proxy::start(Manner::Connect, false, Some(&stranger)).await;
    let url = format!("https://{}", proxy.address);
    let failure = stage
        .ask(Some(&url), Environment::default())
        .await
        .unwrap_err();
    assert!(
        failure
            .message
            .contains("this host or the kubeconfig trusts"),
        "{failure}"
    );
    let odd = Environment::new("", "ftp://s3cr3t", "");
    let failure = stage.ask_as("LOCALHOST", None, odd).await.unwrap_err();
    assert!(failure.message.contains("HTTPS_PROXY"), "{failure}");
    assert!(!failure.message.contains("s3cr3t"), "{failure}");
}

fn with_login() -> super::Proxy {
    super::Proxy {
        url: ProxyUrl::parse("http://u:p@proxy:3128").unwrap(),
        origin: super::Origin::Kubeconfig,
        server: "[::1]:6443".to_owned(),
    }
}

#[tokio::test]
async fn what_speaks_before_it_is_asked_is_no_proxy() {
    let (near, mut far) = tokio::io::duplex(1 << 10);
    far.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    let tunnel = with_login().tunnel(Box::new(near), "::1", 6443).await;
    let failure = tunnel.err().unwrap();
    assert!(failure.message.contains("no HTTP proxy"), "{failure}");
}

/// A way through a proxy, whose other end gives `answer` once it has been asked; and what it was
/// asked.
async fn tunnel(answer: &str) -> (Box<dyn Stream>, DuplexStream, String) {
    let (near, mut far) = tokio::io::duplex(1 << 10);
    let proxy = with_login();
    let other_end = async {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(far.read_u8().await.unwrap());
        }
        far.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    };
    let (tunnel, asked) = tokio::join!(proxy.tunnel(Box::new(near), "::1", 6443), other_end);
    (tunnel.unwrap(), far, asked)
}

#[tokio::test]
async fn what_comes_with_the_answer_belongs_to_the_tunnel() {
    // RFC 9110 section 9.3.6: any 2xx, and no body whatever it says.
    let answer = "HTTP/1.0 201 Made\r\nContent-Length: 2\r\n\r\nearly";
    let (mut tunnel, mut far, asked) = tunnel(answer).await;
    let expected = format!(
        "CONNECT [::1]:6443 HTTP/1.1\r\nHost: [::1]:6443\r\nUser-Agent: {}\r\n\
         Proxy-Authorization: Basic dTpw\r\n\r\n",
        crate::client::USER_AGENT_TEXT
    );
    assert_eq!(asked, expected);
    let mut read = [0; 5];
    tunnel.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"early");
    tunnel.write_all(b"mine").await.unwrap();
    drop(tunnel);
    let mut written = String::new();
    far.read_to_string(&mut written).await.unwrap();
    assert_eq!(written, "mine");
}

/// What fails behind a proxy says that there is one.
#[tokio::test]
async fn a_refused_server_behind_a_proxy_names_both() {
    let mut stage = Stage::set().await;
    stage.ca = Ca::new("other");
    let anybody = Proxy::start(Manner::Connect, false, None).await;
    let url = format!("http://{}", anybody.address);
    let failure = stage
        .ask(Some(&url), Environment::default())
        .await
        .unwrap_err();
    for part in [
        "not signed by an authority",
        "reached through the proxy",
        &url,
    ] {
        assert!(failure.message.contains(part), "{failure} lacks {part:?}");
    }
}
