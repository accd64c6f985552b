//! `everleaf ca status`: the CAs of a cluster, wherever one is trusted or signs, as far as this
//! kubeconfig may look.

use crate::args::OutputFormat;
use crate::args::ca::StatusArgs;
use crate::calls::{Calls, connect};
use crate::kube_client::usual_kubeconfig;
use crate::print;
use crate::up::authority::made_at;
use anyhow::{Result, anyhow};
use everleaf_agent::Kubeconfig;
use everleaf_agent::join::{Announced, CaPin};
use everleaf_agent::kubeconfig::Trust;
use everleaf_api::csr::Csr;
use everleaf_api::{authorities, meta};
use everleaf_controllers::certificates_shown;
use everleaf_pki::{Chain, Leaf};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// Longest wait for the handshake that shows the server's certificate.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// A certificate that was issued, and by which signer.
struct Issued {
    leaf: Leaf,
    signer: String,
}

/// What was found.
#[derive(Default)]
struct Found {
    /// Each CA, by what it is trusted for.
    trusted: Vec<(&'static str, Leaf)>,
    /// What the API server shows.
    server: Option<Leaf>,
    issued: Vec<Issued>,
    /// What could not be looked at, and why.
    hidden: Vec<String>,
}

/// One CA, as it is shown.
#[derive(Debug, PartialEq)]
struct Row {
    ca: Leaf,
    /// `signs`, `serves`, and where it is trusted.
    uses: BTreeSet<String>,
    /// Certificates of it that have not ended, of those that the server still has.
    certificates: usize,
    /// Whose they are.
    holders: BTreeSet<String>,
    /// The latest end of them.
    needed_until: Option<Timestamp>,
}

/// Looks and shows.
pub(super) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let (found, roll, now) = super::runtime()?.block_on(async {
        let (calls, url) = connect(&args.server)?;
        let found = look(&calls, args, &url).await?;
        let roll = super::roll::read(&calls).await.unwrap_or_default();
        anyhow::Ok((found, roll, calls.now()))
    })?;
    let rows = rows(&found, now);
    let as_json = || {
        let all = rows.iter().map(|row| as_json(row, now));
        json!({"authorities": all.collect::<Value>(), "hidden": found.hidden, "roll": roll})
    };
    match args.output {
        Some(OutputFormat::Json) => print::json(&as_json())?,
        Some(OutputFormat::Yaml) => print::yaml(&as_json())?,
        Some(OutputFormat::Wide) => show(&rows, true, now)?,
        None => show(&rows, false, now)?,
    }
    for remark in remarks(&rows, now).iter().chain(&found.hidden) {
        eprintln!("everleaf: {}", print::harmless_line(remark));
    }
    if !roll["roll"].is_null() {
        eprintln!(
            "everleaf: {}",
            super::roll::words(&roll, now)
                .lines()
                .next()
                .unwrap_or_default()
        );
        eprintln!("everleaf: how far it has come: everleaf ca roll status");
    }
    Ok(ExitCode::SUCCESS)
}

async fn look(calls: &Calls, args: &StatusArgs, url: &str) -> Result<Found> {
    let mut found = Found::default();
    calls
        .object("ask who it is", Method::GET, "/version", None)
        .await?;
    let path = usual_kubeconfig(args.server.kubeconfig.as_deref())?;
    let kubeconfig = Kubeconfig::read_context(&path, args.server.context.as_deref())?;
    if let Trust::Bundle(source) = &kubeconfig.cluster.trust {
        let text = source.read()?;
        found.trust("this kubeconfig", text.expose());
    }
    for (what, namespace, name, key) in [
        (
            "clients",
            "kube-system",
            "extension-apiserver-authentication",
            "client-ca-file",
        ),
        ("pods", "kube-system", "kube-root-ca.crt", "ca.crt"),
        (
            "agents",
            authorities::NAMESPACE,
            authorities::NAME,
            "ca.crt",
        ),
    ] {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let what_for = format!("read whom {what} trust");
        match calls.object(&what_for, Method::GET, &path, None).await {
            Ok(object) => {
                let object = object.unwrap_or_default();
                found.trust(what, object["data"][key].as_str().unwrap_or_default());
            }
            Err(error) => found.hidden.push(error.to_string()),
        }
    }
    let path = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    match calls
        .object("read whom new nodes trust", Method::GET, path, None)
        .await
    {
        Ok(object) => {
            let announced = object.map(|object| Announced::read_trusted(&object));
            if let Some(Ok(announced)) = announced {
                found.trust("new nodes", &announced.ca_pem);
            }
        }
        Err(error) => found.hidden.push(error.to_string()),
    }
    match calls.list("list the requests", REQUESTS, "").await {
        Ok(objects) => found.issued.extend(objects.iter().filter_map(|object| {
            let csr = Csr(object);
            let chain = Chain::from_pem(&csr.certificate()).ok()?;
            let (leaf, signer) = (chain.leaf().clone(), csr.signer_name().to_owned());
            Some(Issued { leaf, signer })
        })),
        Err(error) => found.hidden.push(error.to_string()),
    }
    match shown(url).await {
        Ok(leaf) => found.server = Some(leaf),
        Err(error) => found
            .hidden
            .push(format!("cannot see the API server's certificate: {error}")),
    }
    Ok(found)
}

