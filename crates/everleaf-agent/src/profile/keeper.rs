//! One profile at work: its files and its action, as [`upkeep`](super::upkeep) decides.

use super::files::{Plan, Sight, refuse_own};
use super::upkeep::{Seen, Told, Upkeep};
use super::{Kept, Profile, action};
use crate::kubeconfig::Cluster;
use everleaf_pki::Credential;
use everleaf_rotation::Monotonic;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a look has shown, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Nothing to do.
    Good,
    /// The files were written.
    Written,
    /// They could not be, for this reason.
    Failed(String),
}

/// A profile and the state of its files.
pub(crate) struct Keeper {
    kept: Kept,
    /// Is there while the action is owed.
    mark: PathBuf,
    sight: Option<Sight>,
    upkeep: Upkeep,
    /// What went wrong last with the files, and with the action.
    failed_files: Option<String>,
    failed_action: Option<String>,
}

impl Keeper {
    /// `directory`: where the profile's certificate is kept, too.
    pub(crate) fn new(kept: Kept, directory: &Path, now: Monotonic) -> Self {
        let profile = &kept.profile;
        let mark = directory.join(format!("{}-action-owed", profile.name));
        let is_owed = mark.exists();
        if is_owed && profile.after.is_none() {
            // It had one once; nothing is owed to a mark that nobody can remove.
            let _ = fs::remove_file(&mark);
        }
        Self {
            upkeep: Upkeep::new(profile.after.is_some(), is_owed, now),
            mark,
            sight: None,
            failed_files: None,
            failed_action: None,
            kept,
        }
    }

    /// The profile.
    pub(crate) fn profile(&self) -> &Profile {
        &self.kept.profile
    }

    /// The same, with the file that it is from.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The same profile stands in another file now.
    pub(crate) fn set_origin(&mut self, origin: Arc<Path>) {
        self.kept.origin = origin;
    }

    /// There is another certificate, or it was read again.
    pub(crate) fn certificate_changed(&mut self, now: Monotonic) {
        self.upkeep.certificate_changed(now);
    }

    /// Looks at the files, if it is time, and writes what is not as it should be.
    pub(crate) fn look(
        &mut self,
        now: Monotonic,
        credential: &Arc<Credential>,
        cluster: &Arc<Cluster>,
    ) -> Looked {
        if !self.upkeep.wants_look(now) {
            return Looked::Good;
        }
        let sight = self.sight.as_ref();
        if sight.is_some_and(|sight| sight.is_unchanged(&self.kept.profile, credential, cluster)) {
            self.upkeep.looked(now, Seen::Good);
            return Looked::Good;
        }
        // Taken before: what is changed from here on is seen at the next look.
        let sight = Sight::of(&self.kept.profile, credential, cluster);
        let (seen, looked) = match self.put_right(credential, cluster) {
            Ok(false) => (Seen::Good, Looked::Good),
            Ok(true) => (Seen::Written, Looked::Written),
            Err(error) => (Seen::Bad, Looked::Failed(error)),
        };
        self.sight = (seen == Seen::Good).then_some(sight);
        self.failed_files = match &looked {
            Looked::Failed(error) => Some(error.clone()),
            Looked::Good | Looked::Written => None,
        };
        self.upkeep.looked(now, seen);
        looked
    }

    /// Whether anything had to be written.
    fn put_right(&self, credential: &Credential, cluster: &Cluster) -> Result<bool, String> {
        if let Some(cert_dir) = self.mark.parent().and_then(Path::parent) {
            refuse_own(&self.kept.profile, cert_dir)?;
        }
        let plan = Plan::make(&self.kept.profile, credential, cluster)?;
        if plan.is_empty() {
            return Ok(false);
        }
        if self.kept.profile.after.is_some() {
            // Before the first file: what is interrupted from here on is told at the next start.
            set_mark(&self.mark)
                .map_err(|error| format!("{} cannot be written: {error}", self.mark.display()))?;
        }
        plan.carry_out()?;
        Ok(true)
    }

    /// Whether the action is to be begun.
    pub(crate) fn wants_action(&self, now: Monotonic) -> bool {
        self.upkeep.wants_action(now)
    }

    /// Begins the action.
    pub(crate) fn begin_action(
        &mut self,
    ) -> Option<impl Future<Output = Result<(), String>> + Send + use<>> {
        let action = self.kept.profile.after.clone()?;
        self.upkeep.began();
        Some(action::carry_out(action, self.kept.profile.name.clone()))
    }

    /// The action has ended.
    pub(crate) fn action_ended(&mut self, now: Monotonic, ended: &Result<(), String>) -> Told {
        let told = self.upkeep.ended(now, ended.is_ok());
        self.failed_action = ended.as_ref().err().cloned();
        if !self.upkeep.is_owed()
            && let Err(error) = clear_mark(&self.mark)
        {
            // Then it is done once more at the next start.
            tracing::debug!(profile = self.kept.profile.name, %error, "the mark was not removed");
        }
        told
    }

    /// Whether the program has yet to learn of its files.
    pub(crate) fn owes_action(&self) -> bool {
        self.upkeep.is_owed()
    }

    /// Whether nothing is left to do but to look now and then.
    pub(crate) fn is_settled(&self) -> bool {
        self.upkeep.is_settled()
    }

    /// What fails, for an agent that is to leave when all is done.
    pub(crate) fn failure(&self) -> Option<&str> {
        let failed = self.failed_files.as_deref();
        failed.or(self.failed_action.as_deref())
    }

    /// When the action is to be begun.
    pub(crate) fn wake(&self) -> Option<Monotonic> {
        self.upkeep.wake()
    }
}

fn set_mark(mark: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(mark)?;
    file.sync_all()?;
    sync_parent(mark)
}

fn clear_mark(mark: &Path) -> io::Result<()> {
    match fs::remove_file(mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_parent(mark)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
