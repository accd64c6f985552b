//! The controllers of [`crate::upkeep`]: who follows what they look at, and does their work.

use super::{Keeper, Shell};
use crate::follower::{Delta, Follower, Resource};
use crate::notice::Notice;
use crate::upkeep::{self, Kept, Moment, RootCa, Watched};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::watch;

impl Shell {
    /// The controllers of [`crate::upkeep`] that run, by index and title.
    pub(crate) fn upkeep_titles(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let titles = self
            .keepers
            .iter()
            .map(|keeper| keeper.lock().rules().title());
        titles.enumerate()
    }

    /// What they look at.
    pub(crate) fn watched(&self) -> BTreeSet<Watched> {
        let all = self
            .keepers
            .iter()
            .flat_map(|keeper| keeper.lock().rules().watches());
        all.copied().collect()
    }

    /// Follows what some of them look at, for ever.
    pub(crate) async fn follow_watched(&self, watched: Watched) -> Infallible {
        let follower = Follower::new(Resource::watched(watched));
        let take = |delta: Delta| {
            for keeper in &self.keepers {
                let mut machine = keeper.lock();
                if machine.rules().watches().contains(&watched) {
                    machine.take(watched, delta.clone(), self.api.monotonic());
                    keeper.1.notify_one();
                }
            }
        };
        self.drive(follower, watched.component(), || {}, take).await
    }

    /// Does the work of one of them until told to stop; finishes the key in hand first.
    pub(crate) async fn keep(self: Arc<Self>, index: usize, mut stop: watch::Receiver<bool>) {
        let Some(keeper) = self.keepers.get(index) else {
            return;
        };
        loop {
            let changed = keeper.1.notified();
            let step = self.step(index).await;
            let until = match step {
                upkeep::Step::Call(call) => {
                    let answer = self.api.call(&call).await;
                    keeper.lock().answer(&answer, self.moment());
                    None
                }
                upkeep::Step::Log(entry) => {
                    let logged = self.log(&entry).await;
                    keeper.lock().logged(logged, self.moment());
                    None
                }
                upkeep::Step::Tell(notice) => {
                    self.telemetry.tell(&notice);
                    None
                }
                upkeep::Step::Wait(until) => Some(until),
            };
            let waiting = async {
                match until {
                    None => {}
                    Some(None) => changed.await,
                    Some(Some(at)) => {
                        let _ = tokio::time::timeout_at(self.api.instant(at), changed).await;
                    }
                }
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = waiting => {}
            }
        }
    }

    /// The next step of one of them, apart from all else where it may wait for a token's signature.
    async fn step(self: &Arc<Self>, index: usize) -> upkeep::Step {
        let step = move |shell: &Self| match shell.keepers.get(index) {
            Some(keeper) => keeper.lock().step(shell.moment()),
            None => upkeep::Step::Wait(None),
        };
        let may_block = |keeper: &Keeper| keeper.lock().rules().may_block();
        if !self.keepers.get(index).is_some_and(may_block) {
            return step(self);
        }
        let shell = Arc::clone(self);
        let stepping = tokio::task::spawn_blocking(move || step(&shell));
        stepping.await.unwrap_or(upkeep::Step::Wait(None))
    }

    /// What is to be told of the CAs whose files are looked at again. Blocks on the disk.
    pub(crate) fn look_at_issuers(&self, now: Timestamp) -> Vec<Notice> {
        let mut notices = self.core.issuers().reload(now);
        notices.extend(self.core.issuers().check(now));
        if let Some(pods) = &self.pods {
            notices.extend(pods.reload(now));
            notices.extend(pods.check(now));
        }
        notices
    }

    /// Looks at the files of published CAs again. Blocks on the disk.
    pub(crate) fn look_at_published_cas(&self) -> Vec<Notice> {
        let looks = self.published.iter().filter_map(RootCa::look);
        let kept: Vec<Kept> = looks.collect();
        if kept
            .iter()
            .any(|one| matches!(one, Kept::RootCaLoaded { .. }))
        {
            self.keep_again();
        }
        kept.into_iter().map(Notice::Kept).collect()
    }

    /// Has them judge everything anew.
    pub(super) fn keep_again(&self) {
        for keeper in &self.keepers {
            keeper.lock().look_again(self.api.monotonic());
            keeper.1.notify_one();
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now(),
            offset: self.api.clock_offset(),
        }
    }
}
