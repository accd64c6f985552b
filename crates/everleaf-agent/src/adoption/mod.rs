//! A kubelet's client certificate changes hands: from the kubelet of a kubeadm node to an agent,
//! and back.
//!
//! Either way: look at everything and judge it ([`plan_adoption`], [`plan_hand_back`]: no write),
//! then carry it out, one whole file after the other. A record in the cert dir says what was
//! changed; it is written first and, on the way back, removed last, so that the same command run
//! again finishes what was interrupted, and the other one undoes it. At every point a kubelet finds
//! a certificate that works.
//!
//! The kubelet's renewal is switched off before anything else changes, and kubelets are looked for
//! once more after that: whichever starts later does not renew. Agents keep each other out by the
//! cert dir's lock.

mod credential;
mod kubelets;
mod record;
mod steps;
mod switch;
#[cfg(test)]
mod tests;

use crate::bootstrap::{
    client_current, keep_copy, named_files, names_current, pointing_at_current,
};
use crate::kubeconfig::{Kubeconfig, Names, Source, User, rewrite, write_private};
use credential::{Found, find_credential, node_of, read_current};
use everleaf_pki::Credential;
use everleaf_rotation::store::CertStore as _;
use everleaf_rotation::store::dir::{CertDir, check_free, read_file};
use jiff::Timestamp;
use record::Record;
use std::fmt;
use std::path::{Path, PathBuf};
use steps::{Adopted, Before, Step};

/// Files of the client certificate in a cert dir begin with this.
const CLIENT_PREFIX: &str = "kubelet-client";
/// Largest configuration file of a kubelet that is read.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// What k3s and RKE2 call a kubelet's certificate (k3s: `pkg/agent/config/config.go`).
const K3S_CERTIFICATE: &str = "client-kubelet.crt";
/// Where they keep what their agents have.
const K3S_AGENTS: [&str; 2] = ["/var/lib/rancher/k3s/agent", "/var/lib/rancher/rke2/agent"];
/// Files with flags of a kubelet that kubeadm's service reads, besides the one in its own
/// directory.
const FLAG_FILES: [&str; 2] = ["/etc/default/kubelet", "/etc/sysconfig/kubelet"];

/// Where a kubelet keeps what matters here; absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its kubeconfig (kubeadm: `/etc/kubernetes/kubelet.conf`).
    pub kubeconfig: PathBuf,
    /// Its certificates (`/var/lib/kubelet/pki`).
    pub cert_dir: PathBuf,
    /// Its configuration (`/var/lib/kubelet/config.yaml`).
    pub kubelet_config: PathBuf,
}

/// What would be changed, and on whose behalf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The node, by its certificate.
    pub node: String,
    /// When that certificate ends.
    pub not_after: Timestamp,
    /// The changes, in the order in which they are made; none when it is done already.
    pub changes: Vec<Change>,
    /// What stays as it is, and what to do about it.
    pub notes: Vec<String>,
}

/// One file that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub path: PathBuf,
    /// What of it goes away. Never a secret.
    pub before: Option<String>,
    /// What comes in its place.
    pub after: Option<String>,
    step: Step,
}

/// Why nothing is changed, or not all of it: each reason with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Every reason found.
    pub reasons: Vec<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons.join("\n"))
    }
}

impl std::error::Error for Refusal {}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self {
            reasons: vec![reason],
        }
    }
}

/// What [`plan_adoption`] found.
struct Survey {
    plan: Plan,
    credential: Credential,
    record: Record,
}

/// What [`adopt`] would do now. Writes nothing. A kubelet that runs is a note here.
///
/// # Errors
/// Everything else that stands against it.
pub fn plan_adoption(place: &Place, now: Timestamp) -> Result<Plan, Refusal> {
    check_free(&place.cert_dir).map_err(|error| error.to_string())?;
    let mut plan = survey(place, now)?.plan;
    let running = refuse_kubelets(place).err();
    plan.notes
        .extend(running.map(|refusal| refusal.to_string()));
    Ok(plan)
}

