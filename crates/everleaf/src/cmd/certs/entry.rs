//! One certificate as people and programs read it, and what is wrong with it.

use super::survey::{Anchors, Found};
use crate::print::harmless_line;
use everleaf_pki::trust::{Fault, Presented, Purpose, Refusal, TrustBundle};
use everleaf_pki::{Chain, Leaf};
use everleaf_rotation::{Standing, rotation_deadline};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// One certificate; members that make no sense for it are absent.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_to: Option<String>,
    subject: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dns_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ip_addresses: Vec<String>,
    serial_number: String,
    sha256: String,
    issuer: String,
    is_certificate_authority: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_strength: Option<String>,
    chain_length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    life_used_percent: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_deadline: Option<String>,
    standing: &'static str,
    problems: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
    #[serde(skip)]
    left: String,
    #[serde(skip)]
    short_subject: String,
    /// Something that a check must not pass over.
    #[serde(skip)]
    is_bad: bool,
}

impl Entry {
    /// What was found, judged at `now`; what ends within `notice` is not good.
    pub(super) fn of(found: &Found, now: Timestamp, notice: Option<Duration>) -> Self {
        let mut entry = Self {
            file: found.file.clone(),
            link_to: found.link_to.clone(),
            ..Self::default()
        };
        match &found.content {
            Ok(chain) => {
                entry.describe(chain, found, now);
                entry.judge_end(chain, now, notice);
            }
            Err(why) => {
                entry.standing = Standing::Absent.as_str();
                entry.find_bad(why.clone());
            }
        }
        // What `-current` has left behind ends in peace.
        entry.is_bad &= !found.is_left_behind;
        if found.key_is_readable_by_others {
            entry
                .problems
                .push("others may read the key: chmod 0600".to_owned());
        }
        entry
    }

    fn describe(&mut self, chain: &Chain, found: &Found, now: Timestamp) {
        let leaf = chain.leaf();
        self.subject = leaf.subject_text();
        self.dns_names = leaf.dns_names().to_vec();
        self.ip_addresses = leaf
            .ip_addresses()
            .iter()
            .map(ToString::to_string)
            .collect();
        self.serial_number = leaf.serial().to_string();
        self.sha256 = leaf.fingerprint().to_string();
        self.issuer = leaf.issuer_text();
        self.is_certificate_authority = leaf.is_ca();
        self.describe_key(leaf);
        self.chain_length = chain.certificates().len();
        self.not_before = Some(leaf.not_before().to_string());
        self.not_after = Some(leaf.not_after().to_string());
        self.short_subject = match &leaf.subject().common_name {
            name if name.is_empty() => self.subject.clone(),
            name => name.clone(),
        };
        if !is_backdated(leaf, found) {
            let age = now.duration_since(leaf.not_before()).as_secs();
            self.life_used_percent = Some(age.saturating_mul(100) / leaf.lifetime().seconds.max(1));
        }
        let left = leaf.not_after().duration_since(now).as_secs();
        self.left = if left < 0 {
            "none".to_owned()
        } else {
            everleaf_api::duration::human(left)
        };
        let standing = Standing::of(Some(leaf), now);
        self.standing = standing.as_str();
        if leaf.is_ca() {
            // Nobody renews an authority at a deadline.
            if standing == Standing::Due {
                self.standing = Standing::Fresh.as_str();
            }
        } else {
            self.rotation_deadline = Some(rotation_deadline(leaf).to_string());
        }
        self.judge(leaf, chain, found, now);
    }

    /// A problem that decides the exit code.
    fn find_bad(&mut self, problem: String) {
        self.problems.push(problem);
        self.is_bad = true;
    }

    fn judge_end(&mut self, chain: &Chain, now: Timestamp, notice: Option<Duration>) {
        let Some(notice) = notice else { return };
        let within =
            everleaf_api::duration::human(i64::try_from(notice.as_secs()).unwrap_or(i64::MAX));
        let is_near = |certificate: &Leaf| {
            let left = certificate.not_after().duration_since(now);
            !left.is_negative() && left.unsigned_abs() <= notice
        };
        if is_near(chain.leaf()) {
            self.find_bad(format!("ends within {within} (--expires-within)"));
        }
        for above in chain.certificates()[1..]
            .iter()
            .filter(|above| is_near(above))
        {
            let (subject, end) = (above.subject_text(), above.not_after());
            self.find_bad(format!(
                "{subject} of its chain ends at {end}, within {within} (--expires-within)"
            ));
        }
    }

    /// Whether a check must not pass over it.
    pub(super) fn is_bad(&self) -> bool {
        self.is_bad
    }

