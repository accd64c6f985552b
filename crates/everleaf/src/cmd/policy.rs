//! `everleaf policy test`: a policy on requests from files. The rules are the controllers'; only
//! the facts come from elsewhere.

use crate::args::OutputFormat;
use crate::args::policy::{PolicyCommand, PolicyTestArgs};
use crate::{failure, input, print};
use anyhow::{Context, Result, anyhow, bail};
use everleaf_controllers::index::OpenRequest;
use everleaf_controllers::serving::{
    Cluster, Decision, Facts, Inventory, InventorySource, Issued, Look, Origin, Policy, PolicySet,
    Resolved, Saw, Source, Verdict, decide, doubts, requestor,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Largest file of objects.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Exit code when nothing could be judged: 1 says that a request would not be approved.
const NOT_TRIED: u8 = 2;

/// Dispatches.
pub(crate) fn run(command: &PolicyCommand) -> Result<ExitCode> {
    match command {
        PolicyCommand::Test(args) => Ok(test(args).unwrap_or_else(|error| {
            failure::report(&error);
            ExitCode::from(NOT_TRIED)
        })),
    }
}

/// The policies of a file; without one, what holds where there is none.
pub(super) fn policies(path: Option<&Path>) -> Result<PolicySet> {
    let policies = match path {
        None => PolicySet::default(),
        Some(path) => PolicySet::from_yaml(&read(path)?)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?,
    };
    for warning in &policies.warnings {
        eprintln!("everleaf: warning: {warning}");
    }
    Ok(policies)
}

/// The inventory that the policy for this node names, if it names one; `map` is the ConfigMap.
pub(super) fn inventory(policy: &Policy, map: Option<&Value>) -> Option<Result<Inventory>> {
    let source = &policy.inventory;
    let inventory = match (source, map) {
        (InventorySource::None, _) => return None,
        (InventorySource::File(path), _) => {
            read(path).and_then(|text| Inventory::from_yaml(&text).map_err(anyhow::Error::msg))
        }
        (InventorySource::ConfigMap { .. }, Some(map)) => {
            Inventory::from_config_map(map).map_err(anyhow::Error::msg)
        }
        (InventorySource::ConfigMap { .. }, None) => Err(anyhow!("it cannot be seen from here")),
    };
    Some(inventory.with_context(|| format!("inventory {source}")))
}

/// One request, judged.
struct Judged {
    name: String,
    decision: Decision,
}

fn test(args: &PolicyTestArgs) -> Result<ExitCode> {
    let policies = policies(args.policy.as_deref())?;
    for doubt in doubts(&policies) {
        eprintln!("everleaf: warning: {doubt}");
    }
    let (cluster, maps) = cluster(&args.node)?;
    let mut judged = Vec::new();
    for path in &args.csr {
        for object in objects(path)? {
            judged.push(judge(&object, path, (&cluster, &maps), &policies, args)?);
        }
    }
    if judged.is_empty() {
        bail!("the files hold no certificate signing request");
    }
    match args.output {
        Some(OutputFormat::Json) => print::json(&Value::from_iter(judged.iter().map(as_json)))?,
        Some(OutputFormat::Yaml) => print::yaml(&Value::from_iter(judged.iter().map(as_json)))?,
        Some(OutputFormat::Wide) | None => {
            for (index, one) in judged.iter().enumerate() {
                if index > 0 {
                    print::answer("")?;
                }
                show(one)?;
            }
        }
    }
    let all = judged
        .iter()
        .all(|one| one.decision.verdict == Verdict::Approve);
    Ok(ExitCode::from(u8::from(!all)))
}

fn judge(
    object: &Value,
    path: &Path,
    (cluster, maps): (&Cluster, &[Value]),
    policies: &PolicySet,
    args: &PolicyTestArgs,
) -> Result<Judged> {
    let shown = path.display();
    let kind = object["kind"].as_str().unwrap_or_default();
    if kind != "CertificateSigningRequest" {
        bail!(
            "{shown} holds an object of kind \"{kind}\", and --csr takes certificate signing requests"
        );
    }
    let request = OpenRequest::new(object.clone());
    let csr = request.csr();
    if csr.username().is_empty() {
        bail!(
            "{shown}: request {:?} has no spec.username, which the API server writes: take it from there (kubectl get csr \
             NAME -o yaml), or add username and groups",
            csr.name()
        );
    }
    let node = requestor(csr).unwrap_or_default();
    let policy = policies.policy_for(node, cluster.node(node));
    let map = policy.and_then(|policy| {
        let path = policy.inventory.path()?;
        maps.iter()
            .find(|map| config_map(map).path().as_ref() == Some(&path))
    });
    if let Some(source @ InventorySource::ConfigMap { .. }) = policy.map(|policy| &policy.inventory)
        && map.is_none()
    {
        bail!(
            "the policy's inventory is the {source}: give it with --node, too (kubectl get configmap -o yaml)"
        );
    }
    let inventory = policy
        .and_then(|policy| inventory(policy, map))
        .transpose()?;
    let origin = args.origin.map(origin);
    let judge = |seen: &[(Look, Saw)]| {
        let facts = Facts {
            cluster,
            issued: &Issued::default(),
            inventory: inventory.as_ref().map(Ok),
            origin: origin.as_ref(),
            age: args.age.unwrap_or_default(),
            newer: 0,
            limited: None,
            reviews: &[],
            seen,
            now: now(),
        };
        decide(&request, &facts, policies)
    };
    let mut decision = judge(&[]);
    if let Verdict::Look(_, look) = &decision.verdict
        && let Some(saw) = in_dns(look, &args.dns)
    {
        decision = judge(&[(Look::clone(look), saw)]);
    }
    Ok(Judged {
        name: csr.name().to_owned(),
        decision,
    })
}

fn origin(address: IpAddr) -> Origin {
    Origin {
        addresses: vec![address.to_canonical()],
        is_server_host: address.is_loopback(),
        host_name: None,
    }
}

/// What was said of DNS, if it says something of each name that is looked for.
fn in_dns(look: &Look, dns: &[(String, BTreeSet<IpAddr>)]) -> Option<Saw> {
    let Look::Names { names, .. } = look else {
        return None;
    };
    let of = |name: &String| {
        let mut said = dns.iter().filter(|(said, _)| said == name).peekable();
        said.peek()?;
        let addresses: BTreeSet<IpAddr> = said.flat_map(|(_, of)| of.iter().copied()).collect();
        let resolved = Resolved {
            is_absent: addresses.is_empty(),
            addresses,
            trouble: None,
        };
        Some((name.clone(), resolved))
    };
    Some(Saw::Names(names.iter().map(of).collect::<Option<_>>()?))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command has one instant, and this is where it is read"
)]
fn now() -> Timestamp {
    Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::MIN)
}

