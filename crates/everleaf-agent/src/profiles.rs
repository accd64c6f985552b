//! The profiles' part of a turn: which there are, files looked at, programs told, and what is said
//! about all that.

use crate::config::Config;
use crate::managed::{MachineIndex, PROFILES_DIRECTORY, profile_machine};
use crate::node::Node;
use crate::outcome::AgentError;
use crate::profile::{Changes, Keeper, Kept, Looked, ProfileProblem, ProfileWatch, Told};
use crate::tell::REMINDER;
use everleaf_rotation::overdue::Waiting;
use everleaf_rotation::store::dir::CertDir;
use everleaf_rotation::{Monotonic, Overdue, overdue};
use futures_util::future::{BoxFuture, FutureExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most actions that run at a time: hundreds of certificates may be renewed in one minute.
const ACTIONS_MAX: usize = 4;

/// Most requests of profiles that are created at a time: hundreds may be due in one minute, and the
/// node's own come first.
const REQUESTS_MAX: usize = 8;

/// The action of a profile, and what became of it.
pub(crate) type Acted = (MachineIndex, String, Result<(), String>);

/// An action under way.
pub(crate) type Acting = BoxFuture<'static, Acted>;

/// What was told last about the files of a profile that cannot be written.
pub(crate) type ToldFiles = Option<(String, Monotonic)>;

/// What concerns all profiles.
pub(crate) struct Profiles {
    watch: ProfileWatch,
    /// Where their certificates are, once there was one.
    directory: Option<CertDir>,
    /// The number of the next machine.
    next: usize,
    /// What is wrong with their files, as told.
    problems: BTreeSet<String>,
    /// How many more requests may be created at a time.
    places: Arc<Semaphore>,
    /// Names of those whose actions are under way.
    acting: BTreeSet<String>,
}

/// The numbers of the node's own certificates are below this.
const FIRST_OF_PROFILES: usize = 16;

impl Profiles {
    pub(crate) fn new(config: &Config, now: Monotonic) -> Self {
        Self {
            watch: ProfileWatch::new(config.profiles.clone(), &config.node_name, now),
            directory: None,
            next: FIRST_OF_PROFILES,
            problems: BTreeSet::new(),
            places: Arc::new(Semaphore::new(REQUESTS_MAX)),
            acting: BTreeSet::new(),
        }
    }

    /// Has the files of all profiles read at the next turn.
    pub(crate) fn read_again(&mut self, now: Monotonic) {
        self.watch.read_again(now);
    }

    /// For an agent that is to leave when all is done.
    pub(crate) fn check_all_are_good(&self) -> Result<(), AgentError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let problems: Vec<&str> = self.problems.iter().map(String::as_str).collect();
        Err(AgentError::Profiles(problems.join("\n")))
    }

    /// Tells what is wrong, each thing once, and when nothing is any more.
    fn tell_problems(&mut self, problems: Vec<ProfileProblem>) {
        let problems: BTreeSet<String> = problems.iter().map(ToString::to_string).collect();
        for problem in problems.difference(&self.problems) {
            tracing::error!(
                error = problem,
                "a profile cannot be used as it is written; everything else goes on, with what ran of that file before, \
                 until it is repaired"
            );
        }
        if problems.is_empty() && !self.problems.is_empty() {
            tracing::info!("nothing is wrong with the profiles any more");
        }
        self.problems = problems;
    }
}

impl Node {
    /// Takes up what was changed in the files of profiles, if it is time to look. Says whether
    /// there are other machines now.
    pub(crate) fn follow_profiles(&mut self) -> bool {
        let now = self.now.monotonic;
        if !self.profiles.watch.wants_look(now) {
            return false;
        }
        let running: Vec<Kept> = self.keepers().map(|keeper| keeper.kept().clone()).collect();
        let Some(mut changes) = self.profiles.watch.look(now, &running) else {
            return false;
        };
        let are_others = !changes.ended.is_empty() || !changes.begun.is_empty();
        for (name, origin) in std::mem::take(&mut changes.moved) {
            if let Some(at) = self.of_profile(&name) {
                let keeper = &mut self.machine(at).keeper;
                keeper
                    .iter_mut()
                    .for_each(|keeper| keeper.set_origin(Arc::clone(&origin)));
            }
        }
        for name in &changes.ended {
            self.end_profile(name, &changes);
        }
        for kept in std::mem::take(&mut changes.begun) {
            if let Err(error) = self.begin_profile(kept) {
                changes.problems.push(error);
                self.profiles.watch.distrust();
            }
        }
        self.metrics.set_profile_problems(changes.problems.len());
        self.profiles.tell_problems(changes.problems);
        are_others
    }

