//! `everleaf ca revoke`, `unrevoke` and `revocations`: the object that API servers go by
//! ([`everleaf_api::revocation`]), with the user's kubeconfig.

use super::ca::default_directory;
use crate::args::OutputFormat;
use crate::args::ca::{RevocationsArgs, RevokeArgs, TargetArgs, UnrevokeArgs};
use crate::calls::{Calls, Refused, connect};
use crate::failure::UsageError;
use crate::kube_client::usual_kubeconfig;
use crate::print;
use anyhow::{Context, Result, bail};
use everleaf_agent::Kubeconfig;
use everleaf_api::csr::Csr;
use everleaf_api::meta;
use everleaf_api::revocation::{
    Entry, LIST_NAME, LIST_NAMESPACE, NAME, NAMESPACE, Reason, Revocations, Target, normal_serial,
};
use everleaf_controllers::call::is_everleaf;
use everleaf_controllers::issuance::{Entry as Issued, Reader};
use everleaf_pki::signer::is_dns1123_subdomain;
use everleaf_pki::{Chain, Leaf};
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// For how long an ended certificate stays in the object.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 8);
/// Others may write it at the same moment.
const ROUNDS_MAX: usize = 10;
/// Twenty octets (RFC 5280 4.1.2.2).
const SERIAL_DIGITS_MAX: usize = 40;

fn target(args: &TargetArgs) -> Result<Target, UsageError> {
    if let Some(serial) = &args.serial {
        let serial = normal_serial(serial);
        return match serial.len() {
            1..=SERIAL_DIGITS_MAX => Ok(Target::Serial(serial)),
            _ => Err(UsageError(
                "--serial: a serial number is greater than 0 and has at most 40 hex digits (RFC 5280 4.1.2.2)".to_owned(),
            )),
        };
    }
    if let Some(id) = &args.credential_id {
        let digest = id.strip_prefix("X509SHA256=").unwrap_or(id);
        let digest = digest.replace(':', "").to_ascii_lowercase();
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        return match is_digest {
            true => Ok(Target::Credential(digest)),
            false => Err(UsageError(
                "--credential-id: write X509SHA256= and 64 hex digits, as `kubectl auth whoami` shows it".to_owned(),
            )),
        };
    }
    let node = args.node.as_deref().unwrap_or_default();
    match node.strip_prefix("node/") {
        Some(name) if is_dns1123_subdomain(name) => Ok(Target::Node(name.to_owned())),
        _ => Err(UsageError(format!(
            "{node:?} is no node: write node/NAME, or name a certificate (--serial, --credential-id)"
        ))),
    }
}

/// Has something refused.
pub(super) fn revoke(args: &RevokeArgs) -> Result<ExitCode> {
    let target = target(&args.target)?;
    let reason = Reason::parse(&args.reason).ok_or_else(|| {
        let known = Reason::ALL.map(Reason::as_str).join(", ");
        UsageError(format!(
            "--reason: {:?} is none; there are {known}",
            args.reason
        ))
    })?;
    super::runtime()?.block_on(async {
        let (calls, _) = connect(&args.server)?;
        let version = calls.object("ask who it is", Method::GET, "/version", None).await?;
        let version = version.unwrap_or_default();
        let is_ours = is_everleaf(version["gitVersion"].as_str().unwrap_or_default());
        let serials = serials(&calls, &target, args.issuance_log.as_deref()).await?;
        if !args.yes {
            refuse_own(&calls, args, &target, &serials).await?;
            refuse_unknown(&calls, &target, serials.is_empty()).await?;
        }
        let entry = |now| Entry {
            at: Some(now),
            until: None,
            reason,
            node: match &target {
                Target::Node(name) => name.clone(),
                _ => String::new(),
            },
            by: String::new(),
        };
        change(&calls, |revocations, now| {
            revocations.put(target.clone(), entry(now));
            for (serial, until) in &serials {
                let until = Some(*until);
                let entry = Entry { until, ..entry(now) };
                // What was revoked before keeps its date and reason.
                let serial = Target::Serial(serial.clone());
                if !revocations.iter().any(|(other, _)| *other == serial) {
                    revocations.put(serial, entry);
                }
            }
            Ok(())
        })
        .await?;
        print::answer(&told(&target, serials.len()))?;
        if !is_ours {
            eprintln!(
                "everleaf: this API server is not Everleaf's and knows no revocation: it goes on believing the certificate until that ends. Only who \
                 reads the certificate revocation list refuses it"
            );
        }
        warn_of_tokens(&calls).await;
        Ok(ExitCode::SUCCESS)
    })
}

