//! Client certificates: what counts, what does not, and that a worthless one is never an alert.

use super::fixture::{
    ENDS, TLS_VERSIONS, TestServer, ask_whoami, authority, credential, parts, read, time,
    whoami_request,
};
use crate::fixture::{VERSION_1_KEY_PEM, VERSION_1_PEM};
use everleaf_pki::Usage;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::KeyPair;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, SignatureScheme, SupportedProtocolVersion};
use serde_json::json;
use std::sync::Arc;

#[tokio::test(start_paused = true)]
async fn a_client_certificate_is_an_identity() {
    let fixture = TestServer::new();
    let alice = credential(&fixture.client_ca, "alice", Usage::ClientAuth, ENDS);
    for version in TLS_VERSIONS {
        let config = fixture.client_of(Some(&alice), "http/1.1", &[version]);
        let (code, body) = fixture.whoami(config).await;
        assert_eq!(code, 201, "{body}");
        assert_eq!(body["status"]["userInfo"]["username"], "alice");
        let groups = &body["status"]["userInfo"]["groups"];
        assert_eq!(*groups, json!(["testers", "system:authenticated"]));
    }
}

/// The recovery of agents and kubelets depends on it: a 401 they can act on, never an alert.
#[tokio::test(start_paused = true)]
async fn a_worthless_certificate_is_a_401_and_no_alert() {
    let fixture = TestServer::new();
    let stranger = authority("stranger-ca");
    let worthless = [
        credential(&stranger, "mallory", Usage::ClientAuth, ENDS),
        credential(
            &fixture.client_ca,
            "expired",
            Usage::ClientAuth,
            "2021-01-01T00:00:00Z",
        ),
        credential(&fixture.client_ca, "server", Usage::ServerAuth, ENDS),
    ];
    for identity in &worthless {
        for version in TLS_VERSIONS {
            // It presents the certificate whatever issuers the server hints at.
            let mut config = fixture.client_of(None, "http/1.1", &[version]);
            let (chain, key) = parts(identity);
            let provider = aws_lc_rs::default_provider();
            let key = CertifiedKey::from_der(chain, key, &provider).unwrap();
            config.client_auth_cert_resolver = Arc::new(Always(Arc::new(key)));
            let (code, body) = fixture.whoami(config).await;
            assert_eq!(code, 401, "{body}");
            assert_eq!(body["reason"], "Unauthorized");
        }
    }
}

