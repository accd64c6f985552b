//! Client certificates of every kind, and what the real kube-apiserver made of each: who it is, or
//! a refusal.
//!
//! `tests/interop/go/certmatrix` makes the certificates; `answers/client-certificates.json` holds
//! those of one run with the verdicts and the instant of judgement, without any private key: who
//! replays it judges the chains, not possession. The name of a case is `group/what`. A verdict
//! writes `LEAF` for the fingerprint of the leaf, so that the verdicts of two runs can be compared
//! by name.

use crate::difference::Difference;
use crate::ledger::Ledger;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Where the recording is, below the crate's directory.
const ANSWERS: &str = "answers/client-certificates.json";
/// Differences that are deliberate.
const ACCEPTED: &str = "accepted-client-certificates.yaml";
/// How a pattern of [`ACCEPTED`] begins that speaks of what TLS does before our authenticator is
/// asked.
const OVER_TLS: &str = "over-tls/";
/// What kube-apiserver says to a client whose signature does not hold.
const NOT_SIGNED: &str = "tls: error decrypting message";
/// The bundle of the cases that name none.
const MAIN: &str = "main";
/// Ends a block of PEM.
const BLOCK_END: &str = "-----\n-----BEGIN ";

/// What was recorded.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Version of the server that judged.
    pub server: String,
    /// When it did; no case is within an hour of another verdict.
    pub judged: Timestamp,
    /// Files of authorities.
    pub bundles: Vec<Bundle>,
    /// Cases, in order.
    pub cases: Vec<Case>,
}

/// A file for `--client-ca-file`.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Name.
    pub name: String,
    /// Its text.
    pub pem: String,
    /// Whether the server starts with it.
    pub starts: bool,
}

/// Certificates that a client shows, and what came of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// `group/what`.
    pub name: String,
    /// Which bundle the server has.
    pub bundle: String,
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// What the server said.
    pub verdict: Verdict,
}

/// What a server makes of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody, anonymous or not.
    Identity {
        /// Name.
        user: String,
        /// UID; empty: none.
        uid: String,
        /// Groups, in order.
        groups: Vec<String>,
        /// Extra.
        extra: BTreeMap<String, Vec<String>>,
    },
    /// Nobody.
    Refused {
        /// In which layer: `401` or `handshake`.
        layer: String,
        /// The alert of a handshake, for people.
        detail: String,
    },
}

impl Verdict {
    /// From the form of the recording.
    pub fn from_json(value: &Value) -> Result<Self> {
        if let Some(layer) = value["refused"].as_str() {
            return Ok(Self::Refused {
                layer: layer.to_owned(),
                detail: value["detail"].as_str().unwrap_or_default().to_owned(),
            });
        }
        let texts = |value: &Value| -> Vec<String> {
            let values = value.as_array().into_iter().flatten();
            values
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect()
        };
        let extra = match value.get("extra") {
            None => usual_extra(),
            Some(extra) => {
                let members = extra.as_object().into_iter().flatten();
                members
                    .map(|(key, value)| (key.clone(), texts(value)))
                    .collect()
            }
        };
        Ok(Self::Identity {
            user: value["user"].as_str().context("no user")?.to_owned(),
            uid: value["uid"].as_str().unwrap_or_default().to_owned(),
            groups: texts(&value["groups"]),
            extra,
        })
    }

    /// In the form of the recording.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Refused { layer, detail } if detail.is_empty() => json!({"refused": layer}),
            Self::Refused { layer, detail } => json!({"refused": layer, "detail": detail}),
            Self::Identity {
                user,
                uid,
                groups,
                extra,
            } => {
                let mut value = json!({"user": user, "groups": groups});
                if !uid.is_empty() {
                    value["uid"] = json!(uid);
                }
                if *extra != usual_extra() {
                    value["extra"] = json!(extra);
                }
                value
            }
        }
    }

    /// Whether a client could tell them apart: a refusal is one, whichever layer it comes from.
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refused { .. }, Self::Refused { .. }) => true,
            _ => self == other,
        }
    }

    /// Whether it is TLS' alone: the handshake's signature did not hold under the certificate's
    /// key. Who judges chains knows nothing of that.
    fn is_about_possession(&self) -> bool {
        matches!(self, Self::Refused { detail, .. } if detail == NOT_SIGNED)
    }
}

/// What everybody has who came with a certificate; a verdict that does not mention `extra` has
/// this.
fn usual_extra() -> BTreeMap<String, Vec<String>> {
    let key = "authentication.kubernetes.io/credential-id";
    BTreeMap::from([(key.to_owned(), vec!["X509SHA256=LEAF".to_owned()])])
}