    /// What is wrong with it, a sentence each.
    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// What to know of it that is no fault, a sentence each.
    pub(super) fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Where it is, and the file that a link names.
    pub(super) fn file_cell(&self) -> String {
        match &self.link_to {
            Some(target) => format!("{} → {target}", self.file),
            None => self.file.clone(),
        }
    }

    /// Cells of the narrow table: standing, left, used, and three dates and names.
    pub(super) fn short_row(&self) -> Vec<String> {
        let date = |text: &Option<String>| {
            text.as_deref()
                .and_then(|text| text.get(..10))
                .map(str::to_owned)
        };
        vec![
            self.standing.to_owned(),
            or_dash(Some(self.left.clone())),
            or_dash(self.life_used_percent.map(|percent| format!("{percent}%"))),
            or_dash(date(&self.not_after)),
            or_dash(date(&self.rotation_deadline)),
            or_dash(Some(self.short_subject.clone())),
        ]
    }

    fn judge(&mut self, leaf: &Leaf, chain: &Chain, found: &Found, now: Timestamp) {
        if now > leaf.not_after() {
            self.find_bad("expired by this host's clock".to_owned());
        }
        if now < leaf.not_before() {
            self.find_bad("not yet valid by this host's clock".to_owned());
        }
        for above in &chain.certificates()[1..] {
            if now > above.not_after() {
                let (subject, end) = (above.subject_text(), above.not_after());
                self.find_bad(format!("{subject} of its chain ended at {end}"));
            }
        }
        if let Some(Err(why)) = &found.key {
            self.find_bad(format!("key: {why}"));
        }
        let Some(Anchors { bundle, origin }) = found.anchors.as_deref() else {
            return;
        };
        if leaf.is_ca() {
            return;
        }
        let purpose = if leaf.allows_client_auth() {
            Purpose::ClientAuth
        } else {
            Purpose::ServerAuth
        };
        // Its own dates are told above; here it is judged at the moment of its life that is
        // nearest.
        let moment = now.clamp(leaf.not_before(), leaf.not_after());
        match bundle.judge(&Presented::from(chain), purpose, moment) {
            Err(Refusal::UnknownAuthority(None | Some(Fault::Signature(_)))) => {
                let hint = match chain.certificates().len() {
                    1 => "; one in between must follow it in its file",
                    _ => "",
                };
                self.find_bad(format!("not signed by an authority of {origin}{hint}"));
            }
            Err(refusal) => self.find_bad(format!("would not be believed: {refusal}")),
            Ok(path) if path.not_after() < leaf.not_after() => {
                let end = path.not_after();
                self.problems
                    .push(format!("its authority ends first, at {end}"));
            }
            Ok(_) => self.remarks.extend(end_of_authority(leaf, bundle)),
        }
    }

    /// Kind and strength of the key, where it is one that is signed here.
    fn describe_key(&mut self, leaf: &Leaf) {
        let kind = leaf.public_key().algorithm();
        self.key_strength = kind.as_ref().ok().map(|kind| kind.strength());
        self.key_algorithm = Some(match kind {
            Ok(kind) => kind.to_string(),
            Err(_) => leaf.public_key().kind().to_string(),
        });
        if leaf.public_key().is_ml_dsa() {
            self.remarks.push(format!(
                "key {} ({})",
                leaf.public_key().kind(),
                self.key_strength.as_deref().unwrap_or_default()
            ));
        }
    }

    fn key_cell(&self) -> Option<String> {
        let kind = self.key_algorithm.as_ref()?;
        Some(match &self.key_strength {
            Some(strength) => format!("{kind} ({strength})"),
            None => kind.clone(),
        })
    }

    /// Cells of the wide table.
    pub(super) fn row(&self) -> Vec<String> {
        let sans: Vec<String> = self
            .dns_names
            .iter()
            .chain(&self.ip_addresses)
            .cloned()
            .collect();
        [
            self.file_cell(),
            or_dash(Some(self.subject.clone())),
            or_dash(self.not_after.clone()),
            or_dash(Some(self.left.clone())),
            or_dash(self.life_used_percent.map(|percent| format!("{percent}%"))),
            or_dash(self.rotation_deadline.clone()),
            self.standing.to_owned(),
            or_dash(Some(sans.join(","))),
            or_dash(Some(self.serial_number.clone())),
            or_dash(self.not_before.clone()),
            or_dash(Some(self.issuer.clone())),
            or_dash(self.key_cell()),
            self.chain_length.to_string(),
            or_dash(Some(self.problems.join("; "))),
            or_dash(Some(self.remarks.join("; "))),
        ]
        .iter()
        .map(|cell| harmless_line(cell))
        .collect()
    }
}

fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "-".into())
}

