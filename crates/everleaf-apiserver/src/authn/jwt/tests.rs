//! Tokens of other issuers, from their signature to the user behind them.

mod fetching;

use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use everleaf_observe::text::Text;
use serde_json::json;
use std::sync::OnceLock;

const ISSUER: &str = "https://issuer.example.com";
const NOW: &str = "2030-01-01T00:00:00Z";
/// NOW, in seconds.
const SECONDS: i64 = 1_893_456_000;

/// The keys of an issuer, one of each kind; making them takes a while.
struct Keys {
    rsa: RsaPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys {
        rsa: RsaPair::generate(KeySize::Rsa2048).unwrap(),
        p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
        ed25519: Ed25519KeyPair::generate().unwrap(),
    })
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What the issuer publishes.
fn key_set() -> Value {
    let keys = keys();
    let rsa = keys.rsa.public_key();
    let point = |pair: &EcdsaKeyPair| {
        let bytes = pair.public_key().as_ref()[1..].to_vec();
        let half = bytes.len() / 2;
        (b64(&bytes[..half]), b64(&bytes[half..]))
    };
    let (p256, p384) = (point(&keys.p256), point(&keys.p384));
    json!({"keys": [
        {"kty": "RSA", "kid": "rsa", "use": "sig",
         "n": b64(rsa.modulus().big_endian_without_leading_zero()),
         "e": b64(rsa.exponent().big_endian_without_leading_zero())},
        {"kty": "EC", "crv": "P-256", "kid": "p256", "alg": "ES256", "x": p256.0, "y": p256.1},
        {"kty": "EC", "crv": "P-384", "kid": "p384", "x": p384.0, "y": p384.1},
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(keys.ed25519.public_key())},
        {"kty": "oct", "kid": "secret", "k": b64("secret")},
        {"kty": "RSA", "kid": "enc", "use": "enc", "n": b64("n"), "e": b64("e")},
    ]})
}

fn token_by(algorithm: &str, kid: &str, claims: &Value) -> String {
    let header = json!({"alg": algorithm, "kid": kid});
    let text = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let (keys, random) = (keys(), SystemRandom::new());
    let rsa = |padding| {
        let mut signature = vec![0; keys.rsa.public_modulus_len()];
        keys.rsa
            .sign(padding, &random, text.as_bytes(), &mut signature)
            .unwrap();
        signature
    };
    let ecdsa = |pair: &EcdsaKeyPair| {
        pair.sign(&random, text.as_bytes())
            .unwrap()
            .as_ref()
            .to_vec()
    };
    let signature = match algorithm {
        "RS256" => rsa(&RSA_PKCS1_SHA256),
        "RS512" => rsa(&RSA_PKCS1_SHA512),
        "PS256" => rsa(&RSA_PSS_SHA256),
        "ES256" => ecdsa(&keys.p256),
        "ES384" => ecdsa(&keys.p384),
        "EdDSA" => keys.ed25519.sign(text.as_bytes()).as_ref().to_vec(),
        _ => Vec::new(),
    };
    format!("{text}.{}", b64(signature))
}

fn claims(more: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "me", "sub": "jane", "exp": SECONDS + 60, "groups": ["dev", "ops"],
    });
    let members = claims.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn token(more: Value) -> String {
    token_by("ES256", "p256", &claims(more))
}