/// Takes the client certificate over, and returns what was changed.
///
/// # Errors
/// As [`plan_adoption`]; what the system says of a file. Then the same call goes on where it ended.
pub fn adopt(place: &Place, now: Timestamp) -> Result<Plan, Refusal> {
    // Before anything is made: a directory, a lock.
    match (survey(place, now), refuse_kubelets(place)) {
        (Err(mut refusal), Err(running)) => {
            refusal.reasons.extend(running.reasons);
            return Err(refusal);
        }
        (Err(refusal), _) | (_, Err(refusal)) => return Err(refusal),
        (Ok(_), Ok(())) => {}
    }
    let cert_dir = CertDir::open(&place.cert_dir).map_err(|error| error.to_string())?;
    let survey = survey(place, now)?;
    for change in &survey.plan.changes {
        carry_out(place, &survey, &cert_dir, change.step, now)?;
    }
    // The last look: one that started before its renewal was off.
    if !survey.plan.changes.is_empty() {
        refuse_kubelets(place)?;
    }
    Ok(survey.plan)
}

fn carry_out(
    place: &Place,
    survey: &Survey,
    cert_dir: &CertDir,
    step: Step,
    now: Timestamp,
) -> Result<(), Refusal> {
    match step {
        Step::WriteRecord => survey.record.write(&place.cert_dir)?,
        Step::SwitchOff => switch(&place.kubelet_config, false)?,
        Step::Import => {
            refuse_kubelets(place)?;
            let local = jiff::tz::TimeZone::system().to_datetime(now);
            let mut store = cert_dir.store(CLIENT_PREFIX);
            let imported = store.import(&survey.credential, local);
            imported.map_err(|error| error.to_string())?;
        }
        Step::NameCurrent => {
            refuse_kubelets(place)?;
            name_current(place)?;
        }
        Step::SwitchOn | Step::RemoveRecord => {}
    }
    Ok(())
}

/// What [`hand_back`] would do now. Writes nothing.
///
/// # Errors
/// Everything that stands against it.
pub fn plan_hand_back(place: &Place, now: Timestamp) -> Result<Plan, Refusal> {
    check_free(&place.cert_dir).map_err(|error| error.to_string())?;
    survey_back(place, now)
}

/// Gives the client certificate back to the kubelet, and returns what was changed.
///
/// # Errors
/// As [`plan_hand_back`]; what the system says of a file. Then the same call goes on where it
/// ended.
pub fn hand_back(place: &Place, now: Timestamp) -> Result<Plan, Refusal> {
    // Before anything is made: a directory, a lock.
    find_record(place)?;
    let cert_dir = CertDir::open(&place.cert_dir).map_err(|error| error.to_string())?;
    let mut store = cert_dir.store(CLIENT_PREFIX);
    // What an agent has left half done is put in order.
    store.load(now).map_err(|error| error.to_string())?;
    let plan = survey_back(place, now)?;
    // A request that waits is nothing to a kubelet: it makes its own.
    let discarded = store.discard_pending();
    discarded.map_err(|error| error.to_string())?;
    for change in &plan.changes {
        match change.step {
            Step::SwitchOn => switch(&place.kubelet_config, true)?,
            Step::NameCurrent => name_current(place)?,
            Step::RemoveRecord => Record::remove(&place.cert_dir)?,
            Step::WriteRecord | Step::SwitchOff | Step::Import => {}
        }
    }
    Ok(plan)
}

fn survey(place: &Place, now: Timestamp) -> Result<Survey, Refusal> {
    let kubeconfig = Kubeconfig::read(&place.kubeconfig).map_err(|error| {
        let k3s = K3S_AGENTS
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists());
        match k3s.filter(|_| error.is_absent()) {
            Some(agent) => of_k3s(agent),
            None => error.to_string(),
        }
    })?;
    refuse_k3s(place, &kubeconfig.user)?;
    let mut reasons = Vec::new();
    let mut note = |result: Result<(), String>| reasons.extend(result.err());
    note(refuse_flags(place));
    let found = find_credential(place, &kubeconfig.user, now);
    let text = read_text(&place.kubelet_config);
    let is_on = text.as_ref().map_err(Clone::clone);
    let is_on = is_on.and_then(|text| is_renewing(place, text));
    note(is_on.as_ref().map(|_| ()).map_err(Clone::clone));
    let there = Record::read(&place.cert_dir);
    note(there.as_ref().map(|_| ()).map_err(Clone::clone));
    note(found.as_ref().map(|_| ()).map_err(Clone::clone));
    let (Ok(found), Ok(text), Ok(is_on), Ok(there)) = (found, text, is_on, there) else {
        return Err(Refusal { reasons });
    };
    if let Some(record) = &there {
        reasons.extend(record.check_is_of(place).err());
    }
    if !reasons.is_empty() {
        return Err(Refusal { reasons });
    }
    let record = Record::of(place, is_on || there.as_ref().is_some_and(|r| r.was_on()));
    let steps = steps::adoption(Before {
        is_recorded: there.as_ref() == Some(&record),
        is_renewing: is_on,
        is_current: found.is_current,
        is_named: found.is_named,
    });
    let steps = steps.into_iter();
    let changes = steps.map(|step| match step {
        Step::WriteRecord | Step::RemoveRecord => recorded(place, step),
        Step::SwitchOff | Step::SwitchOn => switched(place, step),
        Step::Import => imported(place, &found),
        Step::NameCurrent => named(place, &kubeconfig.user),
    });
    let changes = changes.collect();
    let plan = Plan {
        node: found.node,
        not_after: found.credential.leaf().not_after(),
        changes,
        notes: notes(&text),
    };
    Ok(Survey {
        plan,
        credential: found.credential,
        record,
    })
}

