//! What stands under `spec`.

use super::fields::Fields;
use crate::identity::parse_ip;
use crate::profile::{Account, Action, Form, Output, Profile, SIGNALS};
use everleaf_pki::signer::is_dns1123_subdomain;
use everleaf_pki::{KeyAlgorithm, SignerName, Subject, Template, Usage};
use everleaf_rotation::Timing;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The fields of `spec`.
pub(super) const FIELDS: &[&str] = &[
    "afterRenewal",
    "authoritiesFile",
    "dnsNames",
    "expirationSeconds",
    "firstRenewalSpread",
    "ipAddresses",
    "keyAlgorithm",
    "outputs",
    "renewalWindow",
    "signerName",
    "subject",
    "uris",
    "usages",
];
const OUTPUT_FIELDS: &[&str] = &[
    "ca",
    "certificate",
    "group",
    "key",
    "kubeconfig",
    "mode",
    "owner",
    "passwordFile",
    "pem",
    "pkcs12",
];
const ACTION_FIELDS: &[&str] = &[
    "command",
    "pidFile",
    "processName",
    "reloadUnit",
    "signal",
    "timeout",
];

/// Most outputs of one profile.
const OUTPUTS_MAX: usize = 16;
/// Shortest lifetime that API servers let a request ask for, in seconds.
const EXPIRATION_SECONDS_MIN: i64 = 600;
/// Mode of files that hold a key, where none is given.
const KEY_MODE: u32 = 0o600;
/// What a mode may hold: reading and writing, not by everybody.
const MODE_BITS: u32 = 0o660;
/// The mode's bit without which nobody can use the file.
const OWNER_READS: u32 = 0o400;
/// How long a command may run, where nothing is said, and at most.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);
/// Longest name of a file: file systems take 255 bytes, and it is written beside its place first,
/// under a longer name.
const FILE_NAME_BYTES_MAX: usize = 200;
/// Longest path, with room for that name (Linux: `PATH_MAX` is 4096).
const PATH_BYTES_MAX: usize = 4000;
/// Longest common name and organization (RFC 5280 A.1, `ub-common-name`, `ub-organization-name`).
const NAME_CHARS_MAX: usize = 64;

/// What stands for the node's name in subject and SANs.
const NODE: &str = "{node}";

/// The profile, without its name.
pub(super) fn read(spec: &mut Fields<'_>, node_name: &str) -> Option<Profile> {
    let signer_name = signer_name(spec);
    let template = template(spec, node_name);
    let usages = usages(spec);
    let key = key(spec);
    let expiration_seconds = expiration(spec);
    let timing = timing(spec);
    let authorities = spec.text("authoritiesFile");
    let authorities = authorities.and_then(|text| path(spec, "authoritiesFile", text));
    let outputs = spec.each("outputs", OUTPUT_FIELDS, OUTPUTS_MAX, output);
    check_sources(spec, &outputs, authorities.as_ref());
    let after = spec.within("afterRenewal", ACTION_FIELDS, action).flatten();
    Some(Profile {
        name: String::new(),
        signer_name: SignerName::new(signer_name?),
        template,
        usages,
        key,
        expiration_seconds,
        timing,
        authorities,
        outputs,
        after,
    })
}

/// What no API server takes is told here: a request would fail at each attempt.
fn signer_name(spec: &mut Fields<'_>) -> Option<String> {
    let name = spec.required_text("signerName")?;
    let is_name = name.split_once('/').is_some_and(|(domain, path)| {
        domain.contains('.') && is_dns1123_subdomain(domain) && is_dns1123_subdomain(path)
    });
    if !is_name || name == SignerName::LEGACY_UNKNOWN {
        let text =
            format!("{name:?} is no name of a signer that takes requests, such as example.com/web");
        spec.problem("signerName", &text);
    }
    Some(name)
}

/// No file is written that another one is made of.
fn check_sources(spec: &mut Fields<'_>, outputs: &[Output], authorities: Option<&PathBuf>) {
    let written: Vec<&PathBuf> = outputs
        .iter()
        .flat_map(|output| output.form.paths())
        .collect();
    for source in outputs.iter().filter_map(|output| output.form.source()) {
        if written.contains(&source) {
            let text = format!("{} is a passwordFile, and is written", source.display());
            spec.problem("outputs", &text);
        }
    }
    if let Some(path) = authorities.filter(|path| written.contains(path)) {
        let text = format!("{} is written by this profile itself", path.display());
        spec.problem("authoritiesFile", &text);
    }
}

