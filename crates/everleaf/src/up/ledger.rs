//! A roll of the CA in the data directory: what is under way, and the keys and certificates of both
//! CAs while it is.
//!
//! `pki/roll.json` says which of the files in `pki/roll` count, and is replaced as a whole:
//! whatever else was written, a start goes on from what it says. It is here and not in an object
//! of the API: the keys are here, and a start needs it before there is an API.

use super::authority::{begin_at, latest_end};
use super::data_dir::DataDir;
use super::entropy;
use anyhow::{Context, Result, anyhow};
use everleaf_agent::join::CaPin;
use everleaf_api::authorities::Announcement;
use everleaf_controllers::roll::{Authority as Which, Ended, Phase, Roll, Start};
use everleaf_node::places::{CA_CERTIFICATE, CA_KEY};
use everleaf_pki::{Chain, Issuer, KeyAlgorithm, Leaf, PrivateKey};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;

/// The state.
const STATE: &str = "pki/roll.json";
/// Keys and certificates of both CAs.
const FOLDER: &str = "pki/roll";
/// The certificates by which each of the two vouches for the other.
const LINKS: &str = "pki/roll/links.crt";

/// What is remembered of rolls.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ledger {
    /// The one under way.
    pub(crate) roll: Option<Roll>,
    /// The one before.
    pub(crate) ended: Option<Ended>,
    /// Pins of CAs that nobody is to trust any more.
    pub(crate) retired: BTreeSet<String>,
    /// The command that was answered last, and how.
    pub(crate) answered: String,
    /// The answer, in words.
    pub(crate) reply: String,
    /// Whether that was a no.
    pub(crate) is_refusal: bool,
}

/// The CAs in force.
pub(crate) struct Standing {
    /// Signs.
    pub(crate) issuer: Issuer,
    /// Trusted, the one that signs in front.
    pub(crate) anchors: Vec<Leaf>,
    /// Goes along with the API server's certificate, for whoever trusts only the other CA.
    pub(crate) link: Option<Leaf>,
    /// All links, PEM.
    pub(crate) links: String,
}

/// What a CA that comes is to be like.
pub(crate) struct Made<'a> {
    /// Its name, which a number follows.
    pub(crate) base_name: &'a str,
    /// The kind of its key.
    pub(crate) kind: KeyAlgorithm,
    /// From when it is good.
    pub(crate) begin: Timestamp,
    /// Until when.
    pub(crate) end: Timestamp,
}

impl Standing {
    /// No roll is under way.
    pub(crate) fn alone(issuer: Issuer) -> Self {
        Self {
            anchors: vec![issuer.certificate().clone()],
            issuer,
            link: None,
            links: String::new(),
        }
    }

    /// The CAs to trust, PEM.
    pub(crate) fn bundle(&self) -> Result<String> {
        Ok(Chain::new(self.anchors.clone())?.to_pem())
    }
}

/// Which CA that is.
pub(crate) fn which(ca: &Leaf) -> Which {
    let mut key_id = String::new();
    for byte in ca.subject_key_id().unwrap_or_default() {
        // Writing to a String cannot fail.
        let _ = write!(key_id, "{byte:02x}");
    }
    Which {
        subject: ca.subject_text(),
        pin: CaPin::of(ca).to_string(),
        key_id,
    }
}

/// Where key or certificate of a CA lie during a roll.
fn place(which: &Which, kind: &str) -> String {
    let digits = which.pin.trim_start_matches("sha256:");
    let short = digits.get(..16).unwrap_or(digits);
    format!("{FOLDER}/{short}.{kind}")
}

/// Refuses to go on as if there were no roll where one was in force: its keys lie in their folder,
/// and both CAs in `ca.crt`. Without the latter it was cut off before it began, or had ended.
fn refuse_forgotten(dir: &DataDir) -> Result<()> {
    let trusted = dir.read(CA_CERTIFICATE)?;
    let trusted = trusted.and_then(|pem| Chain::from_pem(pem.as_bytes()).ok());
    let is_both = trusted.is_some_and(|chain| chain.certificates().len() > 1);
    if !is_both || !dir.path(FOLDER).exists() {
        return Ok(());
    }
    Err(anyhow!(
        "{} is missing, although the CA was being replaced ({} is there): it says which of the two certificate authorities signs, and nothing \
         is guessed. Put it back from a copy of this directory; leave {} as it is",
        dir.path(STATE).display(),
        dir.path(FOLDER).display(),
        dir.path(CA_CERTIFICATE).display()
    ))
}

