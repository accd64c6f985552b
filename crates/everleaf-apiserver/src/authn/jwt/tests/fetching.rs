//! How the keys of an issuer are had: beside the requests, and once for a request that needs them.

use super::super::*;
use super::*;
use crate::authn::{Authenticator, Config, Peer, ServiceAccountConfig};
use crate::authz::Authorizer;
use crate::fixture::Shelf;
use crate::registry::reviews;
use http::HeaderMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What an issuer publishes, None while it is away, and how often it was asked for anything.
type Published = Arc<Mutex<(Option<Value>, usize)>>;

/// A server that keeps the keys of an issuer.
struct Stage {
    authenticator: Arc<Authenticator>,
    published: Published,
    keeper: JoinHandle<()>,
}

impl Stage {
    fn start(keys: Option<Value>) -> Self {
        let config = Config {
            jwt: JwtConfig::parse(&file(PLAIN), "").unwrap(),
            service_accounts: Some(ServiceAccountConfig {
                issuer: "https://own.example.com".to_owned(),
                audiences: vec!["here".to_owned()],
                signing_key: None,
                verification_keys: Vec::new(),
            }),
            ..Config::default()
        };
        let authenticator = Arc::new(Authenticator::new(config).unwrap());
        let published: Published = Arc::new(Mutex::new((keys, 0)));
        let state = Arc::clone(&published);
        let fetch: Fetch = Arc::new(move |url, _| {
            let mut state = state.lock().unwrap();
            state.1 += 1;
            let answer = match (&state.0, url.ends_with("/keys")) {
                (None, _) => Err("connection refused".to_owned()),
                (Some(set), true) => Ok(set.to_string()),
                (Some(_), false) => {
                    Ok(json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys")}).to_string())
                }
            };
            Box::pin(async move {
                // Half a second each.
                tokio::time::sleep(Duration::from_millis(500)).await;
                answer.map(bytes::Bytes::from)
            })
        });
        let keeping = Arc::clone(&authenticator);
        Self {
            authenticator,
            published,
            keeper: tokio::spawn(async move { keep_keys(&keeping, fetch).await }),
        }
    }

    fn publish(&self, keys: Option<Value>) {
        self.published.lock().unwrap().0 = keys;
    }

    fn asked(&self) -> usize {
        std::mem::take(&mut self.published.lock().unwrap().1)
    }

    /// Is the token good, without any waiting?
    fn is_good(&self, token: &str) -> bool {
        let issuers = self.authenticator.issuers();
        issuers.authenticate(token, NOW.parse().unwrap()).is_ok()
    }

    /// Is it good in a request, and how long does that take, in milliseconds?
    async fn request(&self, token: &str) -> (bool, u128) {
        let mut headers = HeaderMap::new();
        let value = format!("Bearer {token}").parse().unwrap();
        headers.insert(http::header::AUTHORIZATION, value);
        let begun = Instant::now();
        self.authenticator.freshen(&headers, &Peer::default()).await;
        (self.is_good(token), begun.elapsed().as_millis())
    }

    /// What a TokenReview says.
    async fn review(&self, object: Value) -> Value {
        reviews::prepare("tokenreviews", &object, &self.authenticator).await;
        let input = reviews::ReviewInput {
            user: &User::anonymous(),
            namespace: "",
            authenticator: &self.authenticator,
            authorizer: &Authorizer::default(),
            objects: &Shelf::installed(),
            now: NOW.parse().unwrap(),
        };
        reviews::handle("tokenreviews", object, &input).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// An issuer that comes, goes, and changes its keys.
#[tokio::test(start_paused = true)]
async fn keys_are_fetched_beside_kept_and_fetched_anew() {
    let stage = Stage::start(None);
    let is_good = || stage.is_good(&token(json!({})));
    pass(100).await;
    assert!(!is_good());
    // After 0, 1.5, 4, 8.5, 17, 33.5, 64 and 94.5 seconds.
    assert_eq!(stage.asked(), 8);
    let mut without = key_set();
    without["keys"].as_array_mut().unwrap().remove(1);
    stage.publish(Some(without));
    pass(32).await;
    assert!(!is_good(), "its key is not there");
    stage.publish(Some(key_set()));
    pass(7).await;
    assert!(is_good(), "a key that is not known is asked for");
    stage.asked();
    for _ in 0..1000 {
        let unknown = token_by("ES256", "made-up", &claims(json!({})));
        assert!(!stage.is_good(&unknown));
    }
    pass(30).await;
    assert!(stage.asked() <= 4, "made-up keys do not trouble the issuer");
    stage.publish(None);
    pass(3600).await;
    assert!(is_good(), "keys stay while the issuer is away");
}

/// The same set, where the key with the name `p256` is another one.
fn replaced_set() -> Value {
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let bytes = other.public_key().as_ref()[1..].to_vec();
    let mut set = key_set();
    set["keys"][1]["x"] = b64(&bytes[..32]).into();
    set["keys"][1]["y"] = b64(&bytes[32..]).into();
    set
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_replaced_under_its_name_is_had_before_a_token_is_refused() {
    let stage = Stage::start(Some(replaced_set()));
    let jane = token(json!({}));
    pass(60).await;
    assert!(!stage.is_good(&jane));
    pass(60).await;
    stage.publish(Some(key_set()));
    stage.asked();
    let (is_good, took) = stage.request(&jane).await;
    assert!(is_good, "{took} ms");
    assert!((900..2_000).contains(&took), "one fetch, {took} ms");
    assert_eq!(stage.asked(), 2);
    // One that is good waits for nothing.
    assert_eq!(stage.request(&jane).await, (true, 0));
    // Keys of a moment ago are the last word; a forger costs the issuer nothing by each try.
    let (text, _) = jane.rsplit_once('.').unwrap();
    let forged = format!("{text}.{}", b64([7; 64]));
    for _ in 0..100 {
        assert_eq!(stage.request(&forged).await, (false, 0));
    }
    pass(60).await;
    stage.asked();
    let all = (0..100).map(|_| stage.request(&forged));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|(is_good, took)| !is_good && *took < 2_000));
    assert_eq!(stage.asked(), 2, "they wait for one fetch");
}

/// Whoever is shown a token and asks about it learns what a request with it would.
#[tokio::test(start_paused = true)]
async fn a_review_of_a_token_has_newer_keys_before_it_says_no() {
    for (audiences, is_good, asked) in [
        (json!([]), true, 2),
        (json!(["here", "there"]), true, 2),
        // It is good to none of them, whatever signed it.
        (json!(["there"]), false, 0),
    ] {
        let stage = Stage::start(Some(replaced_set()));
        pass(60).await;
        stage.publish(Some(key_set()));
        stage.asked();
        let spec = json!({"token": token(json!({})), "audiences": audiences});
        let answer = stage.review(json!({"spec": spec})).await;
        let said = answer["status"]["authenticated"] == json!(true);
        assert_eq!(said, is_good, "{audiences}");
        assert_eq!(stage.asked(), asked, "{audiences}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_issuer_that_is_away() {
    let stage = Stage::start(Some(replaced_set()));
    let jane = token(json!({}));
    pass(60).await;
    stage.publish(None);
    let (is_good, took) = stage.request(&jane).await;
    assert!(!is_good && took < 2_000, "the first finds out, {took} ms");
    for _ in 0..10 {
        pass(1).await;
        assert_eq!(stage.request(&jane).await, (false, 0));
    }
    stage.publish(Some(key_set()));
    pass(40).await;
    assert!(stage.is_good(&jane));
}
