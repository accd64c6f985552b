//! Signing requests on an API server: create one, find an existing one, wait for the verdict.
//!
//! Carries the calls that the machines of [`conversation`] ask for; decides nothing.

use crate::client::access::{Access, Identity};
use crate::client::{ApiClient, Watch};
use conversation::{AskVersion, Confirm, Dialogue, Step, Submit, Wait};
use everleaf_rotation::{AwaitOutcome, ConfirmOutcome, Monotonic, PendingRequest, SubmitOutcome};
use http::Method;
use tokio::sync::watch;
use tokio::time::Instant;

pub mod conversation;
#[cfg(test)]
mod tests;
pub(crate) mod trial;

pub(crate) use conversation::Patience;

/// Creates the request object under its own name.
pub(crate) async fn submit(
    client: &ApiClient,
    access: &Access,
    pending: &PendingRequest,
) -> SubmitOutcome {
    hold(client, access, Submit::new(pending.clone())).await
}

/// The minor version of Kubernetes 1 that the server speaks for; `None` when it does not say.
pub(crate) async fn server_minor(client: &ApiClient, access: &Access) -> Option<u32> {
    hold(client, access, AskVersion).await
}

/// Asks the server who we are, on a connection of its own.
pub(crate) async fn confirm(client: &ApiClient, access: &Access) -> ConfirmOutcome {
    let presented = match &access.identity {
        Identity::Certificate(presented) => Some(presented.leaf().subject().common_name.clone()),
        _ => None,
    };
    hold(&client.fresh(), access, Confirm::new(presented)).await
}

pub(crate) async fn hold<D: Dialogue>(
    client: &ApiClient,
    access: &Access,
    mut dialogue: D,
) -> D::Outcome {
    loop {
        let call = dialogue.call();
        let answer = match (&call.method, &call.body) {
            (&Method::POST, Some(body)) => client.create(access, &call.path, body).await,
            (&Method::DELETE, Some(body)) => client.delete(access, &call.path, body).await,
            _ => client.get(access, &call.path).await,
        };
        if let Some(outcome) = dialogue.answer(answer) {
            return outcome;
        }
    }
}

/// With what to wait: fixed, or whatever the client machine holds by then.
#[derive(Clone, Debug)]
pub(crate) enum Waiter {
    /// One access throughout.
    Fixed(Access),
    /// Follows the client certificate: after a rotation the wait goes on over a new connection.
    Following(watch::Receiver<Option<Access>>),
}

impl Waiter {
    fn access(&mut self) -> Option<Access> {
        match self {
            Self::Fixed(access) => Some(access.clone()),
            Self::Following(current) => current.borrow_and_update().clone(),
        }
    }

    async fn changed(&mut self) {
        match self {
            Self::Following(current) if current.has_changed().is_ok() => {
                if current.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            _ => std::future::pending().await,
        }
    }
}

/// Waits for the verdict on a request, at most as long as `patience` says.
pub(crate) async fn await_verdict(
    client: &ApiClient,
    mut waiter: Waiter,
    pending: &PendingRequest,
    patience: &Patience,
) -> AwaitOutcome {
    let start = Instant::now();
    let now = || Monotonic::from_origin(start.elapsed());
    let mut wait = Wait::new(pending.clone(), *patience, now());
    let mut access = waiter.access();
    let mut watch = None;
    loop {
        let step = match wait.step(now()) {
            Step::Done(outcome) => return outcome,
            Step::Disturbed(Some(error)) => {
                tracing::warn!(
                    csr = pending.name.as_str(),
                    %error,
                    "waiting for the certificate is disturbed; trying again"
                );
                continue;
            }
            Step::Disturbed(None) => {
                let csr = pending.name.as_str();
                tracing::info!(csr, "waiting for the certificate goes on");
                continue;
            }
            step => step,
        };
        let due = start + wait.due().since_origin();
        tokio::select! {
            () = carry(step, &mut wait, client, access.as_ref(), &mut watch, &now) => {}
            () = waiter.changed() => {
                access = waiter.access();
                watch = None;
                wait.restart();
            }
            () = tokio::time::sleep_until(due) => {}
        }
    }
}

/// Carries one step of a wait.
async fn carry(
    step: Step,
    wait: &mut Wait,
    client: &ApiClient,
    access: Option<&Access>,
    watch: &mut Option<Watch>,
    now: &impl Fn() -> Monotonic,
) {
    let Some(access) = access else {
        return std::future::pending().await;
    };
    match step {
        Step::Call(call) => {
            let answer = client.get(access, &call.path).await;
            wait.hear(answer, now());
        }
        Step::Open(call) => {
            let opened = client.watch(access, &call.path).await;
            let opened = opened.map(|opened| *watch = Some(opened));
            wait.opened(opened, now());
        }
        Step::Read => {
            let (event, server_time) = match watch {
                Some(watch) => (watch.next().await, watch.server_time()),
                None => (Ok(None), None),
            };
            wait.read(event, server_time, now());
        }
        Step::Pause(pause) => tokio::time::sleep(pause).await,
        Step::Disturbed(_) | Step::Done(_) => {}
    }
}