/// The text with the node's name in it; other braces are refused.
fn filled(fields: &mut Fields<'_>, name: &str, text: &str, node_name: &str) -> String {
    let filled = text.replace(NODE, node_name);
    if filled.contains(['{', '}']) {
        fields.problem(
            name,
            &format!("{text:?}: {NODE} stands for the node's name, and there are no others"),
        );
    }
    filled
}

fn all_filled(fields: &mut Fields<'_>, name: &str, node_name: &str) -> Vec<String> {
    let texts = fields.texts(name);
    let filled = texts
        .iter()
        .map(|text| filled(fields, name, text, node_name));
    filled.collect()
}

fn template(spec: &mut Fields<'_>, node_name: &str) -> Template {
    let subject = spec.within("subject", &["commonName", "organizations"], |subject| {
        let common_name = subject.text("commonName").unwrap_or_default();
        let common_name = filled(subject, "commonName", &common_name, node_name);
        let organizations = all_filled(subject, "organizations", node_name);
        if common_name.chars().count() > NAME_CHARS_MAX {
            let text = format!("{common_name:?} is longer than {NAME_CHARS_MAX} characters");
            subject.problem("commonName", &text);
        }
        for name in &organizations {
            if name.chars().count() > NAME_CHARS_MAX {
                let text = format!("{name:?} is longer than {NAME_CHARS_MAX} characters");
                subject.problem("organizations", &text);
            }
        }
        Subject {
            common_name,
            organizations,
        }
    });
    let dns_names = all_filled(spec, "dnsNames", node_name);
    let uris = all_filled(spec, "uris", node_name);
    if let Some(name) = dns_names.iter().find(|name| !name.is_ascii()) {
        let text = format!("{name:?} is not ASCII: use its punycode form");
        spec.problem("dnsNames", &text);
    }
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
    let is_odd = |name: &&String| name.is_ascii() && !name.chars().all(is_letter);
    if let Some(name) = dns_names.iter().find(is_odd) {
        spec.problem("dnsNames", &format!("{name:?} is no DNS name"));
    }
    for uri in &uris {
        let is_uri = uri.split_once(':').is_some_and(|(scheme, rest)| {
            let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
            !scheme.is_empty() && !rest.is_empty() && scheme.chars().all(is_letter)
        });
        if !is_uri || uri.contains(|c: char| !c.is_ascii_graphic()) {
            let text = format!("{uri:?} is no URI such as spiffe://example.org/web");
            spec.problem("uris", &text);
        }
    }
    let mut ip_addresses = Vec::new();
    for text in spec.texts("ipAddresses") {
        match parse_ip(&text) {
            Some(address) => ip_addresses.push(address),
            None => spec.problem("ipAddresses", &format!("{text:?} is no IP address")),
        }
    }
    let subject = subject.unwrap_or_default();
    let has_names = !dns_names.is_empty() || !ip_addresses.is_empty() || !uris.is_empty();
    if subject.common_name.is_empty() && !has_names {
        spec.problem_of_all(
            "a certificate needs a name: subject.commonName, dnsNames, ipAddresses or uris",
        );
    }
    Template {
        subject,
        dns_names,
        ip_addresses,
        uris,
    }
}

fn usages(spec: &mut Fields<'_>) -> Vec<Usage> {
    let texts = spec.texts("usages");
    if spec.is_empty("usages") {
        spec.problem(
            "usages",
            "is missing, or empty; most want [\"digital signature\", \"server auth\"] or [\"digital signature\", \"client auth\"]",
        );
    }
    match Usage::parse_all(&texts) {
        Ok(usages) => {
            let mut sorted = texts.clone();
            sorted.sort();
            sorted.dedup();
            if sorted.len() != texts.len() {
                spec.problem("usages", "names a usage twice");
            }
            usages
        }
        Err(unknown) => {
            spec.problem("usages", &unknown.to_string());
            Vec::new()
        }
    }
}

fn key(spec: &mut Fields<'_>) -> KeyAlgorithm {
    let Some(text) = spec.text("keyAlgorithm") else {
        return KeyAlgorithm::EcdsaP256;
    };
    KeyAlgorithm::parse(&text).unwrap_or_else(|| {
        let names = KeyAlgorithm::names();
        spec.problem(
            "keyAlgorithm",
            &format!("{text:?} is no kind of key; there are {names}"),
        );
        KeyAlgorithm::EcdsaP256
    })
}