/// Whether the kubelet renews, by its configuration; an error when that could not be switched off.
fn is_renewing(place: &Place, config: &str) -> Result<bool, String> {
    let is_on = switch::is_on(config).and_then(|is_on| match is_on {
        true => switch::set(config, false).map(|_| true),
        false => Ok(false),
    });
    is_on.map_err(|error| in_file(&place.kubelet_config, &error))
}

fn notes(config: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if switch::serves_by_itself(config) {
        notes.push(
            "serverTLSBootstrap stays on: the kubelet goes on to keep its serving certificate; do not give the agent \
             --rotate-server-certificates"
                .to_owned(),
        );
    }
    notes
}

fn recorded(place: &Place, step: Step) -> Change {
    let what = Some("what was changed, for `hand-back`".to_owned());
    let (before, after) = match step {
        Step::RemoveRecord => (what, None),
        _ => (None, what),
    };
    Change {
        path: Record::path(&place.cert_dir),
        before,
        after,
        step,
    }
}

fn switched(place: &Place, step: Step) -> Change {
    let on = step == Step::SwitchOn;
    let line = |on: bool| Some(format!("{}: {on}", switch::FIELD));
    Change {
        path: place.kubelet_config.clone(),
        before: line(!on),
        after: line(on),
        step,
    }
}

fn imported(place: &Place, found: &Found) -> Change {
    Change {
        path: client_current(&place.cert_dir),
        before: found.instead_of.clone(),
        after: Some(format!(
            "a link to a file with the certificate and the key of the kubeconfig (serial {}, until {})",
            found.credential.leaf().serial(),
            found.credential.leaf().not_after()
        )),
        step: Step::Import,
    }
}

fn named(place: &Place, user: &User) -> Change {
    let what = match user
        .client_certificate
        .as_ref()
        .map(|pair| &pair.certificate)
    {
        Some(Source::File(path)) => path.display().to_string(),
        _ => "held in the file (kept in a copy beside it, .bak)".to_owned(),
    };
    Change {
        path: place.kubeconfig.clone(),
        before: Some(format!("client-certificate and client-key: {what}")),
        after: Some(format!(
            "client-certificate and client-key: {}",
            client_current(&place.cert_dir).display()
        )),
        step: Step::NameCurrent,
    }
}

fn find_record(place: &Place) -> Result<Record, String> {
    let record = Record::read(&place.cert_dir)?.ok_or_else(|| {
        format!(
            "{} was not adopted: {} is not there; nothing is to be handed back",
            place.cert_dir.display(),
            Record::path(&place.cert_dir).display()
        )
    })?;
    record.check_is_of(place)?;
    Ok(record)
}