/// The certificate that the server at `url` shows.
async fn shown(url: &str) -> Result<Leaf> {
    let host = url
        .trim_start_matches("https://")
        .split('/')
        .next()
        .unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => format!("{host}:443"),
    };
    let handshake = async {
        let address = tokio::net::lookup_host(&host).await?.next();
        let address = address.ok_or_else(|| anyhow!("{host} has no address"))?;
        let ders = certificates_shown(address).await?;
        let der = ders.first().ok_or_else(|| anyhow!("{host} shows none"))?;
        Ok(Leaf::from_der(der)?)
    };
    let timed = tokio::time::timeout(HANDSHAKE_MAX, handshake).await;
    timed.map_err(|_| anyhow!("{host} does not answer"))?
}

impl Found {
    fn trust(&mut self, what: &'static str, pem: &str) {
        if let Ok(chain) = Chain::from_pem(pem.as_bytes()) {
            let all = chain.certificates().iter();
            self.trusted.extend(all.map(|ca| (what, ca.clone())));
        }
    }
}

/// The CAs, the one that signs first.
fn rows(found: &Found, now: Timestamp) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (what, ca) in &found.trusted {
        let row = match rows.iter_mut().find(|row| row.ca == *ca) {
            Some(row) => row,
            None => {
                rows.push(Row {
                    ca: ca.clone(),
                    uses: BTreeSet::new(),
                    certificates: 0,
                    holders: BTreeSet::new(),
                    needed_until: None,
                });
                let last = rows.len() - 1;
                &mut rows[last]
            }
        };
        row.uses.insert((*what).to_owned());
    }
    let mut newest: BTreeMap<&str, &Leaf> = BTreeMap::new();
    for Issued { leaf, signer } in &found.issued {
        let last = newest.entry(signer).or_insert(leaf);
        if last.not_before() < leaf.not_before() {
            *last = leaf;
        }
        if leaf.not_after() <= now {
            continue;
        }
        for row in rows.iter_mut().filter(|row| leaf.is_signed_by(&row.ca)) {
            row.certificates += 1;
            row.holders.insert(leaf.subject().common_name.clone());
            row.needed_until = row.needed_until.max(Some(leaf.not_after()));
        }
    }
    for row in &mut rows {
        if newest.values().any(|leaf| leaf.is_signed_by(&row.ca)) {
            row.uses.insert("signs".to_owned());
        }
        if found
            .server
            .as_ref()
            .is_some_and(|leaf| leaf.is_signed_by(&row.ca))
        {
            row.uses.insert("serves".to_owned());
        }
    }
    rows.sort_by_key(|row| (!row.uses.contains("signs"), row.ca.not_after()));
    rows
}

