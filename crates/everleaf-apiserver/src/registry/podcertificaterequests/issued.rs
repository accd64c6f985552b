//! What has to be true of the chain that ends a request.

use crate::read;
use everleaf_api::fields::{FieldError, quote};
use everleaf_pki::{CertificateError, Leaf, PublicKey, pem};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Longest chain, in bytes.
const CHAIN_BYTES_MAX: usize = 100 * 1024;
/// How far the beginning of a certificate may be from the server's time.
const NOT_BEFORE_APART: SignedDuration = SignedDuration::from_mins(5);
/// Shortest lifetime.
const LIFETIME_MIN: SignedDuration = SignedDuration::from_hours(1);
/// Least time between the beginning of the renewal and either end of the certificate.
const REFRESH_MARGIN: SignedDuration = SignedDuration::from_mins(10);
const NANOSECONDS: i64 = 1_000_000_000;

const CHAIN: &str = "status.certificateChain";
const NOT_BEFORE: &str = "status.notBefore";
const BEGIN_REFRESH_AT: &str = "status.beginRefreshAt";
const NOT_AFTER: &str = "status.notAfter";

type Check = Result<(), Vec<FieldError>>;

/// The dates in the status.
struct Told {
    not_before: Timestamp,
    begin_refresh_at: Timestamp,
    not_after: Timestamp,
}

/// Checks the status of a request that is being issued, which asks for a certificate of this key.
pub(super) fn check(object: &Value, wanted: Option<&PublicKey>, now: Timestamp) -> Check {
    let chain = read::text(object, "/status/certificateChain");
    if chain.len() > CHAIN_BYTES_MAX {
        return Err(vec![FieldError::too_long(CHAIN, CHAIN_BYTES_MAX)]);
    }
    let refuse = |text: &str| vec![FieldError::invalid(CHAIN, &quote(chain), text)];
    let mut blocks = pem::blocks(chain.as_bytes());
    let leaf = match blocks.next() {
        None => return Err(refuse("must hold at least one certificate, as PEM")),
        Some(block) if block.label != "CERTIFICATE" => {
            return Err(refuse("every PEM block must be a CERTIFICATE"));
        }
        Some(block) => match Leaf::from_der(&block.der) {
            Ok(leaf) => leaf,
            Err(CertificateError::NeverValid {
                not_before,
                not_after,
            }) => {
                return Err(vec![short(not_before.duration_until(not_after))]);
            }
            Err(_) => return Err(refuse("the leaf is no X.509 certificate")),
        },
    };
    let wrong_names = name_rules(&leaf);
    if wanted.is_some_and(|key| key != leaf.public_key()) {
        let text = "the leaf was issued for another public key than that of the request";
        return Err([wrong_names, refuse(text)].concat());
    }
    let told = dates(object, wrong_names)?;
    date_rules(&told, &leaf, object, now)?;
    for block in blocks {
        if block.label != "CERTIFICATE" {
            return Err(refuse("every PEM block must be a CERTIFICATE"));
        }
        match Leaf::from_der(&block.der) {
            Ok(_) | Err(CertificateError::NeverValid { .. }) => {}
            Err(_) => {
                return Err(refuse(
                    "a certificate above the leaf is no X.509 certificate",
                ));
            }
        }
    }
    Ok(())
}

/// Names that strict clients would refuse.
fn name_rules(leaf: &Leaf) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut refuse =
        |name: &str, text: &str| errors.push(FieldError::invalid(CHAIN, &quote(name), text));
    for name in leaf.dns_names() {
        if name.is_empty() {
            refuse(name, "the leaf must not have an empty DNS name");
        }
        if name.contains("..") {
            refuse(
                name,
                "a DNS name of the leaf must not have two dots in a row",
            );
        }
        if name.starts_with('.') || name.ends_with('.') {
            refuse(
                name,
                "a DNS name of the leaf must not begin or end with a dot",
            );
        }
    }
    for address in leaf.email_addresses() {
        if !is_email_address(address) {
            refuse(address, "an email address of the leaf cannot be read");
        }
    }
    errors
}

