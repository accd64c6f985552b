//! Late re-issue's part of a turn: knocks carried, what is kept written, and what is said about
//! both.

use super::{FILE_NAME, Facts, Heard, KEPT_BYTES_MAX, Kept, LateReissue};
use crate::client::access::Access;
use crate::client::{Answer, ApiClient, Failure};
use crate::config::{Bootstrap, Config};
use crate::csr_api::hold;
use crate::kubeconfig::write_private;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::secret::Secret;
use crate::tell::REMINDER;
use everleaf_rotation::store::dir::read_file;
use everleaf_rotation::{CredentialChoice, Monotonic, Phase};
use futures_util::future::{BoxFuture, FutureExt};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

/// Random bytes in the name of an attempt.
const ATTEMPT_BYTES: usize = 32;

/// An answer to a knock.
pub(crate) type Answered = Result<Answer, Failure>;

/// Where a node knocks.
pub(crate) struct Door {
    machine: LateReissue,
    path: PathBuf,
    doing: Option<BoxFuture<'static, Answered>>,
    /// What was told last, and when.
    told: Option<(String, Monotonic)>,
}

impl Door {
    /// None unless the agent keeps a client certificate and is to come back by it.
    pub(crate) fn open(config: &Config, metrics: &Metrics) -> Option<Self> {
        if !config.late_reissue || !config.client {
            return None;
        }
        metrics.expect_late();
        let path = config.cert_dir.join(FILE_NAME);
        let shown = path.display();
        let kept = match read_file(&path, KEPT_BYTES_MAX) {
            Ok(text) => Kept::read(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Kept::default()),
            Err(error) => Err(error.to_string()),
        };
        // A node that has lost it registers anew.
        let kept = kept.unwrap_or_else(|error| {
            tracing::warn!(path = %shown, %error, "the join state of late re-issue cannot be read: the node begins anew");
            Kept::default()
        });
        Some(Self {
            machine: LateReissue::new(kept),
            path,
            doing: None,
            told: None,
        })
    }

    /// The answer to the knock under way, when it comes; never, if there is none. Cancel safe.
    pub(crate) async fn answered(door: &mut Option<Self>) -> Answered {
        match door.as_mut().and_then(|door| door.doing.as_mut()) {
            Some(doing) => {
                let answer = doing.await;
                if let Some(door) = door {
                    door.doing = None;
                }
                answer
            }
            None => std::future::pending().await,
        }
    }

    fn knock(&mut self, facts: Facts, access: Access, client: &ApiClient, now: Monotonic) {
        let Some(knock) = self.machine.begin(facts, now, attempt_name) else {
            return;
        };
        if let Err(error) = self.keep() {
            self.machine.give_up(now);
            return self.tell(&error, true, now);
        }
        // A connection of its own: the ended certificate is shown in its handshake.
        let client = client.fresh();
        let call = async move { hold(&client, &access, knock).await };
        self.doing = Some(call.boxed());
    }

    fn keep(&self) -> Result<(), String> {
        let text = self.machine.kept().text();
        write_private(&self.path, text.as_bytes()).map_err(|error| {
            let path = self.path.display();
            format!("late re-issue: cannot write {path}: {error}; trying again")
        })
    }

    fn tell(&mut self, text: &str, is_trouble: bool, now: Monotonic) {
        let is_told =
            |(before, at): &(String, Monotonic)| before == text && now.since(*at) < REMINDER;
        if self.told.as_ref().is_some_and(is_told) {
            return;
        }
        self.told = Some((text.to_owned(), now));
        let text = text.replace(char::is_control, " ");
        if is_trouble {
            tracing::warn!("{text}");
        } else {
            tracing::info!("{text}");
        }
    }
}

impl Node {
    /// What matters for late re-issue.
    fn late_facts(&self) -> Option<Facts> {
        let own = self
            .machines
            .values()
            .find(|machine| machine.is_nodes_own())?;
        let rotation = &own.rotation;
        Some(Facts {
            leaf: rotation.current()?.fingerprint(),
            is_confirmed: rotation.is_confirmed(),
            is_stuck: rotation.phase() == Phase::Stuck,
        })
    }

    /// Knocks, if it is time.
    pub(crate) fn knock_late(&mut self) {
        let now = self.now.monotonic;
        let (Some(facts), Some(at)) = (self.late_facts(), self.nodes_own()) else {
            return;
        };
        let due = self.late.as_ref().and_then(|door| door.machine.wake(facts));
        if due.is_none_or(|due| due > now) {
            return;
        }
        let Ok(access) = self.access(at, CredentialChoice::Current) else {
            return;
        };
        if let Some(door) = &mut self.late {
            door.knock(facts, access, &self.client, now);
        }
    }

    /// Takes in the answer to a knock.
    pub(crate) fn take_late(&mut self, answer: Answered) {
        let now = self.now.monotonic;
        let what_to_do = what_to_do(&self.config);
        let Some(door) = &mut self.late else {
            return;
        };
        let heard = door.machine.take(answer, now);
        self.metrics.record_late(&heard);
        let (text, is_trouble) = match &heard {
            Heard::Registered { .. } => (heard.to_string(), false),
            Heard::Recovered { recoveries_left } => (heard.to_string(), *recoveries_left == 0),
            heard if heard.needs_operator() => (format!("{heard}; {what_to_do}"), true),
            heard => (heard.to_string(), true),
        };
        if matches!(heard, Heard::Registered { .. })
            && let Err(error) = door.keep()
        {
            // The same attempt goes on at the next start.
            door.tell(&error, true, now);
        }
        door.tell(&text, is_trouble, now);
    }

    /// The token by which the node may file its next request, if it was given one.
    pub(crate) fn late_token(&self) -> Option<Secret> {
        let door = self.late.as_ref()?;
        door.machine.token(self.now.monotonic).cloned()
    }

    /// How long until the next knock, if one is due.
    pub(crate) fn late_nap(&self) -> Option<Duration> {
        let due = self.late.as_ref()?.machine.wake(self.late_facts()?)?;
        Some(due.since(self.now.monotonic))
    }

    /// Whether a knock is under way.
    pub(crate) fn is_knocking_late(&self) -> bool {
        let door = self.late.as_ref();
        door.is_some_and(|door| door.doing.is_some())
    }

    /// Whether late re-issue may still help.
    pub(crate) fn is_late_at_it(&self) -> bool {
        let now = self.now.monotonic;
        let door = self.late.as_ref();
        door.is_some_and(|door| door.machine.is_at_it(now))
    }
}

/// What an operator does for a node that cannot come back by itself.
fn what_to_do(config: &Config) -> String {
    let token = "a new bootstrap token (`everleaf token create`, or `kubeadm token create`)";
    match &config.bootstrap {
        Some(Bootstrap::File(path)) => format!(
            "put a bootstrap kubeconfig with {token} at {}",
            path.display()
        ),
        _ => format!(
            "start the agent with a bootstrap kubeconfig (--bootstrap-kubeconfig) with {token}"
        ),
    }
}

/// A name that nobody can guess.
fn attempt_name() -> String {
    let mut bytes = [0; ATTEMPT_BYTES];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .secure_random
        .fill(&mut bytes)
        .expect("invariant: the system has random bytes once it is up");
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
