//! The same approved requests before the real kube-controller-manager and before `everleaf
//! controllers`, with the same CA: the certificates are compared field by field, as DER, apart
//! from serial number, dates and signature; the dates by their distance; and what is refused by
//! the words of the refusal.
//!
//! One after the other on one kube-apiserver, so that nothing else can differ. In the same runs
//! they do the upkeep of bootstrap tokens and of the API server's CA.

mod shapes;

use super::Pairing;
use super::upkeep::{self, Scene};
use crate::stack::{Part, Stack};
use anyhow::{Context, Result, bail};
use base64::Engine;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Certificate, Kubectl, Sandbox, arg, ensure_that, eventually, object, same};
use jiff::Timestamp;
use serde_json::{Value, json};
use shapes::{Differs, KEYS, SHAPES, Shape};
use std::collections::BTreeMap;
use std::fs;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-controller-manager, kube-apiserver 1.37",
    ours: "`everleaf controllers`",
    test: Test {
        name: "everleaf_signs_as_kube_controller_manager_does",
        long: true,
        run,
    },
};

/// Longest that all of them may take: two cores, and other stacks beside it.
const SECONDS_MAX: u64 = 60;
/// How far apart the distances of dates may be, in seconds: they are whole.
const SECONDS_APART_MAX: i64 = 2;

/// How long before the moment of signing a certificate begins, in seconds.
const BACKDATED_SECONDS: i64 = 300;

/// What became of a request.
struct Outcome {
    /// When the server took its approval.
    approved: Timestamp,
    /// `reason: message` of its `Failed` condition.
    failure: Option<String>,
    /// Its certificate, and what it consists of.
    issued: Option<(Certificate, Vec<String>)>,
}

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let mut stack = Stack::start(sandbox, &[Part::Etcd, Part::KubeApiserver(&[])])?;
    let admin = stack.admin()?;
    requests(sandbox)?;
    let controllers = format!("--controllers=csrsigning,{}", upkeep::NAMES);
    Scene::new(&stack, &admin, "theirs").lay_out()?;
    stack.add(&Part::KubeControllerManager(&[
        &controllers,
        "--leader-elect=false",
    ]))?;
    let kept_by_them = sandbox.point(
        "kube-controller-manager keeps tokens, their signatures and the CA, and puts changes right",
        || Scene::new(&stack, &admin, "theirs").play(),
    )?;
    let theirs = sandbox.point("kube-controller-manager settles each request", || {
        settle(sandbox, &admin, "theirs")
    })?;
    // It ends by the signal, without a code.
    let _ = stack.stop("kube-controller-manager");
    Scene::new(&stack, &admin, "ours").lay_out()?;
    upkeep::grant(&stack, &admin, "everleaf-controllers")?;
    let root_ca = format!("--root-ca-file={}", arg(stack.authority()?.certificate()));
    stack.add(&Part::EverleafControllers(&[&controllers, &root_ca]))?;
    let kept_by_us = sandbox.point(
        "everleaf keeps tokens, their signatures and the CA, and puts changes right",
        || Scene::new(&stack, &admin, "ours").play(),
    )?;
    let ours = sandbox.point("everleaf settles each request", || {
        settle(sandbox, &admin, "ours")
    })?;
    sandbox.point(
        "the same signatures of cluster-info, the same CA in each namespace and in a ClusterTrustBundle, the same tokens left",
        || upkeep::compare(&kept_by_them, &kept_by_us),
    )?;
    let each = |check: fn(&Outcome, &Outcome) -> Result<()>, differs: &[Differs]| {
        let mut wrong = Vec::new();
        for shape in SHAPES
            .iter()
            .filter(|shape| differs.contains(&shape.differs))
        {
            let (theirs, ours) = (outcome(&theirs, shape)?, outcome(&ours, shape)?);
            if let Err(why) = check(theirs, ours) {
                wrong.push(format!("{}: {why:#}", shape.name));
            }
        }
        ensure_that!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    };
    sandbox.point(
        "the same ones are issued, and refused in the same words",
        || each(same_verdict, &[Differs::Not]),
    )?;
    sandbox.point(
        "each certificate is the same, byte for byte, but for serial number, dates and signature",
        || each(same_content, &[Differs::Not]),
    )?;
    sandbox.point("the same dates, from the moment of signing", || {
        each(same_dates, &[Differs::Not])
    })?;
    sandbox.point(
        "what differs on purpose does so: weak and unknown keys are refused, repeated names told once",
        || {
            each(refused_as_weak, &[Differs::WeakKey])?;
            each(refused_as_unknown, &[Differs::UnknownKey])?;
            each(told_once, &[Differs::NamesToldOnce])
        },
    )?;
    Ok(Verdict::Passed)
}