/// Per cent of its life that has gone since it was made: those of `up` begin years before that.
fn used(ca: &Leaf, now: Timestamp) -> i64 {
    let made = made_at(ca);
    let gone = now.duration_since(made).as_secs().max(0);
    let whole = ca.not_after().duration_since(made).as_secs().max(1);
    (gone.saturating_mul(100) / whole).min(100)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn key_text(ca: &Leaf) -> String {
    let algorithm = ca.public_key().algorithm();
    algorithm.map_or_else(|error| error.to_string(), |algorithm| algorithm.to_string())
}

fn holders_text(row: &Row) -> String {
    match row.holders.len() {
        1 => format!("{} (1 holder)", row.certificates),
        holders => format!("{} ({holders} holders)", row.certificates),
    }
}

fn as_json(row: &Row, now: Timestamp) -> Value {
    let ca = &row.ca;
    json!({
        "subject": ca.subject_text(),
        "uses": row.uses,
        "key": key_text(ca),
        "notBefore": meta::format_time(ca.not_before()),
        "notAfter": meta::format_time(ca.not_after()),
        "lifeUsedPercent": used(ca, now),
        "pin": CaPin::of(ca).to_string(),
        "keyId": ca.subject_key_id().map(hex),
        "serial": ca.serial().to_string(),
        "fingerprint": format!("sha256:{}", ca.fingerprint()),
        "certificates": row.certificates,
        "holders": row.holders.len(),
        "neededUntil": row.needed_until.map(meta::format_time),
    })
}

fn show(rows: &[Row], is_wide: bool, now: Timestamp) -> Result<()> {
    let mut headings = vec![
        "subject",
        "uses",
        "key",
        "until",
        "life used",
        "certificates",
        "key id",
    ];
    if is_wide {
        headings.extend(["needed until", "pin", "fingerprint"]);
    }
    let cells = rows.iter().map(|row| {
        let ca = &row.ca;
        let key_id = ca.subject_key_id().map_or_else(|| "<none>".to_owned(), hex);
        let uses: Vec<_> = row.uses.iter().map(String::as_str).collect();
        let mut cells = vec![
            ca.subject_text(),
            uses.join(","),
            key_text(ca),
            meta::format_time(ca.not_after()),
            format!("{} %", used(ca, now)),
            holders_text(row),
            key_id,
        ];
        if is_wide {
            let until = row.needed_until.map(meta::format_time);
            cells.push(until.unwrap_or_else(|| "<not needed>".to_owned()));
            cells.push(CaPin::of(ca).to_string());
            cells.push(ca.fingerprint().to_string());
        }
        cells
            .iter()
            .map(|cell| print::harmless_line(cell))
            .collect()
    });
    print::table(&headings, &cells.collect::<Vec<_>>())
}

/// What somebody should know about these.
fn remarks(rows: &[Row], now: Timestamp) -> Vec<String> {
    let mut remarks = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let (ca, name) = (&row.ca, row.ca.subject_text());
        let twin = rows[..at].iter().map(|row| &row.ca).find(|one| {
            one.subject_der() == ca.subject_der() && one.public_key() != ca.public_key()
        });
        if twin.is_some() {
            remarks.push(format!(
                "two CAs with different keys are called {name}: OpenSSL tries the first in a bundle and GnuTLS the last, so some clients refuse \
                 good certificates; give the next one a name of its own"
            ));
        }
        if ca.subject_key_id().is_none() {
            remarks.push(format!(
                "{name} has no subject key identifier: wolfSSL refuses what it signs with one"
            ));
        }
        if ca.not_after() <= now {
            remarks.push(format!(
                "{name} ended at {}: nothing of it is believed any more",
                ca.not_after()
            ));
        } else if row.uses.contains("signs") && used(ca, now) >= 80 {
            remarks.push(format!(
                "{name} signs, and {} % of its life is over: see docs/ca.md",
                used(ca, now)
            ));
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey, Subject, Template, Usage};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn authority(name: &str) -> Issuer {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (from, to) = (at("2020-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z"));
        Issuer::self_signed(name, key, [1; 16], from, to).unwrap()
    }

    fn issued(by: &Issuer, node: &str, begin: &str, end: &str) -> Issued {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let template = Template {
            subject: Subject::node(node),
            ..Template::default()
        };
        let usages = [Usage::DigitalSignature, Usage::ClientAuth];
        let chain = by.issue_own(
            &template,
            key.public_key(),
            &usages,
            [2; 16],
            at(begin),
            at(end),
        );
        Issued {
            leaf: chain.unwrap().leaf().clone(),
            signer: "client".to_owned(),
        }
    }

    #[test]
    fn each_ca_is_shown_once_with_all_that_it_is_for() {
        let (old, new) = (authority("old"), authority("new"));
        let now = at("2028-06-01T00:00:00Z");
        let mut found = Found::default();
        for (what, ca) in [("pods", &old), ("clients", &old), ("clients", &new)] {
            found.trust(what, &ca.certificate_pem());
        }
        found.issued = vec![
            issued(&old, "a", "2026-01-01T00:00:00Z", "2029-01-01T00:00:00Z"),
            issued(&old, "a", "2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z"),
            issued(&old, "b", "2026-01-01T00:00:00Z", "2028-12-01T00:00:00Z"),
            issued(&new, "a", "2027-01-01T00:00:00Z", "2029-06-01T00:00:00Z"),
        ];
        found.server =
            Some(issued(&old, "api", "2026-01-01T00:00:00Z", "2029-01-01T00:00:00Z").leaf);
        let rows = rows(&found, now);
        let uses = |row: &Row| row.uses.iter().cloned().collect::<Vec<_>>();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            rows[0].ca,
            *new.certificate(),
            "the one that signs comes first"
        );
        assert_eq!(uses(&rows[0]), ["clients", "signs"]);
        assert_eq!(uses(&rows[1]), ["clients", "pods", "serves"]);
        assert_eq!((rows[1].certificates, rows[1].holders.len()), (2, 2));
        assert_eq!(rows[1].needed_until, Some(at("2029-01-01T00:00:00Z")));
        let told = remarks(&rows, now);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("CN=new signs, and 84 %"), "{told:?}");
        assert!(remarks(&rows, at("2031-01-01T00:00:00Z"))[0].contains("ended at"));
    }

    #[test]
    fn two_names_alike_are_told() {
        let (one, other) = (authority("same"), authority("same"));
        let mut found = Found::default();
        found.trust("pods", &one.certificate_pem());
        found.trust("pods", &other.certificate_pem());
        let now = at("2021-01-01T00:00:00Z");
        let told = remarks(&rows(&found, now), now);
        assert!(told[0].contains("called CN=same"), "{told:?}");
    }
}
