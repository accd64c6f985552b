//! `everleaf forecast` and `everleaf status`: the model of the fleet ([`everleaf_fleet`]), filled
//! from an API server, an issuance log and kubelets, and shown.

mod forecast;
mod live;
mod probe;
pub(super) mod screen;
#[cfg(test)]
pub(super) mod tests;
mod watch;
mod wide;

use super::ca::default_directory;
use super::why::{self, gather::Api};
use crate::args::OutputFormat;
use crate::args::fleet::{FleetArgs, ForecastArgs, StatusArgs};
use crate::failure;
use crate::kube_client::{self, Connected, usual_kubeconfig};
use crate::print;
use crate::up::data_dir::ISSUANCE_LOG;
use anyhow::{Context, Result, anyhow};
use everleaf_api::csr::Csr;
use everleaf_controllers::issuance::{Entry, Reader};
use everleaf_controllers::serving::Claim;
use everleaf_controllers::upkeep::RootCaSource;
use everleaf_controllers::why::{Evidence, Known};
use everleaf_fleet::{Facts, Fleet, Forecast, Kind, Logbook, to_explain};
use everleaf_pki::{Chain, Leaf};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) use live::Live;

/// Exit code when it could not look: 1 says that somebody lapses.
const NOT_SEEN: u8 = 2;

/// What the names of nodes begin with, as users.
const NODE_PREFIX: &str = "system:node:";

/// A fleet, and where it is.
pub(super) struct Seen {
    pub(super) facts: Facts,
    api: Api,
    pub(super) client: kube::Client,
    /// The API server, as the kubeconfig has it.
    pub(super) server: String,
}