/// Whether it may have begun, on paper, long before it was made, so that its age is not known:
/// authorities, and what `up` makes along with its authority.
fn is_backdated(leaf: &Leaf, found: &Found) -> bool {
    let anchors = found
        .anchors
        .as_ref()
        .map_or(&[][..], |anchors| anchors.bundle.anchors());
    let begins_with_it =
        |anchor: &Leaf| leaf.is_signed_by(anchor) && leaf.not_before() <= anchor.not_before();
    leaf.is_ca() || anchors.iter().any(begins_with_it)
}

/// Whoever signed it ends at the same moment, which is why it does.
fn end_of_authority(leaf: &Leaf, anchors: &TrustBundle) -> Option<String> {
    let ends_with_it =
        |anchor: &Leaf| leaf.is_signed_by(anchor) && anchor.not_after() == leaf.not_after();
    let is_met = anchors.anchors().iter().any(ends_with_it);
    is_met.then(|| "ends with its authority".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::{Credential, Issuer, KeyAlgorithm, PrivateKey, Subject, Template, Usage};
    use std::sync::Arc;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn authority(not_after: &str) -> Issuer {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        Issuer::self_signed(
            "ca",
            key,
            [1; 16],
            at("2030-01-01T00:00:00Z"),
            at(not_after),
        )
        .unwrap()
    }

    fn anchored(issuer: &Issuer) -> Arc<Anchors> {
        Arc::new(Anchors {
            bundle: [issuer.certificate().clone()].into_iter().collect(),
            origin: "ca.crt".to_owned(),
        })
    }

    fn node(issuer: &Issuer) -> Found {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let template = Template {
            subject: Subject {
                common_name: "system:node:n".into(),
                organizations: vec!["system:nodes".into()],
            },
            ..Template::default()
        };
        let chain = issuer
            .issue_own(
                &template,
                key.public_key(),
                &[Usage::ClientAuth],
                [2; 16],
                at("2031-01-01T00:00:00Z"),
                at("2032-01-01T00:00:00Z"),
            )
            .unwrap();
        let credential = Credential::new(chain.clone(), key)
            .map(drop)
            .map_err(|e| e.to_string());
        Found {
            file: "n.pem".into(),
            content: Ok(chain),
            key: Some(credential),
            anchors: Some(anchored(issuer)),
            link_to: None,
            is_left_behind: false,
            key_is_readable_by_others: false,
        }
    }

    #[test]
    fn a_healthy_certificate_has_no_problem() {
        let entry = Entry::of(
            &node(&authority("2040-01-01T00:00:00Z")),
            at("2031-07-02T12:00:00Z"),
            None,
        );
        assert_eq!(entry.problems, Vec::<String>::new());
        assert_eq!(
            (entry.standing, entry.life_used_percent),
            ("fresh", Some(50))
        );
        assert!(!entry.is_bad());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let issuer = authority("2040-01-01T00:00:00Z");
        let now = at("2032-06-01T00:00:00Z");
        let expired = Entry::of(&node(&issuer), now, None);
        assert_eq!(expired.problems, ["expired by this host's clock"]);
        assert_eq!(expired.left, "none");

        let early = Entry::of(&node(&issuer), at("2030-06-01T00:00:00Z"), None);
        assert_eq!(early.problems, ["not yet valid by this host's clock"]);

        let mut stranger = node(&issuer);
        stranger.anchors = Some(anchored(&authority("2040-01-01T00:00:00Z")));
        let stranger = Entry::of(&stranger, at("2031-07-01T00:00:00Z"), None);
        assert_eq!(
            stranger.problems,
            ["not signed by an authority of ca.crt; one in between must follow it in its file"]
        );

        let mut corrupt = node(&issuer);
        corrupt.content = Err("no certificate".into());
        corrupt.key_is_readable_by_others = true;
        let corrupt = Entry::of(&corrupt, now, None);
        assert_eq!(
            corrupt.problems,
            ["no certificate", "others may read the key: chmod 0600"]
        );
    }

    #[test]
    fn what_a_check_must_not_pass_over_is_bad() {
        let issuer = authority("2040-01-01T00:00:00Z");
        let day = Duration::from_secs(24 * 3600);
        let good = at("2031-12-01T00:00:00Z");
        for (now, notice, is_bad) in [
            (good, None, false),
            (good, Some(30 * day), false),
            (good, Some(32 * day), true),
            (at("2032-01-01T00:00:01Z"), None, true),
            (at("2030-12-31T00:00:00Z"), None, true),
        ] {
            let mut found = node(&issuer);
            let entry = Entry::of(&found, now, notice);
            assert_eq!(
                entry.is_bad(),
                is_bad,
                "{now} {notice:?}: {:?}",
                entry.problems
            );
            found.is_left_behind = true;
            assert!(!Entry::of(&found, now, notice).is_bad());
        }
        let mut stranger = node(&issuer);
        stranger.anchors = Some(anchored(&authority("2040-01-01T00:00:00Z")));
        assert!(Entry::of(&stranger, good, None).is_bad());
        let mut corrupt = node(&issuer);
        corrupt.content = Err("no certificate".into());
        assert!(Entry::of(&corrupt, good, None).is_bad());
    }

    #[test]
    fn what_is_above_the_certificate_must_be_in_force_too() {
        let issuer = authority("2040-01-01T00:00:00Z");
        let mut found = node(&issuer);
        let leaf = found.content.as_ref().unwrap().leaf().clone();
        let other = authority("2031-02-01T00:00:00Z");
        let chain = Chain::new(vec![leaf, other.certificate().clone()]).unwrap();
        found.content = Ok(chain);
        let early = Entry::of(&found, at("2031-01-20T00:00:00Z"), None);
        assert!(!early.is_bad(), "{:?}", early.problems);
        let day = Duration::from_secs(24 * 3600);
        let near = Entry::of(&found, at("2031-01-20T00:00:00Z"), Some(20 * day));
        assert!(
            near.problems[0].starts_with("CN=ca of its chain ends at 2031-02-01"),
            "{:?}",
            near.problems
        );
        let late = Entry::of(&found, at("2031-02-20T00:00:00Z"), None);
        assert!(near.is_bad() && late.is_bad());
        assert_eq!(
            late.problems[0],
            "CN=ca of its chain ended at 2031-02-01T00:00:00Z"
        );
    }

    #[test]
    fn what_is_backdated_has_no_age() {
        let issuer = authority("2040-01-01T00:00:00Z");
        let mut found = node(&issuer);
        let age =
            |found: &Found| Entry::of(found, at("2031-07-02T12:00:00Z"), None).life_used_percent;
        assert_eq!(age(&found), Some(50));
        found.content = Ok(Chain::from(issuer.certificate().clone()));
        assert_eq!(age(&found), None, "an authority");
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let ca = issuer.certificate();
        let server = issuer.issue_own(
            &Template::default(),
            key.public_key(),
            &[Usage::ServerAuth],
            [3; 16],
            ca.not_before(),
            ca.not_after(),
        );
        found.content = Ok(server.unwrap());
        assert_eq!(age(&found), None, "made along with its authority");
    }

    /// What a stranger wrote into a certificate must not steer the terminal of whoever looks at it.
    #[test]
    fn names_of_others_are_shown_not_obeyed() {
        let issuer = authority("2040-01-01T00:00:00Z");
        let mut found = node(&issuer);
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let template = Template {
            subject: Subject {
                common_name: "x\n\u{1b}[2Jfresh\u{202e}".into(),
                organizations: vec![],
            },
            ..Template::default()
        };
        let ca = issuer.certificate();
        let chain = issuer.issue_own(
            &template,
            key.public_key(),
            &[Usage::ClientAuth],
            [4; 16],
            ca.not_before(),
            ca.not_after(),
        );
        found.content = Ok(chain.unwrap());
        found.key = None;
        found.file = "a\u{1b}]0;b".into();
        let entry = Entry::of(&found, at("2031-07-02T12:00:00Z"), None);
        let table = super::super::table::of(std::slice::from_ref(&entry), false);
        for text in [&table, &entry.row().concat()] {
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        }
        assert!(table.contains("x\\n\\u{1b}[2Jfresh\\u{202e}"), "{table}");
        assert_eq!(entry.remarks, ["ends with its authority"]);
        assert_eq!(entry.problems, Vec::<String>::new());
    }

    #[test]
    fn the_table_fits_a_terminal() {
        let issuer = authority("2040-01-01T00:00:00Z");
        let mut found = node(&issuer);
        found.file = "/var/lib/kubelet/pki/kubelet-client-current.pem".into();
        found.link_to = Some("kubelet-client-2031-01-01-00-00-00.pem".into());
        let entries = [
            Entry::of(&found, at("2031-07-02T12:00:00Z"), None),
            Entry::of(&node(&issuer), at("2032-06-01T00:00:00Z"), None),
        ];
        let table = super::super::table::of(&entries, false);
        for line in table.lines() {
            assert!(line.chars().count() <= 80, "{line:?}");
        }
        assert!(!table.contains('\u{1b}'), "{table}");
        assert!(super::super::table::of(&entries, true).contains("\u{1b}[31mexpired"));
        for words in [
            "system:node:n",
            "50%",
            "2032-01-01",
            "expired by this host's clock",
        ] {
            assert!(table.contains(words), "no {words:?} in\n{table}");
        }
    }
}
