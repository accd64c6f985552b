//! The profiles' part of a turn: files looked at, programs told, and what is said about both.

use crate::managed::{Machine, MachineIndex};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::outcome::AgentError;
use crate::profile::{Keeper, Looked, Told};
use crate::tell::REMINDER;
use everleaf_rotation::overdue::Waiting;
use everleaf_rotation::{Monotonic, Overdue, overdue};
use futures_util::future::{BoxFuture, FutureExt};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Most actions that run at a time: hundreds of certificates may be renewed in one minute.
const ACTIONS_MAX: usize = 4;

/// Most requests of profiles that are created at a time: hundreds may be due in one minute, and the
/// node's own come first.
pub(crate) const REQUESTS_MAX: usize = 8;

/// The action of a profile, and what became of it.
pub(crate) type Acted = (MachineIndex, Result<(), String>);

/// An action under way.
pub(crate) type Acting = BoxFuture<'static, Acted>;

/// What was told last about the files of a profile that cannot be written.
pub(crate) type ToldFiles = Option<(String, Monotonic)>;

/// The metrics of these certificates.
pub(crate) fn metrics_of(machines: &[Machine]) -> Metrics {
    let metrics = Metrics::new(machines.iter().map(|machine| machine.rotation.id()));
    for machine in machines.iter().filter(|machine| machine.keeper.is_some()) {
        metrics.set_profile(machine.rotation.id());
    }
    metrics
}

impl Node {
    /// A place among the requests of profiles, for a machine that has one; others need none.
    pub(crate) fn profile_place(
        &self,
        at: MachineIndex,
    ) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + use<> {
        let places = Arc::clone(&self.profile_places);
        let needs_one = self.machines[at.0].keeper.is_some();
        async move {
            if needs_one {
                places.acquire_owned().await.ok()
            } else {
                None
            }
        }
    }

    /// Looks at the files of a machine's profile, if it has one and it is time.
    pub(crate) fn keep_profile(&mut self, at: MachineIndex) {
        let now = self.now.monotonic;
        let cluster = self.cluster.clone();
        let machine = &mut self.machines[at.0];
        let (Some(keeper), Some(current)) = (&mut machine.keeper, &machine.current) else {
            return;
        };
        let id = machine.rotation.id();
        match keeper.look(now, current, &cluster) {
            Looked::Good => return,
            Looked::Written => {
                machine.told_files = None;
                self.metrics.record_files(id, true);
                tracing::info!(
                    manager = id.name(),
                    files = keeper.profile().outputs.len(),
                    "the files of the profile are written"
                );
            }
            Looked::Failed(error) => {
                self.metrics.record_files(id, false);
                let is_told = |(before, at): &(String, Monotonic)| {
                    *before == error && now.since(*at) < REMINDER
                };
                if !machine.told_files.as_ref().is_some_and(is_told) {
                    tracing::error!(
                        manager = id.name(),
                        %error,
                        "the files of the profile are not as they should be; trying again every minute"
                    );
                    machine.told_files = Some((error, now));
                }
            }
        }
        self.metrics.set_action_owed(id, keeper.owes_action());
    }

    /// Begins the actions that are due, as many as may run at a time.
    pub(crate) fn begin_actions(&mut self) {
        let now = self.now.monotonic;
        for (at, machine) in self.machines.iter_mut().enumerate() {
            if self.actions.len() >= ACTIONS_MAX {
                return;
            }
            let Some(keeper) = &mut machine.keeper else {
                continue;
            };
            if !keeper.wants_action(now) {
                continue;
            }
            if let Some(action) = keeper.begin_action() {
                let acting = action.map(move |ended| (MachineIndex(at), ended));
                self.actions.push(acting.boxed());
            }
        }
    }

    /// Takes in what became of an action.
    pub(crate) fn take_acted(&mut self, (at, ended): Acted) {
        let now = self.now.monotonic;
        let machine = &mut self.machines[at.0];
        let Some(keeper) = &mut machine.keeper else {
            return;
        };
        let told = keeper.action_ended(now, &ended);
        let manager = machine.rotation.id().name();
        let action = keeper.profile().after.as_ref();
        let action = action.map(ToString::to_string).unwrap_or_default();
        match (&ended, told) {
            (Err(error), Told::Again(wait)) => tracing::warn!(
                manager,
                action,
                %error,
                "the program was not told of its new files; trying again in {} s",
                wait.as_secs()
            ),
            (Err(error), Told::GivenUp | Told::Done) => tracing::error!(
                manager,
                action,
                %error,
                "the program was not told of its new files, and is not tried again: reload it by hand; the next files, or a \
                 restart of the agent, bring it again"
            ),
            (Ok(()), _) => tracing::info!(manager, action, "the program was told of its new files"),
        }
        let id = machine.rotation.id();
        self.metrics.record_action(id, ended.is_ok());
        self.metrics.set_action_owed(id, keeper.owes_action());
    }

    /// Tells which profiles wait for their first certificates, when it is time.
    pub(crate) fn tell_waiting_profiles(&mut self) {
        let now = self.now;
        let profiles = self.machines.iter().filter(|m| m.keeper.is_some());
        let waiting: Vec<_> = profiles
            .filter_map(|machine| {
                let rotation = &machine.rotation;
                let request = Waiting::of(rotation.pending());
                match overdue(rotation.dates(), request, now.wall) {
                    Some(Overdue::First(request)) => Some((rotation.id().name(), request)),
                    _ => None,
                }
            })
            .collect();
        if let Some(text) = self.waiting_profiles.news(&waiting, now.monotonic) {
            tracing::warn!(profiles = waiting.len(), "{text}");
        }
    }

    fn keepers(&self) -> impl Iterator<Item = &Keeper> {
        self.machines
            .iter()
            .filter_map(|machine| machine.keeper.as_deref())
    }

    /// When an action is to be begun next. What waits for an action that runs is begun
    /// when that ends.
    pub(crate) fn profiles_wake(&self) -> Option<Monotonic> {
        let is_full = self.actions.len() >= ACTIONS_MAX;
        let due = self.keepers().filter_map(Keeper::wake).min();
        due.filter(|due| !is_full || *due > self.now.monotonic)
    }

    /// Whether nothing is left to do for any profile, for an agent that is to leave then.
    pub(crate) fn are_profiles_settled(&self) -> Result<bool, AgentError> {
        for keeper in self.keepers() {
            if let Some(reason) = keeper.failure() {
                return Err(AgentError::NotDone {
                    name: keeper.profile().name.clone(),
                    reason: reason.to_owned(),
                });
            }
        }
        Ok(self.actions.is_empty() && self.keepers().all(Keeper::is_settled))
    }
}