fn survey_back(place: &Place, now: Timestamp) -> Result<Plan, Refusal> {
    let record = find_record(place)?;
    let kubeconfig = Kubeconfig::read(&place.kubeconfig).map_err(|error| error.to_string())?;
    let current = client_current(&place.cert_dir);
    let is_named = names_current(&kubeconfig.user, &place.cert_dir);
    let credential = match read_current(&current) {
        Ok(credential) => credential,
        // An adoption that ended before the first certificate was put there.
        Err(_) if !is_named => find_credential(place, &kubeconfig.user, now)?.credential,
        Err(error) => return Err(in_file(&current, &error).into()),
    };
    if let Some(uri) = credential.key().uri() {
        return Err(format!(
            "the key is in a token ({uri}), which no kubelet can use: have the agent renew with `--key-store file` first"
        )
        .into());
    }
    let text = read_text(&place.kubelet_config)?;
    let in_config = |error: String| in_file(&place.kubelet_config, &error);
    let steps = steps::hand_back(Adopted {
        has_current: read_current(&current).is_ok(),
        is_named,
        is_switched_off: record.was_on() && !switch::is_on(&text).map_err(in_config)?,
    });
    let mut changes = Vec::new();
    for step in steps {
        changes.push(match step {
            Step::NameCurrent | Step::Import => named(place, &kubeconfig.user),
            Step::SwitchOn | Step::SwitchOff => {
                switch::set(&text, true).map_err(in_config)?;
                switched(place, step)
            }
            Step::RemoveRecord | Step::WriteRecord => recorded(place, step),
        });
    }
    let leaf = credential.leaf();
    let mut notes = Vec::new();
    if leaf.not_after() < now {
        notes.push(format!(
            "the certificate ended at {}: the kubelet cannot renew it, and needs a bootstrap kubeconfig",
            leaf.not_after()
        ));
    }
    Ok(Plan {
        node: node_of(leaf).unwrap_or_default(),
        not_after: leaf.not_after(),
        changes,
        notes,
    })
}

/// k3s asks its server for a certificate, key included, at every start, by its token and a node
/// password, and overwrites whatever is there.
fn refuse_k3s(place: &Place, user: &User) -> Result<(), String> {
    let names_k3s = named_files(&place.kubeconfig)
        .is_some_and(|(path, _)| path.file_name().is_some_and(|name| name == K3S_CERTIFICATE));
    if !names_k3s || names_current(user, &place.cert_dir) {
        return Ok(());
    }
    Err(of_k3s(&place.kubeconfig))
}

fn of_k3s(path: &Path) -> String {
    format!(
        "{} is of k3s or RKE2, whose agent fetches certificate and key from its server at every start and overwrites \
         what is there: what this agent keeps would be lost. Restart theirs before the certificate ends, it has a new \
         one then",
        path.display()
    )
}

fn refuse_kubelets(place: &Place) -> Result<(), Refusal> {
    let running = kubelets::running(place)
        .map_err(|error| format!("cannot see in /proc which programs run: {error}"))?;
    if running.is_empty() {
        return Ok(());
    }
    let pids: Vec<String> = running.iter().map(ToString::to_string).collect();
    Err(Refusal::from(format!(
        "a kubelet with these files runs (pid {}), and writes to them: stop it (`systemctl stop kubelet`; pods go on), \
         run this again, then start it",
        pids.join(", ")
    )))
}

/// Flags go before the configuration file: what is switched off there would be on.
fn refuse_flags(place: &Place) -> Result<(), String> {
    let own = place.kubelet_config.with_file_name("kubeadm-flags.env");
    for path in [own.as_path()].into_iter().chain(FLAG_FILES.map(Path::new)) {
        let Ok(text) = read_text(path) else {
            continue;
        };
        let words: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(|line| line.split([' ', '"', '\'']))
            .collect();
        for flag in ["--rotate-certificates", "--config-dir"] {
            let is_there = words.iter().any(|word| {
                word.strip_prefix(flag)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            });
            if is_there && !words.contains(&"--rotate-certificates=false") {
                return Err(format!(
                    "{} gives the kubelet {flag}, which goes before {}: take it out, so that the kubelet's renewal can \
                     be switched off",
                    path.display(),
                    place.kubelet_config.display()
                ));
            }
        }
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<String, String> {
    let bytes = read_file(path, CONFIG_BYTES_MAX)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    String::from_utf8(bytes.to_vec()).map_err(|_| in_file(path, "it is not UTF-8"))
}

fn switch(path: &Path, on: bool) -> Result<(), String> {
    let text = read_text(path)?;
    let text = switch::set(&text, on).map_err(|error| in_file(path, &error))?;
    rewrite(path, text.as_bytes())
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn name_current(place: &Place) -> Result<(), String> {
    let path = &place.kubeconfig;
    let kubeconfig = Kubeconfig::read(path).map_err(|error| error.to_string())?;
    keep_copy(path)?;
    pointing_at_current(kubeconfig.cluster, &place.cert_dir)
        .write(path, &Names::BOOTSTRAP)
        .map_err(|error| error.to_string())
}

fn in_file(path: &Path, what: &str) -> String {
    format!("{}: {what}", path.display())
}