fn outcome<'o>(all: &'o BTreeMap<&str, Outcome>, shape: &Shape) -> Result<&'o Outcome> {
    let found = all.get(shape.name);
    found.with_context(|| format!("nothing became of {}", shape.name))
}

/// Makes the keys and the requests.
fn requests(sandbox: &Sandbox) -> Result<()> {
    for (name, options) in KEYS {
        let path = sandbox.path(&format!("{name}.key"));
        let args = [&["genpkey", "-out", arg(&path)][..], options].concat();
        sandbox.openssl(&args)?.ok()?;
    }
    for shape in SHAPES {
        let key = sandbox.path(&format!("{}.key", shape.key));
        let request = sandbox.path(&format!("{}.csr", shape.name));
        let mut args = vec![
            "req",
            "-new",
            "-utf8",
            "-key",
            arg(&key),
            "-out",
            arg(&request),
        ];
        args.extend(["-subj", shape.subject]);
        let names = format!("subjectAltName={}", shape.names);
        if !shape.names.is_empty() {
            args.extend(["-addext", &names]);
        }
        sandbox.openssl(&args)?.ok().context(shape.name)?;
    }
    Ok(())
}

/// Files and approves all of them, and waits until something has become of each.
fn settle(
    sandbox: &Sandbox,
    admin: &Kubectl<'_>,
    whose: &str,
) -> Result<BTreeMap<&'static str, Outcome>> {
    let named = |shape: &Shape| format!("{whose}-{}", shape.name);
    let mut objects = Vec::new();
    for shape in SHAPES {
        let pem = fs::read(sandbox.path(&format!("{}.csr", shape.name)))?;
        let mut object = object(&named(shape), &pem, shape.signer, shape.usages);
        if let Some(seconds) = shape.expiration_seconds {
            object["spec"]["expirationSeconds"] = json!(seconds);
        }
        objects.push(object);
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let file = sandbox.write(&format!("{whose}.json"), &list.to_string())?;
    admin.quiet(&["create", "--validate=false", "-f", arg(&file)])?;
    let names: Vec<String> = SHAPES.iter().map(named).collect();
    let mut approve = vec!["certificate", "approve"];
    approve.extend(names.iter().map(String::as_str));
    admin.quiet(&approve)?;
    let statuses = eventually("something becomes of each", SECONDS_MAX, || {
        let list = admin.json(&["get", "csr"])?;
        let items = list["items"].as_array().context("no list")?;
        let mut statuses = Vec::new();
        for shape in SHAPES {
            let name = named(shape);
            let item = items.iter().find(|item| item["metadata"]["name"] == name);
            let status = &item.with_context(|| format!("no {name}"))?["status"];
            let is_settled = status["certificate"].is_string() || failure(status).is_some();
            ensure_that!(is_settled, "{name}: its status is {status}");
            statuses.push((shape, status.clone()));
        }
        Ok(statuses)
    })?;
    let read =
        |(shape, status): &(&Shape, Value)| Ok((shape.name, read(sandbox, &named(shape), status)?));
    statuses.iter().map(read).collect()
}

/// `reason: message` of the `Failed` condition.
fn failure(status: &Value) -> Option<String> {
    let mut conditions = status["conditions"].as_array()?.iter();
    let failed = conditions.find(|one| one["type"] == "Failed")?;
    let (reason, message) = (failed["reason"].as_str()?, failed["message"].as_str()?);
    Some(format!("{reason}: {message}"))
}

fn read(sandbox: &Sandbox, name: &str, status: &Value) -> Result<Outcome> {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let approved = conditions.find(|one| one["type"] == "Approved");
    let approved = approved.and_then(|one| one["lastTransitionTime"].as_str());
    let approved = approved.context("it is not approved")?.parse()?;
    let failure = failure(status);
    if failure.is_some() {
        return Ok(Outcome {
            approved,
            failure,
            issued: None,
        });
    }
    let text = status["certificate"].as_str();
    let text = text.with_context(|| format!("{name}: its status is {status}"))?;
    let pem = base64::engine::general_purpose::STANDARD.decode(text)?;
    let path = sandbox.path(&format!("{name}.crt"));
    fs::write(&path, pem)?;
    let parsed = sandbox.openssl(&["asn1parse", "-in", arg(&path)])?.ok()?;
    Ok(Outcome {
        approved,
        failure: None,
        issued: Some((Certificate::read(sandbox, &path)?, content(&parsed)?)),
    })
}