/// The certificates by which each of two CAs vouches for the other.
fn links(one: &Issuer, other: &Issuer, now: Timestamp) -> Result<Chain> {
    let link = |by: &Issuer, of: &Issuer| {
        let (serial, begin) = (entropy::bytes()?, begin_at(now));
        anyhow::Ok(by.link_to(of.certificate(), serial, begin, latest_end())?)
    };
    Ok(Chain::new(vec![link(one, other)?, link(other, one)?])?)
}

/// Those that are kept; made anew where one is missing, since without it whoever trusts one CA
/// alone believes nothing of the other.
fn ensure_links(dir: &DataDir, one: &Issuer, other: &Issuer, now: Timestamp) -> Result<Chain> {
    let kept = dir.read(LINKS)?;
    let kept = kept.and_then(|text| Chain::from_pem(text.as_bytes()).ok());
    let (a, b) = (one.certificate(), other.certificate());
    let has = |chain: &Chain, by: &Leaf, of: &Leaf| {
        let mut all = chain.certificates().iter();
        all.any(|link| everleaf_pki::issuer::links(link, by, of))
    };
    if let Some(kept) = kept.filter(|kept| has(kept, a, b) && has(kept, b, a)) {
        return Ok(kept);
    }
    let made = links(one, other, now)?;
    dir.write(LINKS, &made.to_pem())?;
    tracing::warn!(
        "{} was missing or not usable: it is made anew, with both keys",
        dir.path(LINKS).display()
    );
    Ok(made)
}

