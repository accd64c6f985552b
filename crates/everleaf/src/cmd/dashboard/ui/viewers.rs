//! Whoever looks has watches of their own, with their own credential, and what is seen by them is
//! shown to nobody else. They end with the credential, or a while after nobody looks any more.

use super::super::site::Site;
use super::super::snapshot::Snapshot;
use super::super::{follow, roll_lines};
use super::Gate;
use crate::calls::Calls;
use crate::cmd::fleet::{Live, look_through, read_log};
use crate::failure;
use anyhow::{Result, bail};
use everleaf_apiserver::handler::Credential;
use everleaf_controllers::why::Known;
use everleaf_pki::Chain;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::time::{Instant, sleep};

/// Credentials with watches of their own at once.
const VIEWERS_MAX: usize = 32;
/// Of these those of one user: with one more, the one that is unused longest ends.
const VIEWERS_OF_ONE_MAX: usize = 8;
/// Streams of one credential: pages that follow.
const STREAMS_OF_ONE_MAX: usize = 16;
/// Largest fleet of which each viewer holds a copy of their own: bytes of its objects as they are
/// stored; in memory they take some five times as many.
const STORED_BYTES_MAX: usize = 64 << 20;
/// What a viewer holds that grows with the fleet.
const HELD: [&str; 3] = ["certificatesigningrequests", "nodes", "leases"];
/// How long they go on when nobody looks.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How often it is judged anew whether they may.
const JUDGED_EVERY: Duration = Duration::from_secs(2);

/// Snapshots, as they come.
type Snapshots = watch::Receiver<Arc<Snapshot>>;

/// By which credential a browser is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// SHA-256 of its client certificate.
    Certificate(Vec<u8>),
    /// Its session.
    Session(String),
}

/// Somebody who may look.
pub(super) struct Visitor {
    pub(super) key: Key,
    /// Name of the user.
    pub(super) user: String,
    pub(super) credential: Credential,
    pub(super) site: Arc<Site>,
}

/// Those who look now.
#[derive(Default)]
pub(super) struct Viewers(Mutex<HashMap<Key, Arc<Viewer>>>);

struct Viewer {
    user: String,
    streams: Arc<Semaphore>,
    snapshots: OnceCell<Snapshots>,
    used: Mutex<Instant>,
}

impl Viewer {
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle(&self) -> Duration {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.elapsed()
    }

    /// Its watches have ended.
    fn is_over(&self) -> bool {
        self.snapshots
            .get()
            .is_some_and(|snapshots| snapshots.has_changed().is_err())
    }
}

impl Viewers {
    /// What this visitor sees, and what counts the pages that follow it; `None`: too many look.
    ///
    /// # Errors
    /// The fleet cannot be read.
    pub(super) async fn see(
        &self,
        gate: &Arc<Gate>,
        visitor: &Visitor,
    ) -> Result<Option<(Snapshots, Arc<Semaphore>)>> {
        let Some(viewer) = self.viewer(&visitor.key, &visitor.user) else {
            return Ok(None);
        };
        viewer.touch();
        let begin = || begin(Arc::clone(gate), visitor, Arc::clone(&viewer));
        let snapshots = viewer.snapshots.get_or_try_init(begin).await;
        if snapshots.is_err() {
            self.end(&visitor.key);
        }
        Ok(Some((snapshots?.clone(), Arc::clone(&viewer.streams))))
    }

    fn viewer(&self, key: &Key, user: &str) -> Option<Arc<Viewer>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, viewer| !viewer.is_over());
        if let Some(viewer) = all.get(key) {
            return Some(Arc::clone(viewer));
        }
        let of_one = all.iter().filter(|(_, viewer)| viewer.user == user);
        if of_one.clone().count() >= VIEWERS_OF_ONE_MAX {
            let unused = of_one.max_by_key(|(_, viewer)| viewer.idle());
            let unused = unused.map(|(key, _)| key.clone());
            unused.map(|key| all.remove(&key));
        }
        if all.len() >= VIEWERS_MAX {
            return None;
        }
        let viewer = Arc::new(Viewer {
            user: user.to_owned(),
            streams: Arc::new(Semaphore::new(STREAMS_OF_ONE_MAX)),
            snapshots: OnceCell::new(),
            used: Mutex::new(Instant::now()),
        });
        all.insert(key.clone(), Arc::clone(&viewer));
        Some(viewer)
    }

    /// Ends the watches of a credential, and the streams of its pages.
    pub(super) fn end(&self, key: &Key) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(key);
    }

    fn is_of(&self, key: &Key, viewer: &Arc<Viewer>) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).is_some_and(|one| Arc::ptr_eq(one, viewer))
    }
}