/// rustls cannot read a certificate of version 1; possession of its key is checked all the same.
#[tokio::test(start_paused = true)]
async fn a_certificate_rustls_cannot_read_is_no_alert_either() {
    let fixture = TestServer::new();
    let provider = aws_lc_rs::default_provider();
    let chain = vec![CertificateDer::from_pem_slice(VERSION_1_PEM.as_bytes()).unwrap()];
    let key = |pem: &[u8]| {
        let key = PrivateKeyDer::from_pem_slice(pem).unwrap();
        provider.key_provider.load_private_key(key).unwrap()
    };
    let own = CertifiedKey::new(chain.clone(), key(VERSION_1_KEY_PEM.as_bytes()));
    let other = KeyPair::generate().unwrap().serialize_pem();
    let forged = CertifiedKey::new(chain, key(other.as_bytes()));
    for version in TLS_VERSIONS {
        let mut config = fixture.client_of(None, "http/1.1", &[version]);
        config.client_auth_cert_resolver = Arc::new(Always(Arc::new(own.clone())));
        assert_eq!(fixture.whoami(config).await.0, 401, "{version:?}");
        assert!(
            is_turned_away(&fixture, version, &forged).await,
            "{version:?}"
        );
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
    fn has_certs(&self) -> bool {
        true
    }
}

/// Presents its certificate only where its CA is asked for, as Go's clients do.
#[derive(Debug)]
struct WhereAsked(Vec<u8>, Arc<CertifiedKey>);

impl ResolvesClientCert for WhereAsked {
    fn resolve(&self, hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let is_asked = hints.contains(&self.0.as_slice());
        is_asked.then(|| Arc::clone(&self.1))
    }
    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn clients_are_told_of_a_client_ca_that_came_later() {
    let fixture = TestServer::new();
    let later = authority("later-ca");
    let alice = credential(&later, "alice", Usage::ClientAuth, ENDS);
    let provider = aws_lc_rs::default_provider();
    let key = provider
        .key_provider
        .load_private_key(parts(&alice).1)
        .unwrap();
    let key = Arc::new(CertifiedKey::new(parts(&alice).0, key));
    let both = fixture.client_ca.certificate_pem() + &later.certificate_pem();
    for (bundle, expected) in [(None, "system:anonymous"), (Some(both), "alice")] {
        if let Some(pem) = bundle {
            let authenticator = fixture.server.authenticator();
            authenticator.set_client_ca(pem.as_bytes()).unwrap();
        }
        for version in TLS_VERSIONS {
            let mut config = fixture.client_of(None, "http/1.1", &[version]);
            let name = later.certificate().subject_der().to_vec();
            config.client_auth_cert_resolver = Arc::new(WhereAsked(name, Arc::clone(&key)));
            let (_, body) = fixture.whoami(config).await;
            let told = format!("{body}");
            assert!(told.contains(expected), "{version:?}: {told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_without_its_key_does_not_get_in() {
    let fixture = TestServer::new();
    let alice = credential(&fixture.client_ca, "alice", Usage::ClientAuth, ENDS);
    let mallory = credential(&fixture.client_ca, "mallory", Usage::ClientAuth, ENDS);
    let provider = aws_lc_rs::default_provider();
    let key = provider
        .key_provider
        .load_private_key(parts(&mallory).1)
        .unwrap();
    let forged = CertifiedKey::new(parts(&alice).0, key);
    for version in TLS_VERSIONS {
        assert!(
            is_turned_away(&fixture, version, &forged).await,
            "{version:?}"
        );
    }
}

/// True when a client with this certificate gets no answer at all.
async fn is_turned_away(
    fixture: &TestServer,
    version: &'static SupportedProtocolVersion,
    identity: &CertifiedKey,
) -> bool {
    let mut config = fixture.client_of(None, "http/1.1", &[version]);
    config.client_auth_cert_resolver = Arc::new(Always(Arc::new(identity.clone())));
    let outcome = async {
        let stream = fixture.connect(&Arc::new(config)).await.ok()?;
        // TLS 1.3 clients hear of it with the first answer.
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        tokio::spawn(connection);
        sender.send_request(whoami_request()).await.ok()
    };
    outcome.await.is_none()
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_expires_on_an_open_connection_is_refused_from_then_on() {
    let fixture = TestServer::new();
    let alice = credential(
        &fixture.client_ca,
        "alice",
        Usage::ClientAuth,
        "2026-06-01T00:00:00Z",
    );
    let config = Arc::new(fixture.client(Some(&alice), "h2"));
    let stream = fixture.connect(&config).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = || {
        let mut request = whoami_request();
        request.headers_mut().remove("Host");
        *request.uri_mut() =
            "https://everleaf.test/apis/authentication.k8s.io/v1/selfsubjectreviews"
                .parse()
                .unwrap();
        request
    };
    let (code, _) = read(sender.send_request(request()).await.unwrap()).await;
    assert_eq!(code, 201);
    *fixture.clock.lock().unwrap() = time("2026-06-01T00:00:01Z");
    let (code, _) = read(sender.send_request(request()).await.unwrap()).await;
    assert_eq!(code, 401);
}

/// A resumed session would bring the certificate of its first handshake: after a renewal the client
/// would go on as the old one, and be refused when that has ended.
#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_sessions_renews_its_certificate() {
    for version in TLS_VERSIONS {
        let fixture = TestServer::new();
        let until = |name, end| credential(&fixture.client_ca, name, Usage::ClientAuth, end);
        let old = until("alice", "2026-06-01T00:00:00Z");
        let config = fixture.client_of(Some(&old), "http/1.1", &[version]);
        let sessions = config.resumption.clone();
        let stream = fixture.connect(&Arc::new(config)).await.unwrap();
        assert_eq!(ask_whoami(stream).await.0, 201);

        let renewed = until("alice", "2027-06-01T00:00:00Z");
        let mut config = fixture.client_of(Some(&renewed), "http/1.1", &[version]);
        config.resumption = sessions;
        let config = Arc::new(config);
        for moment in ["2026-05-31T23:59:59Z", "2026-06-01T00:00:01Z"] {
            *fixture.clock.lock().unwrap() = time(moment);
            let stream = fixture.connect(&config).await.unwrap();
            let handshake = stream.get_ref().1.handshake_kind();
            assert_eq!(handshake, Some(HandshakeKind::Full), "{version:?}");
            let (code, body) = ask_whoami(stream).await;
            assert_eq!(code, 201, "{version:?} at {moment}");
            let shown =
                &body["status"]["userInfo"]["extra"]["authentication.kubernetes.io/credential-id"];
            let leaf = renewed.chain().leaf().fingerprint();
            assert_eq!(shown[0], format!("X509SHA256={leaf}"), "{version:?}");
        }
    }
}