/// Says who lapses.
pub(crate) fn forecast(args: &ForecastArgs) -> Result<ExitCode> {
    let seen = super::runtime()?.block_on(look(&args.fleet, args.probe));
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => return Ok(not_seen(&error)),
    };
    let fleet = Fleet::of(&seen.facts);
    let forecast = Forecast::of(&fleet, usize::from(args.days));
    match args.output {
        Some(OutputFormat::Json) => print::json(&forecast)?,
        Some(OutputFormat::Yaml) => print::yaml(&forecast)?,
        Some(OutputFormat::Wide) => {
            forecast::show(&forecast, &seen.server, Some(&fleet), args.probe)?
        }
        None => forecast::show(&forecast, &seen.server, None, args.probe)?,
    }
    let is_blind = [
        seen.facts.evidence.requests.read(),
        seen.facts.evidence.nodes.read(),
    ]
    .iter()
    .any(Option::is_none);
    Ok(match (forecast.lapses.is_empty(), is_blind) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(NOT_SEEN),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// Shows the fleet.
pub(crate) fn status(args: &StatusArgs) -> Result<ExitCode> {
    let runtime = super::runtime()?;
    let seen = match runtime.block_on(look(&args.fleet, args.probe)) {
        Ok(seen) => seen,
        Err(error) => return Ok(not_seen(&error)),
    };
    if args.watch {
        runtime.block_on(watch::run(seen, args.output))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = shown(&Fleet::of(&seen.facts), &seen, args.output)?;
    print::answer(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn not_seen(error: &anyhow::Error) -> ExitCode {
    failure::report(error);
    ExitCode::from(NOT_SEEN)
}

/// A fleet as programs read it: the model, and sums over it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a String>,
    counts: Sums,
    #[serde(flatten)]
    fleet: &'a Fleet,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sums {
    nodes: usize,
    client: everleaf_fleet::Counts,
    serving: everleaf_fleet::Counts,
}

impl<'a> Answer<'a> {
    fn of(fleet: &'a Fleet, seen: &'a Seen) -> Self {
        Self {
            server: &seen.server,
            version: seen.facts.evidence.version.read(),
            counts: Sums {
                nodes: fleet.nodes.len(),
                client: fleet.counts(Kind::Client),
                serving: fleet.counts(Kind::Serving),
            },
            fleet,
        }
    }
}

/// A fleet in one of the forms of an answer.
fn shown(fleet: &Fleet, seen: &Seen, output: Option<OutputFormat>) -> Result<String> {
    let version = seen.facts.evidence.version.read();
    Ok(match output {
        Some(OutputFormat::Json) => serde_json::to_string_pretty(&Answer::of(fleet, seen))?,
        Some(OutputFormat::Yaml) => {
            let text = serde_saphyr::to_string(&Answer::of(fleet, seen))?;
            text.trim_end().to_owned()
        }
        Some(OutputFormat::Wide) => wide::table(fleet),
        None => {
            let columns = print::columns().unwrap_or(screen::WIDTH);
            let version = version.map(String::as_str);
            screen::of(fleet, &seen.server, version, columns).join("\n")
        }
    })
}

/// Reads all that a fleet is judged by.
pub(super) async fn look(args: &FleetArgs, with_probes: bool) -> Result<Seen> {
    let kubeconfig = usual_kubeconfig(args.server.kubeconfig.as_deref())?;
    let Connected {
        client,
        host,
        authority,
    } = kube_client::connect_context(&kubeconfig, args.server.context.as_deref())?;
    let mut seen = look_through(client, &host).await?;
    let evidence = &seen.facts.evidence;
    if let (Known::Hidden(why), Known::Hidden(_)) = (&evidence.requests, &evidence.nodes) {
        return Err(anyhow!(
            "this kubeconfig's user may not look: {why}; take one that may list certificatesigningrequests and nodes"
        ));
    }
    let log = log(args.issuance_log.as_deref(), &kubeconfig, evidence)?;
    if with_probes {
        let nodes = evidence.nodes.read().map_or(&[][..], Vec::as_slice);
        seen.facts.probes = probe::probe(nodes).await;
    }
    let authorities = authority.map(|source| of_server(&source));
    seen.facts.authorities = authorities.unwrap_or_default();
    seen.facts.log = log;
    Ok(seen)
}

/// Reads what the API tells of a fleet; `host` is where it is.
pub(super) async fn look_through(client: kube::Client, host: &str) -> Result<Seen> {
    let api = Api::new(client.clone());
    let mut evidence = Evidence {
        api_server: Claim::of_host(host).into_iter().collect(),
        ..Evidence::default()
    };
    api.about_fleet(&mut evidence).await?;
    (evidence.policies, evidence.policy_source) = why::installed(&api).await;
    // Nodes under policies with different inventories are judged by one of them.
    let explained = to_explain(&evidence).into_iter();
    let mut nodes = explained.filter_map(|object| Csr(object).username().strip_prefix(NODE_PREFIX));
    if let Some(node) = nodes.next().map(str::to_owned) {
        evidence.inventory = why::inventory(&api, &node, &evidence).await;
    }
    Ok(Seen {
        facts: Facts {
            evidence,
            ..Facts::default()
        },
        api,
        client,
        server: format!("https://{host}"),
    })
}

/// Whom the kubeconfig trusts to be the API server.
fn of_server(source: &RootCaSource) -> Vec<Leaf> {
    let pem = match source {
        RootCaSource::File(path) => std::fs::read(path).unwrap_or_default(),
        RootCaSource::Memory(text) => text.clone().into_bytes(),
    };
    let chain = Chain::from_pem(&pem);
    chain.map_or_else(|_| Vec::new(), |chain| chain.certificates().to_vec())
}

/// The issuance log that is named; else the one that lies beside the kubeconfig, as `up` has it;
/// else that of `up` on this host, of which only what this cluster's authorities signed counts.
fn log(given: Option<&Path>, kubeconfig: &Path, evidence: &Evidence) -> Result<Known<Logbook>> {
    if let Some(directory) = given {
        let book = read_log(directory);
        return Ok(Known::Read(book.with_context(|| {
            format!("--issuance-log {}", directory.display())
        })?));
    }
    let beside = kubeconfig.parent().map(|parent| parent.join(ISSUANCE_LOG));
    let is_there = |directory: &PathBuf| directory.is_dir();
    let hidden = |directory: &Path, error: &anyhow::Error| {
        Known::Hidden(format!(
            "{}: {}",
            directory.display(),
            failure::chain(error)
        ))
    };
    if let Some(directory) = beside.filter(is_there) {
        return Ok(match read_log(&directory) {
            Ok(book) => Known::Read(book),
            Err(error) => hidden(&directory, &error),
        });
    }
    let Some(directory) = default_directory().ok().filter(is_there) else {
        return Ok(Known::Absent);
    };
    Ok(match (read_log(&directory), evidence.client_ca.read()) {
        (Ok(mut book), Some(pem)) => {
            let chain = Chain::from_pem(pem.as_bytes());
            book.keep_of(chain.as_ref().map_or(&[][..], Chain::certificates));
            match book.is_empty() {
                true => Known::Absent,
                false => Known::Read(book),
            }
        }
        // Whose it is nobody can tell.
        (Ok(_), None) => Known::Absent,
        (Err(error), _) => hidden(&directory, &error),
    })
}

/// Reads an issuance log.
pub(super) fn read_log(directory: &Path) -> Result<Logbook> {
    let mut book = Logbook::default();
    Reader::open(directory)?.each(|_, bytes| {
        // What a later version writes is passed over.
        if let Ok(entry) = Entry::from_bytes(bytes) {
            book.note(&entry);
        }
    })?;
    Ok(book)
}