fn told(target: &Target, serials: usize) -> String {
    let listed = match (target, serials) {
        (Target::Serial(_), _) => "",
        (Target::Node(_), 0) | (Target::Credential(_), _) => {
            "; no serial number of it is known here, so the certificate revocation list does not have it (--serial)"
        }
        (Target::Node(_), 1) => {
            "; the certificate revocation list has its one certificate that is known"
        }
        (Target::Node(_), _) => {
            return format!(
                "{target} revoked: what it was issued until now is refused; the certificate revocation list has its {serials} certificates \
                 that are known"
            );
        }
    };
    match target {
        Target::Node(_) => {
            format!("{target} revoked: what it was issued until now is refused{listed}")
        }
        _ => format!("{target} revoked{listed}"),
    }
}

/// Whoever revokes the certificate with which he asks cannot take it back.
async fn refuse_own(
    calls: &Calls,
    args: &RevokeArgs,
    target: &Target,
    serials: &BTreeMap<String, Timestamp>,
) -> Result<()> {
    let own = own_leaf(args);
    let is_own = match target {
        Target::Serial(serial) => own.is_some_and(|leaf| is_of(&leaf, serial)),
        Target::Node(name) => own.is_some_and(|leaf| {
            let is_known = serials.keys().any(|serial| is_of(&leaf, serial));
            is_known || leaf.subject().common_name == format!("system:node:{name}")
        }),
        Target::Credential(digest) => {
            own.is_some_and(|leaf| leaf.fingerprint().to_string() == *digest)
                || own_credential(calls)
                    .await
                    .is_some_and(|own| own == *digest)
        }
    };
    match is_own {
        true => bail!(
            "{target} is the certificate with which this command asks: you would lock yourself out, and could not take it back. Nothing is changed; \
             do it with the kubeconfig of another administrator, or with --yes where there is another way in"
        ),
        false => Ok(()),
    }
}

fn is_of(leaf: &Leaf, serial: &str) -> bool {
    normal_serial(&leaf.serial().to_string()) == serial
}

/// The certificate in the kubeconfig, if one is.
fn own_leaf(args: &RevokeArgs) -> Option<Leaf> {
    let path = usual_kubeconfig(args.server.kubeconfig.as_deref()).ok()?;
    let kubeconfig = Kubeconfig::read_context(&path, args.server.context.as_deref()).ok()?;
    let pem = kubeconfig
        .user
        .client_certificate?
        .certificate
        .read()
        .ok()?;
    let chain = Chain::from_pem(pem.expose().as_bytes()).ok()?;
    Some(chain.leaf().clone())
}

/// SHA-256 of the certificate by which the server knows who asks, wherever it came from.
async fn own_credential(calls: &Calls) -> Option<String> {
    let user = calls.user_info().await;
    let ids = &user["extra"]["authentication.kubernetes.io/credential-id"];
    let id = ids.get(0)?.as_str()?.strip_prefix("X509SHA256=")?;
    Some(id.to_owned())
}

/// A name with a typo in it leaves the node in that was meant.
async fn refuse_unknown(calls: &Calls, target: &Target, has_no_serials: bool) -> Result<()> {
    let Target::Node(name) = target else {
        return Ok(());
    };
    let path = format!("/api/v1/nodes/{name}");
    // Whoever may not read Nodes is not held up for that.
    let node = calls
        .object("look for the node", Method::GET, &path, None)
        .await;
    match node {
        Ok(None) if has_no_serials => bail!(
            "there is no Node {name}, and neither the requests nor the issuance log here have a certificate of it: check the spelling. Nothing is \
             changed; --yes revokes it all the same"
        ),
        _ => Ok(()),
    }
}