    fn of_profile(&self, name: &str) -> Option<MachineIndex> {
        let is_its = |keeper: &Keeper| keeper.profile().name == name;
        let mut machines = self.machines.iter();
        let found = machines.find(|(_, machine)| machine.keeper.as_deref().is_some_and(is_its));
        found.map(|(at, _)| *at)
    }

    /// As if the agent had ended: a request that is under way is found again by its name, if there
    /// is a next machine for it.
    fn end_profile(&mut self, name: &str, changes: &Changes) {
        let Some(mut machine) = self
            .of_profile(name)
            .and_then(|at| self.machines.remove(&at))
        else {
            return;
        };
        machine.stop_waiting();
        self.metrics.forget_profile(machine.rotation.id());
        if changes.begun.iter().any(|kept| kept.profile.name == name) {
            tracing::info!(manager = name, "the profile was changed");
        } else {
            tracing::info!(
                manager = name,
                "the profile was taken away: its certificate is not renewed any more; its files stay"
            );
        }
    }

    fn begin_profile(&mut self, kept: Kept) -> Result<(), ProfileProblem> {
        let directory = match &self.profiles.directory {
            Some(directory) => directory,
            None => {
                let path = self.config.cert_dir.join(PROFILES_DIRECTORY);
                let opened = CertDir::open(&path).map_err(|error| {
                    let why = "there is no place for the certificates of profiles";
                    ProfileProblem::new(format!("{why}: {error}"))
                })?;
                self.profiles.directory.insert(opened)
            }
        };
        let machine = profile_machine(&self.config, kept, directory, self.now.monotonic);
        self.metrics.add_profile(machine.rotation.id());
        self.machines
            .insert(MachineIndex(self.profiles.next), machine);
        self.profiles.next += 1;
        Ok(())
    }

    /// A place among the requests of profiles, for a machine that has one; others need none.
    pub(crate) fn profile_place(
        &self,
        at: MachineIndex,
    ) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + use<> {
        let places = Arc::clone(&self.profiles.places);
        let machine = self.machines.get(&at);
        let needs_one = machine.is_some_and(|machine| machine.keeper.is_some());
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
        let Some(machine) = self.machines.get_mut(&at) else {
            return;
        };
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
        for (at, machine) in &mut self.machines {
            if self.actions.len() >= ACTIONS_MAX {
                return;
            }
            let Some(keeper) = &mut machine.keeper else {
                continue;
            };
            let name = &keeper.profile().name;
            // Begun before the profile was changed: one at a time.
            let is_acting = self.profiles.acting.contains(name);
            if is_acting || !keeper.wants_action(now) {
                continue;
            }
            let (at, name) = (*at, name.clone());
            if let Some(action) = keeper.begin_action() {
                self.profiles.acting.insert(name.clone());
                let acting = action.map(move |ended| (at, name, ended));
                self.actions.push(acting.boxed());
            }
        }
    }

    /// Takes in what became of an action.
    pub(crate) fn take_acted(&mut self, (at, name, ended): Acted) {
        let now = self.now.monotonic;
        self.profiles.acting.remove(&name);
        let Some(machine) = self.machines.get_mut(&at) else {
            return;
        };
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
        let profiles = self.machines.values().filter(|m| m.keeper.is_some());
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
            .values()
            .filter_map(|machine| machine.keeper.as_deref())
    }

    /// When an action is to be begun next. What waits for an action that runs is begun
    /// when that ends.
    pub(crate) fn profiles_wake(&self) -> Option<Monotonic> {
        let is_full = self.actions.len() >= ACTIONS_MAX;
        // One that waits for what its profile began before it was changed is woken by its end.
        let acting = &self.profiles.acting;
        let idle = self
            .keepers()
            .filter(|keeper| !acting.contains(&keeper.profile().name));
        let due = idle.filter_map(Keeper::wake).min();
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