/// Reads `dir`/answers/client-certificates.json.
pub fn read(dir: &Path) -> Result<Recording> {
    let path = dir.join(ANSWERS);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let document: Value = serde_json::from_str(&text).context(ANSWERS)?;
    let text = |value: &Value, key: &str| -> Result<String> {
        let text = value[key].as_str().with_context(|| format!("no {key}"))?;
        Ok(text.to_owned())
    };
    let mut bundles = Vec::new();
    for value in document["bundles"].as_array().context("no bundles")? {
        let blocks = value["pem"].as_array().context("no pem")?;
        bundles.push(Bundle {
            name: text(value, "name")?,
            pem: blocks.iter().filter_map(Value::as_str).collect(),
            starts: value["starts"].as_bool().context("no starts")?,
        });
    }
    let mut cases: Vec<Case> = Vec::new();
    let mut places: HashMap<String, Vec<u8>> = HashMap::new();
    for value in document["cases"].as_array().context("no cases")? {
        let name = text(value, "name")?;
        let mut chain = Vec::new();
        for (index, element) in value["chain"]
            .as_array()
            .context("no chain")?
            .iter()
            .enumerate()
        {
            let element = element.as_str().context("a chain is texts")?;
            let der = match element.strip_prefix('@') {
                Some(place) => places.get(place).context("no such place")?.clone(),
                None => STANDARD.decode(element).with_context(|| name.clone())?,
            };
            places.insert(format!("{name} {index}"), der.clone());
            chain.push(der);
        }
        cases.push(Case {
            bundle: value["bundle"].as_str().unwrap_or(MAIN).to_owned(),
            verdict: Verdict::from_json(&value["verdict"]).with_context(|| name.clone())?,
            name,
            chain,
        });
    }
    Ok(Recording {
        server: text(&document, "server")?,
        judged: text(&document, "judged")?.parse()?,
        bundles,
        cases,
    })
}

/// Writes `dir`/answers/client-certificates.json: a line for the bytes of a case, a line for its
/// verdict, so that a change of verdicts can be read. A certificate that was there before is
/// `@case index`.
pub fn write(dir: &Path, recording: &Recording) -> Result<()> {
    let mut out = format!(
        "{{\n\"server\": {},\n\"judged\": \"{}\",\n\"bundles\": [",
        json!(recording.server),
        recording.judged
    );
    for (index, bundle) in recording.bundles.iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        let (name, starts) = (json!(bundle.name), bundle.starts);
        write!(out, "{{\"name\": {name}, \"starts\": {starts}, \"pem\": [")?;
        let blocks: Vec<String> = blocks(&bundle.pem)
            .iter()
            .map(|b| json!(b).to_string())
            .collect();
        write!(out, "{}]}}", blocks.join(",\n  "))?;
    }
    out.push_str("\n],\n\"cases\": [");
    let mut places: HashMap<&[u8], String> = HashMap::new();
    for (index, case) in recording.cases.iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        let mut chain = Vec::new();
        for (index, der) in case.chain.iter().enumerate() {
            let element = match places.get(der.as_slice()) {
                Some(place) => format!("@{place}"),
                None => STANDARD.encode(der),
            };
            places
                .entry(der)
                .or_insert(format!("{} {index}", case.name));
            chain.push(element);
        }
        write!(out, "{{\"name\": {}, ", json!(case.name))?;
        if case.bundle != MAIN {
            write!(out, "\"bundle\": {}, ", json!(case.bundle))?;
        }
        let (verdict, chain) = (case.verdict.to_json(), json!(chain));
        write!(out, "\"verdict\": {verdict},\n \"chain\": {chain}}}")?;
    }
    out.push_str("\n]\n}\n");
    fs::write(dir.join(ANSWERS), out).context(ANSWERS)
}

/// Cut where a new block of PEM begins.
fn blocks(pem: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut rest = pem;
    while let Some(at) = rest.find(BLOCK_END) {
        // After the dashes and the line's end.
        let (block, after) = rest.split_at(at + BLOCK_END.len() - "-----BEGIN ".len());
        blocks.push(block);
        rest = after;
    }
    if !rest.is_empty() {
        blocks.push(rest);
    }
    blocks
}

/// Where our verdicts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The authenticator alone, in process.
    Authenticator,
    /// The whole server over TLS.
    Tls,
}

/// Compares our verdicts with those recorded, and knows which differences are deliberate.
#[derive(Debug)]
pub struct Judge {
    layer: Layer,
    accepted: Ledger,
    unknown: Vec<Difference>,
    count: usize,
}

impl Judge {
    /// With the accepted differences of `dir`.
    pub fn new(dir: &Path, layer: Layer) -> Result<Self> {
        Ok(Self {
            layer,
            accepted: Ledger::read(&dir.join(ACCEPTED))?,
            unknown: Vec::new(),
            count: 0,
        })
    }