fn expiration(spec: &mut Fields<'_>) -> Option<i32> {
    let seconds = spec.number("expirationSeconds")?;
    match i32::try_from(seconds) {
        Ok(seconds) if i64::from(seconds) >= EXPIRATION_SECONDS_MIN => Some(seconds),
        _ => {
            let text =
                format!("must be at least {EXPIRATION_SECONDS_MIN}; API servers refuse less");
            spec.problem("expirationSeconds", &text);
            None
        }
    }
}

fn timing(spec: &mut Fields<'_>) -> Timing {
    let window = spec.within("renewalWindow", &["closes", "opens"], |window| {
        let opens = percent(window, "opens", true);
        let closes = percent(window, "closes", true);
        Some((opens?, closes?))
    });
    let spread = percent(spec, "firstRenewalSpread", false).unwrap_or(0);
    let (opens, closes) = match window {
        None => (70, 90),
        Some(Some(window)) => window,
        Some(None) => return Timing::default(),
    };
    Timing::new(opens, closes, spread).unwrap_or_else(|error| {
        spec.problem_of_all(&error.to_string());
        Timing::default()
    })
}

/// `70%`: a share of the lifetime.
fn percent(fields: &mut Fields<'_>, name: &str, is_required: bool) -> Option<u8> {
    const WANTED: &str = "must be a share of the lifetime in whole percent, such as 70%";
    if !fields.has(name) {
        if is_required {
            fields.problem(name, "is missing");
        }
        return None;
    }
    let Some(text) = fields.text(name) else {
        fields.problem(name, WANTED);
        return None;
    };
    let digits = text
        .strip_suffix('%')
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    let share = digits.and_then(|digits| digits.parse().ok());
    if share.is_none() {
        fields.problem(name, WANTED);
    }
    share
}

fn output(fields: &mut Fields<'_>) -> Option<Output> {
    let mut path_of = |name: &'static str| {
        let text = fields.text(name)?;
        path(fields, name, text)
    };
    let (pem, kubeconfig) = (path_of("pem"), path_of("kubeconfig"));
    let (store, password_file) = (path_of("pkcs12"), path_of("passwordFile"));
    let (certificate, key, ca) = (path_of("certificate"), path_of("key"), path_of("ca"));
    let owner = account(fields, "owner");
    let group = account(fields, "group");
    let mode = mode(fields);
    let has_files = ["certificate", "key", "ca"]
        .iter()
        .any(|name| fields.has(name));
    let has_store = ["pkcs12", "passwordFile"]
        .iter()
        .any(|name| fields.has(name));
    let forms = [
        fields.has("pem"),
        fields.has("kubeconfig"),
        has_files,
        has_store,
    ];
    if forms.iter().filter(|is_there| **is_there).count() != 1 {
        fields.problem_of_all(
            "name one of: pem; certificate and key, with or without ca; pkcs12 and passwordFile; kubeconfig",
        );
        return None;
    }
    if has_store {
        if !(fields.has("pkcs12") && fields.has("passwordFile")) {
            fields.problem_of_all("pkcs12 and passwordFile belong together");
        }
        let form = Form::Pkcs12 {
            path: store?,
            password_file: password_file?,
        };
        return Some(Output {
            form,
            owner,
            group,
            mode,
        });
    }
    if has_files && !(fields.has("certificate") && fields.has("key")) {
        fields.problem_of_all("certificate and key belong together");
        return None;
    }
    let form = match (pem, kubeconfig) {
        (Some(pem), _) => Form::Pem(pem),
        (None, Some(kubeconfig)) => Form::Kubeconfig(kubeconfig),
        (None, None) => Form::Files {
            certificate: certificate?,
            key: key?,
            ca,
        },
    };
    Some(Output {
        form,
        owner,
        group,
        mode,
    })
}

fn path(fields: &mut Fields<'_>, name: &str, text: String) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    let is_plain = path
        .components()
        .all(|part| !matches!(part, std::path::Component::ParentDir));
    let bytes = path.as_os_str().as_encoded_bytes();
    let Some(file) = path.file_name() else {
        fields.problem(name, &no_path(&path));
        return None;
    };
    if !path.is_absolute() || !is_plain || bytes.ends_with(b"/") {
        fields.problem(name, &no_path(&path));
        return None;
    }
    if bytes.len() > PATH_BYTES_MAX || file.len() > FILE_NAME_BYTES_MAX {
        let text = format!(
            "is too long: a path has at most {PATH_BYTES_MAX} bytes, and the name of a file {FILE_NAME_BYTES_MAX}"
        );
        fields.problem(name, &text);
        return None;
    }
    Some(path)
}

