//! Against real servers on loopback: DNS over UDP and TCP, kubelets over TLS.

use super::*;
use domain::base::iana::Class;
use domain::base::name::ToLabelIter;
use domain::base::{Message, MessageBuilder};
use domain::rdata::{A, Aaaa, Cname};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::net::{Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

/// What a server says, by the first label of the name; `None`: nothing.
fn reply(query: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
    let query = Message::from_octets(query.to_vec()).ok()?;
    let question = query.sole_question().ok()?;
    let name: Name<Vec<u8>> = question.qname().to_string().parse().ok()?;
    let label = name.iter_labels().next()?.to_string();
    let is_v4 = question.qtype() == Rtype::A;
    let code = match &*label {
        "absent" => Rcode::NXDOMAIN,
        "failing" => Rcode::SERVFAIL,
        "refused" => Rcode::REFUSED,
        "half" if !is_v4 => Rcode::SERVFAIL,
        "silent" => return None,
        _ => Rcode::NOERROR,
    };
    let mut answer = MessageBuilder::new_vec().start_answer(&query, code).ok()?;
    answer.header_mut().set_ra(true);
    if label == "long" && !is_tcp {
        answer.header_mut().set_tc(true);
        return Some(answer.finish());
    }
    let other: Name<Vec<u8>> = "other.example".parse().ok()?;
    let owner = match &*label {
        "alias" => {
            answer
                .push((&name, Class::IN, 60, Cname::new(other.clone())))
                .ok()?;
            other
        }
        // Said of another name than what was asked for.
        "stray" => other,
        _ => name,
    };
    match (&*label, is_v4) {
        ("empty" | "absent" | "failing" | "refused", _) | ("v4", false) | ("v6", true) => {}
        (_, true) => answer.push((owner, Class::IN, 60, A::new(V4))).ok()?,
        (_, false) => answer.push((owner, Class::IN, 60, Aaaa::new(V6))).ok()?,
    }
    Some(answer.finish())
}

/// A server that lives as long as the test's runtime.
async fn name_server() -> SocketAddr {
    let tcp = TcpListener::bind(ANY).await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        loop {
            let (length, from) = udp.recv_from(&mut bytes).await.unwrap();
            if let Some(answer) = reply(&bytes[..length], false) {
                udp.send_to(&answer, from).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            while let Ok(length) = stream.read_u16().await {
                let mut bytes = vec![0; usize::from(length)];
                stream.read_exact(&mut bytes).await.unwrap();
                let answer = reply(&bytes, true).unwrap();
                stream
                    .write_u16(answer.len().try_into().unwrap())
                    .await
                    .unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    address
}

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// What is seen of names, in words: addresses, and what is wrong.
async fn seen(names: &[&str], server: SocketAddr, patience: Duration) -> Vec<String> {
    let names: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
    let look = Look::Names {
        names: names.clone(),
        servers: vec![server],
        timeout: patience,
    };
    let Saw::Names(found) = have(&look, Timestamp::UNIX_EPOCH).await else {
        panic!("not names");
    };
    assert!(found.keys().eq(&names), "{found:?}");
    let words = found.into_iter().map(|(name, resolved)| {
        let mut words = vec![name];
        words.extend(resolved.addresses.iter().map(IpAddr::to_string));
        words.extend(resolved.is_absent.then(|| "absent".to_owned()));
        words.extend(resolved.trouble);
        words.join(" ")
    });
    words.collect()
}

#[tokio::test]
async fn dns_tells_what_there_is_from_what_it_cannot_tell() {
    let server = name_server().await;
    let patience = Duration::from_secs(1);
    let names = [
        "absent.example",
        "alias.example",
        "both.example",
        "empty.example",
        "failing.example",
        "half.example",
        "long.example",
        "refused.example",
        "stray.example",
        "v4.example",
        "v6.example",
    ];
    let expected = [
        "absent.example absent",
        "alias.example 10.0.0.1 fd00::1",
        "both.example 10.0.0.1 fd00::1",
        "empty.example",
        "failing.example the server answers SERVFAIL",
        "half.example 10.0.0.1 the server answers SERVFAIL",
        "long.example 10.0.0.1 fd00::1",
        "refused.example the server answers REFUSED",
        "stray.example",
        "v4.example 10.0.0.1",
        "v6.example fd00::1",
    ];
    assert_eq!(seen(&names, server, patience).await, expected);
}

#[tokio::test]
async fn a_server_that_is_silent_or_away_is_no_answer() {
    let server = name_server().await;
    let patience = Duration::from_millis(50);
    let found = seen(&["silent.example", "n1\0"], server, patience).await;
    assert!(found[0].starts_with("n1\0 "), "{found:?}");
    assert!(
        found[1].starts_with("silent.example no answer"),
        "{found:?}"
    );
    let nobody = UdpSocket::bind(ANY).await.unwrap().local_addr().unwrap();
    let found = seen(&["n1"], nobody, patience).await;
    assert!(found[0].starts_with("n1 no answer"), "{found:?}");
}

// === kubelets ===

/// A CA, and its certificate as a file.
struct Authority(Issuer<'static, KeyPair>, tempfile::NamedTempFile);

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "a-ca");
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate.pem()).unwrap();
    Authority(Issuer::new(params, key), file)
}

/// A kubelet that shows a certificate for node n1.
async fn kubelet(authority: &Authority) -> SocketAddr {
    let mut params = CertificateParams::new(vec!["n1".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "system:node:n1");
    params.subject_alt_names.push(SanType::IpAddress(V4.into()));
    params.not_after = rcgen::date_time_ymd(2026, 12, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.0).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    address
}

async fn look_at(address: SocketAddr, ca_file: &Path, now: &str) -> Present {
    let look = Look::Kubelet {
        address,
        ca_file: ca_file.to_owned(),
    };
    let Saw::Kubelet(present) = have(&look, now.parse().unwrap()).await else {
        panic!("no kubelet");
    };
    present
}

#[tokio::test]
async fn a_kubelet_is_believed_by_its_ca_while_its_certificate_is_in_force() {
    let (own, other) = (authority(), authority());
    let address = kubelet(&own).await;
    let now = "2026-11-20T12:00:00Z";
    let believed = Present::Believed {
        common_name: "system:node:n1".to_owned(),
        names: BTreeSet::from(["n1".to_owned()]),
        addresses: addresses(&["10.0.0.1"]),
    };
    assert_eq!(look_at(address, own.1.path(), now).await, believed);
    let refused = look_at(address, other.1.path(), now).await;
    assert_eq!(refused, Present::Refused);
    let ended = look_at(address, own.1.path(), "2026-12-02T00:00:00Z").await;
    assert_eq!(ended, Present::Refused);
    for (path, why) in [("/nowhere.pem", "no such file"), ("/", "it is a directory")] {
        let blind = look_at(address, Path::new(path), now).await;
        assert!(
            matches!(&blind, Present::Blind(text) if text.contains(why)),
            "{blind:?}"
        );
    }
}

/// The clock goes ahead by itself while everybody waits.
#[tokio::test(start_paused = true)]
async fn a_kubelet_that_is_away_or_silent_is_unreached() {
    let own = authority();
    let now = "2026-11-20T12:00:00Z";
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = look_at(address, own.1.path(), now).await;
    assert_eq!(silent, Present::Unreached);
    drop(listener);
    let away = look_at(address, own.1.path(), now).await;
    assert_eq!(away, Present::Unreached);
}
