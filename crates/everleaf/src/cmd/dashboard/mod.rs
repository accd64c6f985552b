//! `everleaf dashboard`: the fleet in a browser of this machine, and the two decisions.
//!
//! It speaks plain HTTP on a loopback address, to whoever has the key that it prints. What it shows
//! comes from the same watches as `status -w`; what it does, it does with the credential of the
//! kubeconfig, so the API server decides what this user may. It has no rights of its own, and reads
//! nothing but the API and the issuance log.
//!
//! ```text
//! browser ─▶ server, or ui ─▶ guard ─▶ served ─▶ page ◀─ Snapshot ◀─ Live (watches)
//!                                         └─▶ decide, request ─▶ API server
//! ```
//!
//! [`ui`] is the second way in: `/ui` of `everleaf up`, with the rights of whoever comes.

mod answer;
mod decide;
mod guard;
mod page;
mod route;
mod served;
mod server;
mod site;
mod snapshot;
pub(crate) mod ui;

use super::fleet::{self, Live, Seen};
use super::why::gather::Api;
use super::{roll, why};
use crate::args::dashboard::DashboardArgs;
use crate::calls::Calls;
use crate::failure::UsageError;
use crate::print;
use crate::shutdown::Shutdown;
use crate::up::entropy;
use anyhow::{Context, Result};
use decide::{Decision, Undecided};
use everleaf_controllers::why::{Evidence, diagnose_request};
use guard::{KEY_LENGTH, Keys};
use http::StatusCode;
use page::request;
use route::Verdict;
use serde_json::Value;
use server::Local;
use site::Site;
use snapshot::Snapshot;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// How a roll of the CA stands is read no more often.
const ROLL_LOOK: Duration = Duration::from_secs(5);

/// Looks, and shows it until it is stopped.
pub(crate) fn run(args: &DashboardArgs) -> Result<ExitCode> {
    if !args.listen.ip().is_loopback() {
        let address = args.listen;
        return Err(UsageError(format!(
            "--listen {address}: whoever reaches the dashboard has your rights, and it speaks plain HTTP, so it listens on addresses of this machine \
             alone, such as 127.0.0.1:8765; from another machine: ssh -L 8765:127.0.0.1:8765"
        ))
        .into());
    }
    let runtime = super::runtime()?;
    let seen = match runtime.block_on(fleet::look(&args.fleet, false)) {
        Ok(seen) => seen,
        Err(error) => return Ok(fleet::not_seen(&error)),
    };
    runtime.block_on(serve(seen, args))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(seen: Seen, args: &DashboardArgs) -> Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let address = args.listen;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another (--listen)"))?;
    let address = listener.local_addr()?;
    let key = || entropy::letters(KEY_LENGTH);
    let keys = Keys {
        entry: key()?,
        session: key()?,
        cookie: format!("everleaf-{}", address.port()),
    };
    let url = format!("http://{address}/enter?key={}", keys.entry);
    let calls = Calls::new(seen.client.clone());
    let user = calls.user_info().await["username"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let client = seen.client.clone();
    let live = Live::follow(seen);
    let roll = roll_lines(&calls).await;
    let site = Arc::new(Site {
        form_key: key()?,
        stranger: "Not live: this dashboard was started again. Open the address that it has printed.",
        ..Site::default()
    });
    let first = Snapshot::of(&live, (&site, &user), &roll);
    let (sender, snapshots) = watch::channel(Arc::new(first));
    let dashboard = Dashboard {
        site,
        snapshots,
        client,
        calls: Calls::new(live.seen().client.clone()),
        streams: Arc::new(Semaphore::new(served::STREAMS_MAX)),
        kubeconfig: args.fleet.server.kubeconfig.clone(),
        context: args.fleet.server.context.clone(),
    };
    let told = live.seen().server.clone();
    print::answer(&format!(
        "{told} is shown to whoever opens this address:\n{url}"
    ))?;
    tokio::select! {
        () = server::serve(listener, Arc::new(Local { keys, dashboard })) => {}
        () = follow(live, calls, &sender) => {}
        () = shutdown.asked() => {}
    }
    Ok(())
}

/// Makes a snapshot whenever something has changed.
async fn follow(mut live: Live, calls: Calls, sender: &watch::Sender<Arc<Snapshot>>) {
    let first = Arc::clone(&sender.borrow());
    let (mut looked, mut roll) = (Instant::now(), first.roll.clone());
    let whose = (&first.site, &*first.user);
    loop {
        live.change().await;
        if looked.elapsed() >= ROLL_LOOK {
            roll = roll_lines(&calls).await;
            looked = Instant::now();
        }
        sender.send_replace(Arc::new(Snapshot::of(&live, whose, &roll)));
    }
}

/// How far a roll of the CA has come.
async fn roll_lines(calls: &Calls) -> Vec<String> {
    match roll::read(calls).await {
        Ok(Value::Null) => Vec::new(),
        Ok(status) => roll::words(&status, calls.now())
            .lines()
            .map(str::to_owned)
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// What is served from, to one user.
struct Dashboard {
    site: Arc<Site>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    client: kube::Client,
    calls: Calls,
    streams: Arc<Semaphore>,
    /// As it was given, for commands.
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
}

/// A page that is not of a snapshot alone.
struct Shown {
    status: StatusCode,
    page: String,
}

impl Dashboard {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// How to look closer at a node.
    fn commands(&self, node: &str) -> Vec<String> {
        let mut commands = vec![format!("everleaf why node/{node}")];
        self.aim(&mut commands);
        commands
    }

    fn aim(&self, commands: &mut [String]) {
        let (kubeconfig, context) = (self.kubeconfig.as_deref(), self.context.as_deref());
        why::aim_commands(commands.iter_mut(), kubeconfig, context);
    }

    /// Reads a request anew, with all that it is judged by.
    async fn request(&self, name: &str, done: Option<Verdict>) -> Result<Shown> {
        let api = Api::new(self.client.clone());
        let (policies, policy_source) = why::installed(&api).await;
        let mut evidence = Evidence {
            policies,
            policy_source,
            ..Evidence::default()
        };
        why::read_request(&api, name, &mut evidence).await?;
        let mut diagnosis = diagnose_request(name, &evidence);
        for finding in &mut diagnosis.findings {
            self.aim(&mut finding.commands);
        }
        let object = evidence.request.read();
        let shown = request::Shown {
            name,
            object,
            diagnosis: &diagnosis,
            done,
        };
        Ok(Shown {
            status: match object {
                Some(_) => StatusCode::OK,
                None => StatusCode::NOT_FOUND,
            },
            page: request::show(&self.snapshot(), &shown),
        })
    }

    async fn decide(
        &self,
        name: &str,
        uid: &str,
        verdict: Verdict,
        message: &str,
    ) -> Result<(), Undecided> {
        let decision = Decision {
            name,
            uid,
            verdict,
            message,
        };
        decision.carry_out(&self.calls).await
    }
}