/// Looks, and follows from then on.
async fn begin(gate: Arc<Gate>, visitor: &Visitor, viewer: Arc<Viewer>) -> Result<Snapshots> {
    if let Some(why) = too_large(stored_bytes(&gate)) {
        bail!(why);
    }
    let client = gate.client(&visitor.credential);
    let calls = Calls::new(client.clone());
    let mut seen = look_through(client, gate.host()).await?;
    seen.server = gate.url.clone();
    let chain = Chain::from_pem(gate.server.authenticator().client_ca_pem().as_bytes());
    seen.facts.authorities =
        chain.map_or_else(|_| Vec::new(), |chain| chain.certificates().to_vec());
    // It holds what requests have held that are forgotten now, so it is for who may read these.
    let directory = gate.issuance_log.clone();
    let read = tokio::task::spawn_blocking(move || read_log(&directory)).await?;
    seen.facts.log = match read {
        Ok(book) => Known::Read(book),
        Err(error) => Known::Hidden(failure::chain(&error)),
    };
    let live = Live::follow(seen);
    let roll = roll_lines(&calls).await;
    let first = Snapshot::of(&live, (&visitor.site, &visitor.user), &roll);
    let (sender, snapshots) = watch::channel(Arc::new(first));
    let (key, credential) = (visitor.key.clone(), visitor.credential.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = follow(live, calls, &sender) => {}
            () = until_judged_otherwise(&gate, &key, &credential) => {}
            () = until_left(&gate, &key, &viewer, &sender) => {}
            () = gate.stopped() => {}
        }
    });
    Ok(snapshots)
}

/// Bytes of the fleet's objects.
fn stored_bytes(gate: &Gate) -> usize {
    let objects = gate.server.objects();
    let all = HELD
        .iter()
        .flat_map(|resource| objects.list(resource, None));
    all.map(|stored| stored.bytes.len()).sum()
}

/// Why nobody gets a copy of a fleet of so many bytes.
fn too_large(bytes: usize) -> Option<String> {
    (bytes > STORED_BYTES_MAX).then(|| {
        format!(
            "its requests, Nodes and Leases take {} MiB as they are stored, and each who looks would hold a copy of more than the {} MiB that are allowed here; \
             `everleaf dashboard` on a machine of your own shows it",
            bytes >> 20,
            STORED_BYTES_MAX >> 20
        )
    })
}

/// Returns when the credential is not believed any more, or gives other rights to look: what was
/// seen by those is not shown any longer; or when the fleet has grown too large.
async fn until_judged_otherwise(gate: &Gate, key: &Key, credential: &Credential) {
    let sight = gate.sight(credential).await;
    loop {
        sleep(JUDGED_EVERY).await;
        if !gate.is_known(key)
            || too_large(stored_bytes(gate)).is_some()
            || gate.judge(credential).await.is_err()
            || gate.sight(credential).await != sight
        {
            return;
        }
    }
}

/// Returns when nobody looks any more.
async fn until_left(
    gate: &Gate,
    key: &Key,
    viewer: &Arc<Viewer>,
    sender: &watch::Sender<Arc<Snapshot>>,
) {
    loop {
        sleep(JUDGED_EVERY).await;
        // One is kept for the next page; each further one is a stream.
        if sender.receiver_count() > 1 {
            viewer.touch();
        }
        if !gate.viewers.is_of(key, viewer) || viewer.idle() >= IDLE_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_look_as_may_and_who_looks_already_goes_on() {
        let viewers = Viewers::default();
        let key = |number: usize| Key::Session(number.to_string());
        for number in 0..VIEWERS_MAX {
            assert!(
                viewers
                    .viewer(&key(number), &format!("u{number}"))
                    .is_some(),
                "{number}"
            );
        }
        assert!(viewers.viewer(&key(VIEWERS_MAX), "v").is_none());
        let first = viewers.viewer(&key(0), "u0").unwrap();
        assert!(viewers.is_of(&key(0), &first));
        viewers.end(&key(0));
        assert!(!viewers.is_of(&key(0), &first));
        assert!(viewers.viewer(&key(VIEWERS_MAX), "v").is_some());
    }

    #[test]
    fn a_fleet_beyond_the_bound_is_copied_for_nobody() {
        assert_eq!(too_large(STORED_BYTES_MAX), None);
        let why = too_large(STORED_BYTES_MAX + (1 << 20)).unwrap();
        assert!(
            why.contains("65 MiB") && why.contains("the 64 MiB"),
            "{why}"
        );
    }

    #[test]
    fn one_user_takes_no_more_than_his_share() {
        let viewers = Viewers::default();
        let key = |number: usize| Key::Certificate(number.to_be_bytes().to_vec());
        let first = viewers.viewer(&key(0), "ann").unwrap();
        for number in 1..=VIEWERS_OF_ONE_MAX {
            assert!(viewers.viewer(&key(number), "ann").is_some(), "{number}");
        }
        assert!(!viewers.is_of(&key(0), &first), "the oldest has ended");
        for number in 0..VIEWERS_MAX - VIEWERS_OF_ONE_MAX {
            let key = Key::Session(number.to_string());
            assert!(
                viewers.viewer(&key, &number.to_string()).is_some(),
                "{number}"
            );
        }
    }

    #[test]
    fn whose_watches_have_ended_makes_room() {
        let viewers = Viewers::default();
        let key = Key::Certificate(vec![1]);
        let viewer = viewers.viewer(&key, "u").unwrap();
        let (sender, snapshots) = watch::channel(Arc::new(snapshot()));
        assert!(viewer.snapshots.set(snapshots).is_ok());
        assert!(viewers.is_of(&key, &viewers.viewer(&key, "u").unwrap()));
        drop(sender);
        assert!(!Arc::ptr_eq(&viewer, &viewers.viewer(&key, "u").unwrap()));
    }

    fn snapshot() -> Snapshot {
        super::super::super::page::tests::empty()
    }
}