/// Every element of a certificate with its depth, type and value; apart from the serial number, the
/// dates and the signature.
fn content(parsed: &str) -> Result<Vec<String>> {
    let mut elements = Vec::new();
    for line in parsed.lines() {
        // "    4:d=1  hl=4 l= 500 cons: SEQUENCE"
        let (position, rest) = line.split_once(" hl=").context("no header length")?;
        let depth = position.rsplit("d=").next().unwrap_or_default().trim();
        let kind = rest.split_once(':').context("no type")?.1.trim();
        elements.push(format!("{depth} {kind}"));
    }
    let serial = elements.iter().position(|one| one.starts_with("2 INTEGER"));
    let serial = serial.context("no serial number")?;
    "2 INTEGER".clone_into(elements.get_mut(serial).context("no serial number")?);
    for element in &mut elements {
        for kind in ["3 UTCTIME", "3 GENERALIZEDTIME"] {
            if element.starts_with(kind) {
                kind.clone_into(element);
            }
        }
    }
    Ok(elements)
}

fn same_verdict(theirs: &Outcome, ours: &Outcome) -> Result<()> {
    same("failure", ours.failure.clone(), theirs.failure.clone())
}

fn same_content(theirs: &Outcome, ours: &Outcome) -> Result<()> {
    let ((_, theirs), (_, ours)) = match (&theirs.issued, &ours.issued) {
        (Some(theirs), Some(ours)) => (theirs, ours),
        (None, None) => return Ok(()),
        _ => bail!("one of them issued it"),
    };
    let mut pairs = theirs.iter().zip(ours);
    if let Some((theirs, ours)) = pairs.find(|(theirs, ours)| theirs != ours) {
        bail!("theirs has {theirs:?}, ours {ours:?}");
    }
    same("elements", ours.len(), theirs.len())
}

fn same_dates(theirs: &Outcome, ours: &Outcome) -> Result<()> {
    for outcome in [theirs, ours] {
        let Some((certificate, _)) = &outcome.issued else {
            continue;
        };
        // Signed after it was approved, and soon.
        let signed = certificate.not_before.as_second() + BACKDATED_SECONDS;
        let waited = signed - outcome.approved.as_second();
        ensure_that!(
            (0..SECONDS_MAX.cast_signed()).contains(&waited),
            "begins at {}, approved at {}",
            certificate.not_before,
            outcome.approved
        );
    }
    let (Some((theirs, _)), Some((ours, _))) = (&theirs.issued, &ours.issued) else {
        return Ok(());
    };
    let apart = ours.lifetime().as_secs() - theirs.lifetime().as_secs();
    ensure_that!(
        apart.abs() <= SECONDS_APART_MAX,
        "valid for {} s, theirs for {} s",
        ours.lifetime().as_secs(),
        theirs.lifetime().as_secs()
    );
    Ok(())
}

fn refused_as_weak(theirs: &Outcome, ours: &Outcome) -> Result<()> {
    refused_here(theirs, ours, "UnsupportedKey: weak key: ")
}

fn refused_as_unknown(theirs: &Outcome, ours: &Outcome) -> Result<()> {
    refused_here(theirs, ours, "RequestUnparseable: ")
}

fn refused_here(theirs: &Outcome, ours: &Outcome, words: &str) -> Result<()> {
    ensure_that!(theirs.issued.is_some(), "theirs refuses it, too");
    let failure = ours.failure.clone().unwrap_or_default();
    ensure_that!(failure.starts_with(words), "ours says {failure:?}");
    Ok(())
}

fn told_once(theirs: &Outcome, ours: &Outcome) -> Result<()> {
    let names = |outcome: &Outcome| -> Result<Vec<String>> {
        let (certificate, _) = outcome.issued.as_ref().context("it was refused")?;
        let names = certificate.names.split(", ");
        Ok(names.map(str::to_owned).collect())
    };
    let (theirs, ours) = (names(theirs)?, names(ours)?);
    let mut once = theirs.clone();
    once.dedup();
    ensure_that!(once != theirs, "theirs tells {theirs:?}");
    same("names", ours, once)
}