/// Whoever has one gets a new certificate with it, under any name.
async fn warn_of_tokens(calls: &Calls) {
    let path = "/api/v1/namespaces/kube-system/secrets";
    let selector = "&fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken";
    let tokens = calls.list("list the tokens", path, selector).await;
    let count = tokens.map_or(0, |tokens| tokens.len());
    if count > 0 {
        eprintln!(
            "everleaf: bootstrap tokens are still good ({count}): whoever has one gets a new certificate with it; see `everleaf token list`, and \
             delete what was on that machine"
        );
    }
}

/// Takes a revocation back.
pub(super) fn unrevoke(args: &UnrevokeArgs) -> Result<ExitCode> {
    let target = target(&args.target)?;
    super::runtime()?.block_on(async {
        let (calls, _) = connect(&args.server)?;
        let mut removed = 0;
        change(&calls, |revocations, _| {
            removed = revocations.remove(|other, entry| match &target {
                Target::Node(name) => *other == target || entry.node == *name,
                _ => *other == target,
            });
            match removed {
                0 => bail!("{target} is not revoked; see `everleaf ca revocations`"),
                _ => Ok(()),
            }
        })
        .await?;
        print::answer(&format!("{target} is believed again ({removed} entries)"))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn path_of(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{name}")
}

/// Changes the object, again when somebody else has meanwhile; what has ended is taken out.
async fn change(
    calls: &Calls,
    mut edit: impl FnMut(&mut Revocations, Timestamp) -> Result<()>,
) -> Result<()> {
    let path = path_of(NAMESPACE, NAME);
    let what = format!("change the ConfigMap {NAMESPACE}/{NAME}");
    for _ in 0..ROUNDS_MAX {
        let stored = calls.object(&what, Method::GET, &path, None).await?;
        let mut revocations = stored.as_ref().map(Revocations::of_config_map);
        let revocations = revocations.get_or_insert_default();
        let now = calls.now();
        edit(revocations, now)?;
        // The list that is published keeps it for a week.
        let long_ago = now.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
        revocations.remove(|_, entry| entry.is_over(long_ago));
        let is_there = stored.is_some();
        let mut object = stored.unwrap_or_else(|| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": NAME, "namespace": NAMESPACE},
            })
        });
        object["data"] = revocations.to_data().into();
        let written = match is_there {
            true => calls.object(&what, Method::PUT, &path, Some(object)).await,
            false => {
                let all = path.rsplit_once('/').map_or("", |(all, _)| all);
                calls.object(&what, Method::POST, all, Some(object)).await
            }
        };
        match written {
            Ok(_) => return Ok(()),
            Err(error) => match error.downcast_ref::<Refused>() {
                Some(refused) if refused.status == StatusCode::CONFLICT => {}
                _ => return Err(error),
            },
        }
    }
    bail!("cannot {what}: others change it all the time; try again")
}

/// The serial numbers of a node's certificates that are known, and their ends.
async fn serials(
    calls: &Calls,
    target: &Target,
    log: Option<&Path>,
) -> Result<BTreeMap<String, Timestamp>> {
    let mut serials = BTreeMap::new();
    let Target::Node(name) = target else {
        return Ok(serials);
    };
    let cn = format!("system:node:{name}");
    for object in calls.list("list the requests", REQUESTS, "").await? {
        let pem = Csr(&object).certificate();
        if let Ok(chain) = Chain::from_pem(&pem)
            && chain.leaf().subject().common_name == cn
        {
            let leaf = chain.leaf();
            serials.insert(normal_serial(&leaf.serial().to_string()), leaf.not_after());
        }
    }
    let directory = match log {
        Some(directory) => directory.to_owned(),
        None => match default_directory() {
            Ok(directory) if directory.exists() => directory,
            _ => return Ok(serials),
        },
    };
    let shown = directory.display();
    let reader = Reader::open(&directory).with_context(|| shown.to_string())?;
    let now = calls.now();
    reader
        .each(|_, bytes| {
            let Ok(entry) = Issued::from_bytes(bytes) else {
                return;
            };
            let end = entry.ends_at().filter(|end| *end > now);
            if let Some(end) = end.filter(|_| entry.cn == cn) {
                serials.insert(normal_serial(&entry.serial), end);
            }
        })
        .with_context(|| shown.to_string())?;
    Ok(serials)
}