impl Ledger {
    /// What is remembered; nothing in a directory in which there was no roll yet.
    ///
    /// # Errors
    /// It cannot be read: nobody knows which CA signs, and nothing is guessed.
    pub(crate) fn read(dir: &DataDir) -> Result<Self> {
        let Some(text) = dir.read(STATE)? else {
            refuse_forgotten(dir)?;
            return Ok(Self::default());
        };
        Self::parse(&text).ok_or_else(|| {
            anyhow!(
                "{} is damaged: it says which of two certificate authorities signs. Put a copy of this directory back",
                dir.path(STATE).display()
            )
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let words = |key: &str| value[key].as_str().map(str::to_owned);
        let retired = value["retired"].as_array()?.iter();
        Some(Self {
            roll: match &value["roll"] {
                Value::Null => None,
                roll => Some(Roll::of_json(roll)?),
            },
            ended: match &value["ended"] {
                Value::Null => None,
                ended => Some(Ended::of_json(ended)?),
            },
            retired: retired
                .filter_map(|pin| Some(pin.as_str()?.to_owned()))
                .collect(),
            answered: words("answered")?,
            reply: words("reply")?,
            is_refusal: value["refusal"].as_bool()?,
        })
    }

    pub(crate) fn write(&self, dir: &DataDir) -> Result<()> {
        let document = json!({
            "roll": self.roll.as_ref().map(Roll::to_json),
            "ended": self.ended.as_ref().map(Ended::to_json),
            "retired": self.retired,
            "answered": self.answered,
            "reply": self.reply,
            "refusal": self.is_refusal,
        });
        dir.write(STATE, &format!("{document:#}\n"))
    }

    /// Makes another CA and all that a roll to it needs. Nothing counts before the ledger is
    /// written with the roll.
    pub(crate) fn prepare(
        dir: &DataDir,
        from: &Issuer,
        made: &Made<'_>,
        start: Start,
        now: Timestamp,
    ) -> Result<Roll> {
        let key = PrivateKey::generate(made.kind)?;
        // Never the old name: of two CAs with one name, OpenSSL tries the first and GnuTLS the
        // last.
        let number = u32::from_be_bytes(entropy::bytes()?);
        let name = format!("{}-{number:08x}", made.base_name);
        let to = Issuer::self_signed(&name, key, entropy::bytes()?, made.begin, made.end)?;
        let links = links(from, &to, now)?;
        for issuer in [from, &to] {
            let which = which(issuer.certificate());
            let key = issuer
                .key()
                .context("the key of the CA is not in this process")?;
            dir.write(&place(&which, "key"), &key.to_pem())?;
            dir.write(&place(&which, "crt"), &issuer.certificate_pem())?;
        }
        dir.write(LINKS, &links.to_pem())?;
        let (from, to) = (which(from.certificate()), which(to.certificate()));
        Ok(Roll::begin(from, to, start, now))
    }

    /// The CAs of the roll under way. `ca.crt` and `ca.key` follow them.
    pub(crate) fn in_force(dir: &DataDir, roll: &Roll, now: Timestamp) -> Result<Standing> {
        let load = |which: &Which| {
            let read = |kind: &str| {
                let name = place(which, kind);
                let shown = dir.path(&name).display().to_string();
                let text = dir.read(&name)?;
                text.with_context(|| {
                    format!(
                        "{shown} is missing: the CA is being replaced, and this is one of the two. Put a copy of this directory back"
                    )
                })
            };
            let (certificate, key) = (read("crt")?, read("key")?);
            Issuer::from_pem(certificate.as_bytes(), &key).with_context(|| {
                format!("{} is not usable", dir.path(&place(which, "crt")).display())
            })
        };
        let (from, to) = (load(&roll.from)?, load(&roll.to)?);
        let links = ensure_links(dir, &from, &to, now)?;
        let (issuer, other) = match roll.phase {
            Phase::Publish => (from, to),
            Phase::Renew => (to, from),
        };
        let all = links.certificates().to_vec();
        let (ca, other) = (issuer.certificate().clone(), other.certificate().clone());
        let to_signer = |link: &Leaf| everleaf_pki::issuer::links(link, &other, &ca);
        let standing = Standing {
            link: match roll.phase {
                Phase::Publish => None,
                Phase::Renew => all.into_iter().find(to_signer),
            },
            anchors: vec![ca, other],
            links: links.to_pem(),
            issuer,
        };
        let key = standing.issuer.key().map(PrivateKey::to_pem);
        dir.write_if_changed(CA_KEY, &key.unwrap_or_default())?;
        dir.write_if_changed(CA_CERTIFICATE, &standing.bundle()?)?;
        Ok(standing)
    }

    /// Ends the roll: the one CA stays alone, and the ledger says so last. Its files in `pki/roll`
    /// go with the next look.
    pub(crate) fn end(
        &mut self,
        dir: &DataDir,
        stays: &Which,
        goes: &Which,
        now: Timestamp,
    ) -> Result<()> {
        for (kind, name) in [("key", CA_KEY), ("crt", CA_CERTIFICATE)] {
            let text = dir.read(&place(stays, kind))?;
            let text = text.with_context(|| format!("{} is missing", place(stays, kind)))?;
            dir.write(name, &text)?;
        }
        let mut ended = self.clone();
        ended.roll = None;
        let over = Ended {
            at: now,
            stays: stays.clone(),
            dropped: goes.clone(),
        };
        // Whoever asked for it and was told no is told that.
        if !ended.is_refusal {
            ended.reply = over.words();
        }
        ended.ended = Some(over);
        ended.retired.insert(goes.pin.clone());
        ended.write(dir)?;
        *self = ended;
        Ok(())
    }

    /// The certificate of a CA of a roll; none once it was tidied away.
    pub(crate) fn certificate(dir: &DataDir, which: &Which) -> Result<Option<Leaf>> {
        let text = dir.read(&place(which, "crt"))?;
        text.map(|text| {
            let chain = Chain::from_pem(text.as_bytes());
            let chain = chain.with_context(|| {
                format!("{} is not usable", dir.path(&place(which, "crt")).display())
            })?;
            Ok(chain.leaf().clone())
        })
        .transpose()
    }

    /// Removes what no roll needs: the key of a CA that is gone is worth nothing to us, and much to
    /// a thief.
    pub(crate) fn tidy(dir: &DataDir) -> Result<()> {
        let folder = dir.path(FOLDER);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// What nodes are to be told; nothing before the first roll.
    pub(crate) fn announcement(&self, standing: &Standing) -> Result<Option<Announcement>> {
        if self.roll.is_none() && self.retired.is_empty() {
            return Ok(None);
        }
        let roll = self.roll.as_ref();
        Ok(Some(Announcement {
            bundle: standing.bundle()?,
            links: standing.links.clone(),
            signer: CaPin::of(standing.issuer.certificate()).to_string(),
            epoch: roll.map_or_else(String::new, |roll| roll.epoch.to_string()),
            retired: self.retired.clone(),
            renewal: roll.and_then(|roll| roll.renewal),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::authority::CA_NAME;
    use super::*;

    fn now() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    fn ca() -> Issuer {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        Issuer::self_signed(CA_NAME, key, [1; 16], begin_at(now()), latest_end()).unwrap()
    }

    fn made() -> Made<'static> {
        Made {
            base_name: CA_NAME,
            kind: KeyAlgorithm::EcdsaP256,
            begin: begin_at(now()),
            end: latest_end(),
        }
    }

    const START: Start = Start {
        per_minute: 60,
        may_finish: false,
    };

    #[test]
    fn a_damaged_ledger_is_no_empty_one() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temporary.path()).unwrap();
        assert_eq!(Ledger::read(&dir).unwrap(), Ledger::default());
        let roll = Ledger::prepare(&dir, &ca(), &made(), START, now()).unwrap();
        let ledger = Ledger {
            roll: Some(roll),
            retired: ["sha256:00".to_owned()].into(),
            answered: "x".to_owned(),
            ..Ledger::default()
        };
        ledger.write(&dir).unwrap();
        assert_eq!(Ledger::read(&dir).unwrap(), ledger);
        let text = dir.read(STATE).unwrap().unwrap();
        for end in 0..text.trim_end().len() {
            dir.write(STATE, &text[..end]).unwrap();
            let refused = Ledger::read(&dir).unwrap_err().to_string();
            assert!(refused.contains("is damaged"), "{end}: {refused}");
        }
    }

    /// Links that are gone, or are none, are made anew, once.
    fn links_are_mended(dir: &DataDir, roll: &Roll, other: &str) {
        for damage in [None, Some(""), Some("no PEM"), Some(other)] {
            match damage {
                None => fs::remove_file(dir.path(LINKS)).unwrap(),
                Some(text) => dir.write(LINKS, text).unwrap(),
            }
            let mended = Ledger::in_force(dir, roll, now()).unwrap();
            assert!(mended.link.is_some(), "{damage:?}");
            let again = Ledger::in_force(dir, roll, now()).unwrap();
            assert_eq!(again.links, mended.links, "once");
        }
    }

    /// At each phase, and after it: which CA signs, whom everybody trusts, and what `ca.crt` says.
    #[test]
    fn the_files_follow_the_phase() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temporary.path()).unwrap();
        let old = ca();
        let mut roll = Ledger::prepare(&dir, &old, &made(), START, now()).unwrap();
        assert_ne!(roll.to.subject, roll.from.subject);
        assert!(
            roll.to.subject.contains("everleaf-ca-"),
            "{}",
            roll.to.subject
        );
        let subjects = || {
            let pem = dir.read(CA_CERTIFICATE).unwrap().unwrap();
            let chain = Chain::from_pem(pem.as_bytes()).unwrap();
            let all = chain.certificates().iter();
            all.map(Leaf::subject_text).collect::<Vec<_>>()
        };
        let standing = Ledger::in_force(&dir, &roll, now()).unwrap();
        assert_eq!(which(standing.issuer.certificate()), roll.from);
        assert!(standing.link.is_none());
        assert_eq!(
            subjects(),
            [roll.from.subject.clone(), roll.to.subject.clone()]
        );
        roll.phase = Phase::Renew;
        links_are_mended(&dir, &roll, &old.certificate_pem());
        let standing = Ledger::in_force(&dir, &roll, now()).unwrap();
        assert_eq!(which(standing.issuer.certificate()), roll.to);
        assert!(standing.link.unwrap().is_signed_by(old.certificate()));
        assert_eq!(
            subjects(),
            [roll.to.subject.clone(), roll.from.subject.clone()]
        );
        let key = dir.read(CA_KEY).unwrap().unwrap();
        assert!(
            PrivateKey::from_pem(&key).unwrap().public_key() == standing.anchors[0].public_key()
        );
        let forgotten = Ledger::read(&dir).unwrap_err().to_string();
        assert!(
            forgotten.contains("pki/roll.json is missing"),
            "{forgotten}"
        );
        let mut ledger = Ledger {
            roll: Some(roll.clone()),
            ..Ledger::default()
        };
        ledger.end(&dir, &roll.to, &roll.from, now()).unwrap();
        assert_eq!(subjects(), [roll.to.subject.clone()]);
        let read = Ledger::read(&dir).unwrap();
        assert_eq!((&read.roll, read.retired.len()), (&None, 1));
        let ended = read.ended.unwrap();
        assert_eq!((ended.stays, ended.dropped), (roll.to, roll.from));
        assert!(read.reply.contains("ended at 2030-01-01T00:00:00Z"));
        Ledger::tidy(&dir).unwrap();
        Ledger::tidy(&dir).unwrap();
        assert!(!dir.path(FOLDER).exists());
    }
}