    /// Judges a case.
    pub fn case(&mut self, case: &Case, ours: &Verdict) {
        if self.layer == Layer::Authenticator && case.verdict.is_about_possession() {
            return;
        }
        self.count += 1;
        if case.verdict.is_same_as(ours) {
            return;
        }
        let (group, what) = case.name.split_once('/').unwrap_or(("", &case.name));
        let difference = Difference {
            scenario: group.to_owned(),
            request: what.to_owned(),
            at: "verdict".to_owned(),
            theirs: Some(case.verdict.to_json()),
            ours: Some(ours.to_json()),
        };
        // There is no reason to let in whom kube-apiserver refuses.
        if matches!(case.verdict, Verdict::Refused { .. }) {
            self.unknown.push(difference);
        } else {
            self.take(difference);
        }
    }

    /// Judges whether a server starts with a bundle.
    pub fn bundle(&mut self, bundle: &Bundle, starts: bool) {
        self.count += 1;
        if bundle.starts != starts {
            self.take(Difference {
                scenario: "bundle".to_owned(),
                request: bundle.name.clone(),
                at: "starts".to_owned(),
                theirs: Some(json!(bundle.starts)),
                ours: Some(json!(starts)),
            });
        }
    }

    fn take(&mut self, difference: Difference) {
        let mut over_tls = difference.clone();
        over_tls.scenario.insert_str(0, OVER_TLS);
        let explained = self.accepted.explains(&difference)
            || self.layer == Layer::Tls && self.accepted.explains(&over_tls);
        if !explained {
            self.unknown.push(difference);
        }
    }

    /// Fails on what is not explained, with a table of it, and on an entry that explains nothing.
    pub fn verdict(self) -> Result<String> {
        let accepted = self.accepted.hits();
        let mut idle = self.accepted.idle();
        if self.layer == Layer::Authenticator {
            idle.retain(|pattern| !pattern.starts_with(OVER_TLS));
        }
        let counts = format!(
            "{} certificates and bundles, {accepted} accepted differences",
            self.count
        );
        if self.unknown.is_empty() && idle.is_empty() {
            return Ok(counts);
        }
        let mut table = String::new();
        for difference in &self.unknown {
            let show = |value: &Option<Value>| value.as_ref().map_or_else(String::new, short);
            writeln!(
                table,
                "{:56} {:9} kubernetes: {:40} everleaf: {}",
                format!("{}/{}", difference.scenario, difference.request),
                difference.at,
                show(&difference.theirs),
                show(&difference.ours)
            )?;
        }
        for pattern in &idle {
            writeln!(table, "explains nothing any more: {pattern}")?;
        }
        bail!(
            "{} unknown differences, {} idle entries ({ACCEPTED} says what is deliberate)\n{table}{counts}",
            self.unknown.len(),
            idle.len()
        )
    }
}

/// Characters of a verdict that a table shows.
const SHOWN_CHARS_MAX: usize = 160;

/// A verdict on one line.
fn short(value: &Value) -> String {
    let text = match &value["refused"] {
        Value::String(layer) => format!("refused ({layer})"),
        _ => value.to_string(),
    };
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// Two recordings of the same cases: what one says otherwise than the other, by name.
pub fn changes(then: &Recording, now: &Recording) -> Result<Vec<String>> {
    let mut changes = Vec::new();
    ensure!(
        then.server == now.server,
        "recorded of {}, this is {}",
        then.server,
        now.server
    );
    let bundles = |of: &Recording| -> BTreeMap<String, Value> {
        let starts = of
            .bundles
            .iter()
            .map(|b| (format!("bundle {}", b.name), json!(b.starts)));
        let cases = of.cases.iter().map(|case| {
            let mut verdict = case.verdict.to_json();
            if let Some(members) = verdict.as_object_mut() {
                members.remove("detail");
            }
            (case.name.clone(), verdict)
        });
        starts.chain(cases).collect()
    };
    let (then, now) = (bundles(then), bundles(now));
    for name in then
        .keys()
        .chain(now.keys().filter(|name| !then.contains_key(*name)))
    {
        let (old, new) = (then.get(name), now.get(name));
        if old != new {
            let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), short);
            changes.push(format!("{name}: recorded {}, now {}", show(old), show(new)));
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_are_cut_without_loss() {
        for text in [
            "",
            "\n",
            "a",
            "-----BEGIN A-----\nx\n-----END A-----\n-----BEGIN B-----\ny",
        ] {
            assert_eq!(blocks(text).concat(), text);
        }
        assert_eq!(blocks("-----END A-----\n-----BEGIN B-----\n").len(), 2);
    }

    #[test]
    fn a_refusal_is_the_same_in_every_layer() {
        let refused = |layer: &str| Verdict::from_json(&json!({"refused": layer})).unwrap();
        assert!(refused("401").is_same_as(&refused("handshake")));
        let jane = Verdict::from_json(&json!({"user": "jane", "groups": ["dev"]})).unwrap();
        assert!(!jane.is_same_as(&refused("401")));
        assert_eq!(Verdict::from_json(&jane.to_json()).unwrap(), jane);
    }
}
