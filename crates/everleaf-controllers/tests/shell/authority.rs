//! The CA of the signers: what is said about it, and one that signs slowly.

use super::{World, approval, issuance, leaf_of, start_of_time};
use crate::support::{Server, node_request};
use everleaf_controllers::issuers::SharedIssuer;
use everleaf_controllers::notice::Notice;
use everleaf_controllers::{BuiltinSigner, Config, IssuerSource};
use everleaf_pki::{HeldKey, Issuer, KeyAlgorithm, PrivateKey, PublicKey};
use jiff::SignedDuration;
use serde_json::json;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const EVENTS: &str = "POST /api/v1/namespaces/default/events";

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

fn ca(days: i64) -> Issuer {
    let hours = SignedDuration::from_hours;
    let (from, to) = (
        start_of_time() - hours(1),
        start_of_time() + hours(24 * days),
    );
    Issuer::self_signed("ca", key(), [1; 16], from, to).unwrap()
}

fn with_issuer(issuer: Issuer) -> impl FnOnce(&mut Config) {
    let issuer = SharedIssuer::from(Arc::new(issuer));
    move |config| {
        for source in config.issuers.values_mut() {
            *source = IssuerSource::Memory(issuer.clone());
        }
    }
}

/// A CA that ends soon is an Event of kube-system, once the server takes it; certificates that it
/// cuts short are one of the first request.
#[tokio::test(start_paused = true)]
async fn what_happens_to_a_ca_is_an_event() {
    let server = Server::default();
    server.allow("selfnodeclient");
    server.state().is_away = true;
    let world = World::start_with(&server, with_issuer(ca(20)));
    world.pass(90).await;
    assert_eq!(server.state().messages, [""; 0]);
    server.state().is_away = false;
    world.pass(90).await;
    let messages = server.state().messages.clone();
    let [message] = &messages[..] else {
        panic!("{messages:?}")
    };
    let words = "ends at 2026-12-10T12:00:00Z, in 20 days, and every certificate with it";
    assert!(message.contains(words), "{message}");
    let doubts = |world: &World| {
        let story = world.story();
        story.iter().filter(|name| *name == "CaDoubtful").count()
    };
    assert_eq!(doubts(&world), 1, "{:?}", world.story());

    server.put(node_request("csr-1", "n1"));
    server.put(node_request("csr-2", "n2"));
    world.pass(10).await;
    assert!(world.is_issued("csr-1") && world.is_issued("csr-2"));
    let messages = server.state().messages.clone();
    assert_eq!(messages.len(), 2, "once per CA: {messages:?}");
    assert!(messages[1].contains("end with their CA, at 2026-12-10T12:00:00Z"));
    let calls = server.work();
    let events = calls.iter().filter(|call| *call == EVENTS).count();
    assert!(events >= 2, "{calls:?}");
    world.stop().await;
}

/// Signs when it is told to, or after long.
struct Slow {
    key: PrivateKey,
    begun: Sender<()>,
    go: Mutex<Receiver<()>>,
}

impl HeldKey for Slow {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn uri(&self) -> &str {
        "pkcs11:object=slow"
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, String> {
        self.begun.send(()).unwrap();
        let waited = self
            .go
            .lock()
            .unwrap()
            .recv_timeout(Duration::from_secs(30));
        Err(match waited {
            Ok(()) => "the token has forgotten how to".to_owned(),
            Err(_) => "nobody else could work meanwhile".to_owned(),
        })
    }
}

/// A token that takes its time keeps nobody but its own signer waiting.
#[tokio::test(start_paused = true)]
async fn a_slow_token_holds_up_nobody_else() {
    let server = Server::default();
    server.allow("selfnodeclient");
    let (begun, has_begun) = channel();
    let (go, gone) = channel();
    let held = ca(1000);
    let key = PrivateKey::from_pem(&held.key().unwrap().to_pem()).unwrap();
    let slow = Slow {
        key,
        begun,
        go: Mutex::new(gone),
    };
    let slow = Issuer::with_key(held.certificate().clone(), Arc::new(slow)).unwrap();
    let world = World::start_with(&server, |config| {
        let source = IssuerSource::Memory(Arc::new(slow).into());
        config
            .issuers
            .insert(BuiltinSigner::KubeApiserverClient, source);
    });
    world.pass(1).await;
    let mut client = node_request("slow", "n1");
    client["spec"]["signerName"] = json!("kubernetes.io/kube-apiserver-client");
    client["status"]["conditions"] = json!([{ "type": "Approved", "status": "True" }]);
    server.put(client);
    while has_begun.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    // One thread runs all loops here: if it waited for the token, this would never be issued.
    server.put(node_request("quick", "n2"));
    while !world.is_issued("quick") {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    leaf_of(&server.object("quick").unwrap());
    let calls = server.work();
    assert!(calls.contains(&approval("quick")) && calls.contains(&issuance("quick")));
    let told = || {
        let notices = world.notices.lock().unwrap();
        notices.iter().find_map(|notice| match notice {
            Notice::SignerUnavailable { error, .. } => Some(error.clone()),
            _ => None,
        })
    };
    while told().is_none() {
        tokio::task::yield_now().await;
    }
    let expected = "private key: the token has forgotten how to";
    assert_eq!(told().as_deref(), Some(expected));
    assert!(!world.is_issued("slow"), "it waits for its token");
    drop(go);
    world.running.abort();
}