/// Nearly Go's `mail.ParseAddress`, of what certificates have: an address without a name beside it.
fn is_email_address(text: &str) -> bool {
    let is_atom = |text: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
        !text.is_empty() && text.chars().all(fits)
    };
    let is_dotted = |text: &str| text.split('.').all(is_atom);
    let is_quoted = |text: &str| text.len() > 1 && text.starts_with('"') && text.ends_with('"');
    text.rsplit_once('@')
        .is_some_and(|(local, domain)| (is_dotted(local) || is_quoted(local)) && is_dotted(domain))
}

/// The three dates, all of which must be there.
fn dates(object: &Value, mut errors: Vec<FieldError>) -> Result<Told, Vec<FieldError>> {
    let mut date = |member: &str, path: &str, text: &str| {
        let found = read::time(&object["status"], member);
        if found.is_none() {
            errors.push(FieldError::required(path, text));
        }
        found
    };
    let as_leaf = "must be there, as it is in the leaf";
    let told = (
        date("/notBefore", NOT_BEFORE, as_leaf),
        date("/notAfter", NOT_AFTER, as_leaf),
        date(
            "/beginRefreshAt",
            BEGIN_REFRESH_AT,
            "must be there, from 10 minutes after notBefore to 10 minutes before notAfter",
        ),
    );
    match told {
        (Some(not_before), Some(not_after), Some(begin_refresh_at)) if errors.is_empty() => {
            Ok(Told {
                not_before,
                begin_refresh_at,
                not_after,
            })
        }
        _ => Err(errors),
    }
}

fn date_rules(told: &Told, leaf: &Leaf, object: &Value, now: Timestamp) -> Check {
    let refuse = |path: &str, at: Timestamp, text: &str| {
        let value = quote(&everleaf_api::meta::format_time(at));
        Err(vec![FieldError::invalid(path, &value, text)])
    };
    if told.not_before != leaf.not_before() {
        let text = "must be the notBefore of the leaf";
        return refuse(NOT_BEFORE, told.not_before, text);
    }
    if told.not_before.duration_until(now).abs() >= NOT_BEFORE_APART {
        let text = format!("must be within 5 minutes of the server's time, which is {now:.0}");
        return refuse(NOT_BEFORE, told.not_before, &text);
    }
    if told.not_after != leaf.not_after() {
        let text = "must be the notAfter of the leaf";
        return refuse(NOT_AFTER, told.not_after, text);
    }
    let lifetime = told.not_before.duration_until(told.not_after);
    if lifetime < LIFETIME_MIN {
        return Err(vec![short(lifetime)]);
    }
    let seconds_max = object["spec"]["maxExpirationSeconds"].as_i64().unwrap_or(0);
    if lifetime > SignedDuration::from_secs(seconds_max) {
        let text = format!(
            "the leaf must not live longer than spec.maxExpirationSeconds, {seconds_max} seconds"
        );
        return Err(vec![lifetime_error(lifetime, &text)]);
    }
    let begin = told.begin_refresh_at;
    if told.not_before.duration_until(begin) < REFRESH_MARGIN {
        let text = "must be at least 10 minutes after status.notBefore";
        return refuse(BEGIN_REFRESH_AT, begin, text);
    }
    if begin.duration_until(told.not_after) < REFRESH_MARGIN {
        let text = "must be at least 10 minutes before status.notAfter";
        return refuse(BEGIN_REFRESH_AT, begin, text);
    }
    Ok(())
}

fn short(lifetime: SignedDuration) -> FieldError {
    lifetime_error(lifetime, "the leaf must live for at least one hour")
}

/// Go shows a duration in nanoseconds.
fn lifetime_error(lifetime: SignedDuration, text: &str) -> FieldError {
    let value = lifetime.as_secs().saturating_mul(NANOSECONDS);
    FieldError::invalid(CHAIN, &value.to_string(), text)
}