/// The issuer in YAML, with these members beside its `issuer`.
fn file(members: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {{url: \"{ISSUER}\", audiences: [me]}}\n{members}"
    )
}

const PLAIN: &str = "  claimMappings:\n    username: {claim: sub, prefix: \"x:\"}\n    groups: {claim: groups, prefix: \"\"}\n";

fn issuers(text: &str) -> Issuers {
    let config = JwtConfig::parse(text, "https://own.example.com").unwrap();
    let issuers = Issuers::new(config, &Issuers::default());
    let set = KeySet::parse(key_set().to_string().as_bytes()).unwrap();
    issuers.issuers[0].keys.store(Some(Arc::new(set)));
    issuers
}

fn judged(issuers: &Issuers, token: &str) -> Result<User, String> {
    let refusal = issuers.authenticate(token, NOW.parse().unwrap());
    refusal.map_err(|refusal| refusal.to_string())
}

#[test]
fn each_kind_of_key_signs() {
    let issuers = issuers(&file(PLAIN));
    for (algorithm, kid) in [
        ("RS256", "rsa"),
        ("RS512", "rsa"),
        ("PS256", "rsa"),
        ("ES256", "p256"),
        ("ES384", "p384"),
        ("EdDSA", "ed"),
        ("ES256", ""),
    ] {
        let token = token_by(algorithm, kid, &claims(json!({})));
        let user = judged(&issuers, &token);
        let user = user.unwrap_or_else(|fault| panic!("{algorithm}: {fault}"));
        assert_eq!(
            (user.name.as_str(), user.groups),
            ("x:jane", vec!["dev".to_owned(), "ops".to_owned()])
        );
    }
}

#[test]
fn what_does_not_count_is_refused_and_why() {
    let issuers = issuers(&file(PLAIN));
    let good = token(json!({}));
    let (text, signature) = good.rsplit_once('.').unwrap();
    let other = token_by("ES256", "p256", &claims(json!({"sub": "eve"})));
    let swapped = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    let unsigned = token_by("none", "", &claims(json!({})));
    let shared = token_by("HS256", "secret", &claims(json!({})));
    let cases = [
        (swapped, "invalid signature"),
        (format!("{text}."), "invalid signature"),
        (unsigned, "\"none\" does not count"),
        (shared, "\"HS256\" does not count"),
        (
            token_by("ES256", "new", &claims(json!({}))),
            "no key \"new\"",
        ),
        (
            token_by("RS256", "p256", &claims(json!({}))),
            "no key \"p256\"",
        ),
        (token(json!({"exp": SECONDS - 1})), "has expired"),
        (token(json!({"exp": null})), "has no end"),
        (token(json!({"nbf": SECONDS + 61})), "not valid yet"),
        (token(json!({"aud": "you"})), "meant for none of"),
        (token(json!({"aud": null})), "meant for none of"),
        (token(json!({"sub": null})), "no claim \"sub\""),
        (token(json!({"sub": 1})), "no text"),
        (token(json!({"groups": [1]})), "neither a text nor a list"),
        (
            token(json!({"iss": "https://other.example.com"})),
            "not a token of a known issuer",
        ),
        ("a.b.c".to_owned(), "not a token of a known issuer"),
    ];
    for (token, expected) in cases {
        let fault = judged(&issuers, &token).unwrap_err();
        assert!(fault.contains(expected), "{expected}: {fault}");
    }
    for more in [
        json!({"aud": ["you", "me"]}),
        json!({"nbf": SECONDS + 59}),
        json!({"exp": SECONDS}),
    ] {
        judged(&issuers, &token(more)).unwrap();
    }
}

#[test]
fn nobody_has_an_empty_name() {
    let by = |mapping: &str| {
        issuers(&file(&format!(
            "  claimMappings:\n    username: {mapping}\n"
        )))
    };
    let plain = by("{claim: sub, prefix: \"\"}");
    let fault = judged(&plain, &token(json!({"sub": ""}))).unwrap_err();
    assert!(fault.contains("\"sub\" is empty"), "{fault}");
    assert_eq!(judged(&plain, &token(json!({}))).unwrap().name, "jane");
    let by_expression = by("{expression: \"claims.?nick.orValue('')\"}");
    let fault = judged(&by_expression, &token(json!({}))).unwrap_err();
    assert!(
        fault.contains("empty username via CEL expression is not allowed"),
        "{fault}"
    );
    // As upstream.
    let prefixed = by("{claim: sub, prefix: \"x:\"}");
    assert_eq!(
        judged(&prefixed, &token(json!({"sub": ""}))).unwrap().name,
        "x:"
    );
}

#[test]
fn google_may_leave_out_its_scheme() {
    let text = file(PLAIN).replace(ISSUER, GOOGLE.1);
    let google = issuers(&text);
    for (issuer, is_good) in [
        (GOOGLE.0, true),
        (GOOGLE.1, true),
        ("http://accounts.google.com", false),
    ] {
        let outcome = judged(&google, &token(json!({"iss": issuer})));
        assert_eq!(outcome.is_ok(), is_good, "{issuer}");
    }
    let bare = token(json!({"iss": "issuer.example.com"}));
    assert!(
        judged(&issuers(&file(PLAIN)), &bare).is_err(),
        "nobody else"
    );
}

#[test]
fn refusals_are_counted_by_their_reasons() {
    use crate::authn::{Authenticator, Config};
    let authenticator = Authenticator::new(Config::default()).unwrap();
    authenticator.issuers.store(Arc::new(issuers(&file(PLAIN))));
    let refuse = |more: Value| authenticator.foreign_user(&token(more), NOW.parse().unwrap());
    for more in [
        json!({"exp": SECONDS - 1}),
        json!({"exp": SECONDS - 2}),
        json!({"aud": "you"}),
        json!({"sub": null}),
        json!({"nbf": SECONDS + 3600}),
    ] {
        assert!(refuse(more).is_none());
    }
    // Of nobody that is known here: another method's, and no refusal of ours.
    assert!(refuse(json!({"iss": "https://other.example.com"})).is_none());
    assert!(refuse(json!({})).is_some());
    let mut text = Text::default();
    authenticator.write_metrics(&mut text);
    let text = text.finish();
    let counted = text.lines().filter(|line| !line.starts_with('#'));
    let counted: Vec<&str> = counted.collect();
    let line = |reason: &str, count: u64| {
        format!(
            "everleaf_refused_credentials_total{{credential=\"token\",reason=\"{reason}\"}} {count}"
        )
    };
    assert_eq!(
        counted,
        [
            line("audience", 1),
            line("claims", 1),
            line("expired", 2),
            line("not_yet_valid", 1),
        ]
    );
}

#[test]
fn without_keys_a_token_is_refused_and_they_are_asked_for() {
    let issuers = issuers(&file(PLAIN));
    issuers.issuers[0].keys.store(None);
    let fault = judged(&issuers, &token(json!({}))).unwrap_err();
    assert!(fault.contains("have not come yet"), "{fault}");
    let asked = issuers.issuers[0].is_asked.notified();
    assert!(futures_util::FutureExt::now_or_never(asked).is_some());
}

#[test]
fn keys_stay_when_the_configuration_changes_and_the_issuer_does_not() {
    let before = issuers(&file(PLAIN));
    let other = file("  claimMappings:\n    username: {claim: sub, prefix: \"y:\"}\n");
    let config = JwtConfig::parse(&other, "").unwrap();
    let after = Issuers::new(config, &before);
    assert_eq!(judged(&after, &token(json!({}))).unwrap().name, "y:jane");
    let moved = other.replace(
        "audiences",
        "discoveryURL: \"https://d.example.com/x\", audiences",
    );
    let after = Issuers::new(JwtConfig::parse(&moved, "").unwrap(), &before);
    assert!(judged(&after, &token(json!({}))).is_err());
}

#[test]
fn a_user_is_made_of_claims_and_expressions() {
    let issuers = issuers(&file(
        "  claimValidationRules:\n  - {claim: hd, requiredValue: example.com}\n  - {expression: \"claims.exp - claims.iat <= 3600\", message: too long a life}\n  claimMappings:\n    username: {expression: \"claims.sub + ':x'\"}\n    groups: {expression: \"claims.roles.split(',')\"}\n    uid: {claim: id}\n    extra:\n    - {key: example.org/tier, valueExpression: \"claims.?tier.orValue('')\"}\n    - {key: example.org/many, valueExpression: \"claims.many\"}\n  userValidationRules:\n  - {expression: \"!user.username.startsWith('system:')\", message: no system users}\n",
    ));
    let more = |change: Value| {
        let mut more = json!({
            "hd": "example.com", "iat": SECONDS, "roles": "a,b", "id": "u1", "jti": "t1",
            "many": ["1", "", "2"],
        });
        for (name, value) in change.as_object().unwrap() {
            more[name] = value.clone();
        }
        token(more)
    };
    let user = judged(&issuers, &more(json!({}))).unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane:x", "u1"));
    assert_eq!(user.groups, ["a", "b"]);
    let extra = json!(user.extra);
    let expected = json!({
        "authentication.kubernetes.io/credential-id": ["JTI=t1"],
        "example.org/many": ["1", "2"],
    });
    assert_eq!(extra, expected);
    for (change, expected) in [
        (json!({"hd": "example.org"}), "claim \"hd\" is not"),
        (json!({"iat": SECONDS - 7200}), "too long a life"),
        (json!({"sub": "system:admin"}), "no system users"),
        (json!({"iat": "x"}), "claims.exp - claims.iat"),
        (json!({"many": 5}), "neither a text nor a list"),
        (json!({"many": vec!["x"; 600]}), "more than 512"),
    ] {
        let fault = judged(&issuers, &more(change)).unwrap_err();
        assert!(fault.contains(expected), "{expected}: {fault}");
    }
}

#[test]
fn an_address_is_a_name_only_when_it_is_verified() {
    let mapping = "  claimMappings:\n    username: {claim: email, prefix: \"\"}\n";
    let issuers = issuers(&file(mapping));
    let email =
        |verified: Value| token(json!({"email": "j@example.com", "email_verified": verified}));
    assert_eq!(
        judged(&issuers, &email(Value::Null)).unwrap().name,
        "j@example.com"
    );
    assert!(judged(&issuers, &email(json!(true))).is_ok());
    for bad in [json!(false), json!("true")] {
        assert!(judged(&issuers, &email(bad)).is_err());
    }
}

fn refused(text: &str, expected: &str) {
    let refused = JwtConfig::parse(text, "https://own.example.com");
    let error = refused.unwrap_err().to_string();
    assert!(error.contains(expected), "{text}: {error}");
}

/// The plain file with one thing changed is refused.
fn changed(from: &str, to: &str, expected: &str) {
    refused(&file(PLAIN).replace(from, to), expected);
}

#[test]
fn an_issuer_that_cannot_be_meant_is_refused_and_where() {
    let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
    refused("kind: x", "apiVersion: apiserver.config.k8s.io/v1");
    refused(&format!("{head}jwts: []"), "jwts");
    refused(
        &format!("{head}anonymous: {{enabled: false, conditions: [{{path: /livez}}]}}"),
        "anonymous.conditions",
    );
    changed("https://issuer", "http://issuer", "jwt[0].issuer.url");
    changed(
        "https://issuer.example.com",
        "https://own.example.com",
        "jwt[0].issuer.url",
    );
    changed("https://issuer", "https://a:b@issuer", "user name");
    changed(".com", ".com?a", "query");
    changed("[me]", "[]", "jwt[0].issuer.audiences");
    changed("[me]", "[me, you]", "audienceMatchPolicy");
    changed(
        "[me]",
        "[me, me], audienceMatchPolicy: MatchAny",
        "audiences",
    );
    changed(
        "[me]",
        "[me], certificateAuthority: x",
        "certificateAuthority",
    );
    changed(
        "[me]",
        "[me], discoveryURL: \"https://issuer.example.com/\"",
        "discoveryURL",
    );
}

#[test]
fn a_mapping_that_cannot_be_meant_is_refused_and_where() {
    changed("claim: sub, ", "", "claimMappings.username");
    changed(", prefix: \"x:\"", "", "username.prefix");
    changed(
        "claim: sub, prefix: \"x:\"",
        "expression: \"claims.\"",
        "not an expression",
    );
    changed(
        "claim: sub, prefix: \"x:\"",
        "expression: user.username",
        "unknown variable",
    );
    changed(
        "claim: sub, prefix: \"x:\"",
        "expression: claims.email",
        "claims.email_verified",
    );
    changed(
        "    groups",
        "    extra: [{key: kubernetes.io/a, valueExpression: \"'a'\"}]\n    groups",
        "for Kubernetes alone",
    );
    changed(
        "    groups",
        "    extra: [{key: a, valueExpression: \"'a'\"}]\n    groups",
        "extra[0].key",
    );
    changed(
        "  claimMappings",
        "  claimValidationRules: [{claim: a, expression: b}]\n  claimMappings",
        "not both",
    );
    refused(
        &format!(
            "{}- issuer: {{url: \"{ISSUER}\", audiences: [me]}}\n{PLAIN}",
            file(PLAIN)
        ),
        "jwt[1].issuer.url",
    );
}

/// A rule that is no rule would refuse every token, and a mapping that gives no text likewise.
#[test]
fn an_expression_of_another_type_is_refused_and_where() {
    let rule = |kind: &str, expression: &str, expected: &str| {
        changed(
            "  claimMappings",
            &format!("  {kind}: [{{expression: \"{expression}\"}}]\n  claimMappings"),
            expected,
        );
    };
    let at = "claimValidationRules[0].expression: ";
    rule(
        "claimValidationRules",
        "'true'",
        &format!("{at}must evaluate to bool"),
    );
    rule(
        "claimValidationRules",
        "claims.a + 'x'",
        &format!("{at}must evaluate to bool"),
    );
    rule(
        "claimValidationRules",
        "claims.a.nonsense()",
        &format!("{at}compilation failed"),
    );
    let at = "userValidationRules[0].expression: ";
    rule(
        "userValidationRules",
        "user.username",
        &format!("{at}must evaluate to bool"),
    );
    rule(
        "userValidationRules",
        "user.name == 'a'",
        "undefined field 'name'",
    );
    rule(
        "userValidationRules",
        "user.groups == 'a'",
        "no matching overload",
    );
    let username = |expression: &str, expected: &str| {
        changed(
            "claim: sub, prefix: \"x:\"",
            &format!("expression: \"{expression}\""),
            expected,
        );
    };
    let at = "claimMappings.username.expression: ";
    username("claims.exp - 1", &format!("{at}must evaluate to string"));
    username("[claims.sub]", &format!("{at}must evaluate to string"));
    changed(
        "claim: groups, prefix: \"\"",
        "expression: \"claims.groups == []\"",
        "claimMappings.groups.expression: must evaluate to one of [string list(string)]",
    );
    changed(
        "    groups",
        "    uid: {expression: \"1\"}\n    groups",
        "claimMappings.uid.expression: must evaluate to string",
    );
    changed(
        "    groups",
        "    extra: [{key: example.org/a, valueExpression: \"size(claims.a)\"}]\n    groups",
        "extra[0].valueExpression: must evaluate to one of",
    );
}

#[test]
fn the_older_flags_mean_the_same() {
    let flags = |change: &dyn Fn(&mut OidcFlags)| {
        let mut flags = OidcFlags {
            issuer_url: ISSUER.to_owned(),
            client_id: "me".to_owned(),
            username_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            groups_prefix: "g:".to_owned(),
            required_claims: vec![("hd".to_owned(), "a".to_owned())],
            signing_algorithms: vec!["ES256".to_owned()],
            ..OidcFlags::default()
        };
        change(&mut flags);
        let config = JwtConfig::of_flags(flags, "").unwrap();
        let issuers = Issuers::new(config, &Issuers::default());
        let set = KeySet::parse(key_set().to_string().as_bytes()).unwrap();
        issuers.issuers[0].keys.store(Some(Arc::new(set)));
        issuers
    };
    let good = token(json!({"hd": "a", "email": "j@a"}));
    let user = judged(&flags(&|_| {}), &good).unwrap();
    assert_eq!(user.name, "https://issuer.example.com#jane");
    assert_eq!(user.groups, ["g:dev", "g:ops"]);
    for (claim, prefix, expected) in [
        ("sub", Some("-"), "jane"),
        ("sub", Some("p:"), "p:jane"),
        ("email", None, "j@a"),
    ] {
        let issuers = flags(&|flags| {
            flags.username_claim = claim.to_owned();
            flags.username_prefix = prefix.map(str::to_owned);
        });
        assert_eq!(judged(&issuers, &good).unwrap().name, expected);
    }
    assert!(
        judged(&flags(&|_| {}), &token(json!({}))).is_err(),
        "a claim is required"
    );
    let other = token_by("RS256", "rsa", &claims(json!({"hd": "a"})));
    assert!(
        judged(&flags(&|_| {}), &other).is_err(),
        "of another algorithm"
    );
}

#[test]
fn anonymous_is_let_in_where_the_file_says() {
    let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n";
    let anonymous = JwtConfig::parse(text, "").unwrap().anonymous.unwrap();
    assert!(anonymous.allows("/livez"));
    assert!(!anonymous.allows("/livez/etcd") && !anonymous.allows("/api"));
    assert!(!AnonymousConfig::default().allows("/livez"));
}