/// Where a ConfigMap stands.
fn config_map(object: &Value) -> InventorySource {
    let text = |member: &str| {
        object["metadata"][member]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    InventorySource::ConfigMap {
        namespace: text("namespace"),
        name: text("name"),
    }
}

/// What the files say of the cluster, and the ConfigMaps among it.
fn cluster(paths: &[PathBuf]) -> Result<(Cluster, Vec<Value>)> {
    let mut maps = Vec::new();
    let mut cluster = Cluster::default();
    for source in Source::ALL {
        cluster.begin_list(source);
        cluster.end_list(source);
    }
    for path in paths {
        for object in objects(path)? {
            let source = match object["kind"].as_str().unwrap_or_default() {
                "Node" => Source::Nodes,
                "Service" => Source::Services,
                "Endpoints" => Source::Endpoints,
                "ConfigMap" => {
                    maps.push(object);
                    continue;
                }
                other => bail!(
                    "{} holds an object of kind \"{other}\", and --node takes Nodes, Services, Endpoints and ConfigMaps",
                    path.display()
                ),
            };
            cluster.put(source, &object);
        }
    }
    Ok((cluster, maps))
}

fn read(path: &Path) -> Result<String> {
    let bytes = match path.as_os_str() == "-" {
        true => input::to_end(&mut std::io::stdin(), FILE_BYTES_MAX),
        false => input::read(path, FILE_BYTES_MAX),
    };
    let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes.to_vec()).with_context(|| format!("{} is not text", path.display()))
}

/// The objects of a file: one, several documents, or a list of any depth.
fn objects(path: &Path) -> Result<Vec<Value>> {
    let text = read(path)?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|error| anyhow!("{} is neither YAML nor JSON: {error}", path.display()))?;
    let mut waiting: Vec<Value> = documents.into_iter().rev().collect();
    let mut objects = Vec::new();
    while let Some(mut one) = waiting.pop() {
        let is_list = one["kind"]
            .as_str()
            .is_some_and(|kind| kind.ends_with("List"));
        match one.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if is_list => waiting.extend(items.into_iter().rev()),
            _ if one.is_null() => {}
            _ => objects.push(one),
        }
    }
    Ok(objects)
}

fn verdict(decision: &Decision) -> (&'static str, String) {
    let word = match &decision.verdict {
        Verdict::Approve => "approve",
        Verdict::Deny(_) => "deny",
        Verdict::Abstain(_) => "abstain",
        Verdict::Wait(..) => "wait",
        Verdict::Look(..) => "look",
        Verdict::Review => "review",
    };
    let why = match &decision.verdict {
        Verdict::Review => {
            "the API server has to be asked whether the requestor may create certificatesigningrequests/selfnodeserver"
                .to_owned()
        }
        _ => decision.message(),
    };
    (word, why)
}

fn show(judged: &Judged) -> Result<()> {
    let Judged { name, decision } = judged;
    let (word, why) = verdict(decision);
    print::answer(&format!("{}: {word}", print::harmless_line(name)))?;
    if decision.is_dry_run {
        print::answer("the policy only tells (mode: dry-run)")?;
    }
    print::answer(&print::harmless_line(&why))?;
    let rows: Vec<Vec<String>> = decision
        .trace
        .iter()
        .map(|step| {
            let (word, why) = step.finding.words();
            vec![
                step.rule.id().to_owned(),
                step.rule.name().to_owned(),
                word.to_owned(),
                print::harmless_line(&why),
            ]
        })
        .collect();
    print::table(&["rule", "name", "finding", "why"], &rows)
}

fn as_json(judged: &Judged) -> Value {
    let Judged { name, decision } = judged;
    let (word, why) = verdict(decision);
    let rule = match &decision.verdict {
        Verdict::Deny(rule) | Verdict::Look(rule, _) | Verdict::Wait(rule, _) => Some(*rule),
        Verdict::Abstain(rule) => *rule,
        Verdict::Approve | Verdict::Review => None,
    };
    let trace = decision.trace.iter().map(|step| {
        let (word, why) = step.finding.words();
        json!({ "rule": step.rule.id(), "name": step.rule.name(), "finding": word, "why": why })
    });
    json!({
        "csr": name,
        "verdict": word,
        "policy": decision.policy,
        "dryRun": decision.is_dry_run,
        "rule": rule.map(|rule| rule.id()),
        "reason": decision.reason(),
        "message": why,
        "trace": trace.collect::<Vec<_>>(),
    })
}