fn no_path(path: &Path) -> String {
    let shown = path.display();
    format!("{shown} is no absolute path of a file, without \"..\"")
}

fn account(fields: &mut Fields<'_>, name: &str) -> Option<Account> {
    if let Some(id) = fields
        .has(name)
        .then(|| fields.quiet_number(name))
        .flatten()
    {
        return Some(Account::Id(id));
    }
    let text = fields.text(name)?;
    Some(match text.parse() {
        Ok(id) => Account::Id(id),
        Err(_) => Account::Name(text),
    })
}

fn mode(fields: &mut Fields<'_>) -> u32 {
    if !fields.has("mode") {
        return KEY_MODE;
    }
    const WANTED: &str = "must be octal in quotes, such as \"0640\": reading and writing for owner and group, reading for the \
                          owner at least, nothing for everybody: the file holds a private key";
    let Some(text) = fields.text("mode") else {
        fields.problem("mode", WANTED);
        return KEY_MODE;
    };
    let mode = u32::from_str_radix(&text, 8).ok();
    match mode {
        Some(mode) if mode & !MODE_BITS == 0 && mode & OWNER_READS != 0 => mode,
        _ => {
            fields.problem("mode", WANTED);
            KEY_MODE
        }
    }
}

fn action(fields: &mut Fields<'_>) -> Option<Action> {
    let kinds = ["command", "signal", "reloadUnit"];
    let named = kinds.iter().filter(|kind| fields.has(kind)).count();
    if named != 1 {
        fields.problem_of_all("name one of: command; signal with pidFile; reloadUnit");
        return None;
    }
    if fields.has("signal") {
        let signal = fields.text("signal")?;
        return signal_action(fields, &signal);
    }
    for name in ["pidFile", "processName"] {
        if fields.has(name) {
            fields.problem(name, "belongs to signal");
        }
    }
    let timeout = timeout(fields);
    let command = match fields.text("reloadUnit") {
        Some(unit) => reload(fields, &unit),
        None => {
            if fields.is_empty("command") {
                fields.problem("command", "names no program");
            }
            fields.texts("command")
        }
    };
    (!command.is_empty()).then_some(Action::Run { command, timeout })
}

fn signal_action(fields: &mut Fields<'_>, name: &str) -> Option<Action> {
    if fields.has("timeout") {
        fields.problem("timeout", "belongs to command or reloadUnit");
    }
    let short = name.strip_prefix("SIG").unwrap_or(name);
    let signal = SIGNALS.iter().find(|(known, _)| *known == short);
    if signal.is_none() {
        let known = SIGNALS.map(|(name, _)| name).join(", ");
        fields.problem("signal", &format!("{name:?} is none of {known}"));
    }
    let pid_file = fields.required_text("pidFile");
    let pid_file = pid_file.and_then(|text| path(fields, "pidFile", text));
    Some(Action::Signal {
        signal: signal?.1,
        pid_file: pid_file?,
        process_name: fields.text("processName"),
    })
}

fn timeout(fields: &mut Fields<'_>) -> Duration {
    let Some(text) = fields.text("timeout") else {
        return TIMEOUT_DEFAULT;
    };
    match everleaf_api::duration::parse_go(&text) {
        Ok(timeout) if !timeout.is_zero() && timeout <= TIMEOUT_MAX => timeout,
        _ => {
            let most = TIMEOUT_MAX.as_secs() / 60;
            let text = format!("{text:?} is no duration such as 30s, up to {most}m");
            fields.problem("timeout", &text);
            TIMEOUT_DEFAULT
        }
    }
}

/// `systemctl reload` of a unit that has a name and no option in its place.
fn reload(fields: &mut Fields<'_>, unit: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || ":_.\\@-".contains(c);
    if unit.starts_with('-') || !unit.chars().all(is_part) {
        fields.problem(
            "reloadUnit",
            &format!("{unit:?} is no name of a systemd unit"),
        );
        return Vec::new();
    }
    ["systemctl", "reload", "--", unit]
        .map(str::to_owned)
        .to_vec()
}