/// Shows them.
pub(super) fn list(args: &RevocationsArgs) -> Result<ExitCode> {
    let (revocations, published) = super::runtime()?.block_on(async {
        let (calls, _) = connect(&args.server)?;
        let what = "read the revocations";
        let own = path_of(NAMESPACE, NAME);
        let own = calls.object(what, Method::GET, &own, None).await?;
        let list = path_of(LIST_NAMESPACE, LIST_NAME);
        let list = calls.object(what, Method::GET, &list, None).await?;
        anyhow::Ok((own.as_ref().map(Revocations::of_config_map), list))
    })?;
    let revocations = revocations.unwrap_or_default();
    let published = published.unwrap_or_default();
    let word = |key: &str| published["data"][key].as_str();
    let shown =
        |at: Option<Timestamp>| at.map_or_else(|| "<unknown>".to_owned(), meta::format_time);
    let list = json!({
        "number": word("number"), "thisUpdate": word("thisUpdate"), "nextUpdate": word("nextUpdate"),
    });
    let object = || {
        let each = revocations.iter().map(|(target, entry)| {
            json!({
                "target": target.to_string(),
                "at": entry.at.map(meta::format_time),
                "until": entry.until.map(meta::format_time),
                "reason": entry.reason.as_str(),
                "node": entry.node,
            })
        });
        json!({"revocations": each.collect::<Value>(), "list": list})
    };
    match args.output {
        Some(OutputFormat::Json) => print::json(&object())?,
        Some(OutputFormat::Yaml) => print::yaml(&object())?,
        Some(OutputFormat::Wide) | None => {
            let rows = revocations.iter().map(|(target, entry)| {
                let until = entry
                    .until
                    .map_or_else(|| "<unknown>".to_owned(), meta::format_time);
                vec![
                    print::harmless_line(&target.to_string()),
                    shown(entry.at),
                    until,
                    entry.reason.as_str().to_owned(),
                    print::harmless_line(&entry.node),
                ]
            });
            let rows: Vec<_> = rows.collect();
            match rows.is_empty() {
                true => eprintln!("everleaf: nothing is revoked"),
                false => print::table(&["revoked", "since", "ends", "reason", "node"], &rows)?,
            }
            match (word("thisUpdate"), word("nextUpdate")) {
                (Some(from), Some(to)) => eprintln!(
                    "everleaf: the certificate revocation list is of {from}, good until {to}: kube-public/{LIST_NAME}, /pki/ca.crl"
                ),
                _ => eprintln!(
                    "everleaf: no certificate revocation list is published: no controller `revocation-list-publisher` runs (docs/revoke.md)"
                ),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target_of(node: &str, serial: &str, id: &str) -> Result<String, String> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let args = TargetArgs {
            node: some(node),
            serial: some(serial),
            credential_id: some(id),
        };
        let target = target(&args);
        target
            .map(|target| target.key())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_meant_is_said_in_any_form_that_tools_print() {
        let digest = "5F".repeat(32);
        let key = format!("credential.{}", digest.to_lowercase());
        for (args, expected) in [
            (("node/n1.example", "", ""), "node.n1.example"),
            (("", "0A5B36", ""), "serial.A5B36"),
            (("", "", digest.as_str()), key.as_str()),
            (("", "", &format!("X509SHA256={digest}")), key.as_str()),
        ] {
            assert_eq!(target_of(args.0, args.1, args.2).as_deref(), Ok(expected));
        }
        for args in [
            ("n1", "", ""),
            ("node/", "", ""),
            ("node/N 1", "", ""),
            ("", "", "5f"),
            ("", "00", ""),
            ("", "5B5B5B5B5B5B5B5B5B5B5B5B5B5B5B5B5B5B5B5B5B", ""),
        ] {
            assert!(target_of(args.0, args.1, args.2).is_err(), "{args:?}");
        }
    }
}
