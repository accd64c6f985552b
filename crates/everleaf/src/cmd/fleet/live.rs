//! The fleet, live: what is watched is followed ([`everleaf_controllers::follower`]), and what was
//! read is replaced by it.

use super::Seen;
use bytes::Bytes;
use everleaf_agent::{Clock, SystemClock};
use everleaf_api::meta;
use everleaf_api::revocation::Revocations;
use everleaf_controllers::call::{Answer as Answered, Call, CallError, Expect, read_answer};
use everleaf_controllers::follower::{Delta, Follower, Resource, Step};
use everleaf_controllers::serving::Source;
use everleaf_controllers::transport_text;
use everleaf_controllers::upkeep::Watched;
use everleaf_controllers::why::Known;
use everleaf_fleet::{Fleet, to_explain};
use everleaf_time::Monotonic;
use http::Request;
use http::header::ACCEPT;
use http_body_util::{BodyExt as _, Limited};
use jiff::SignedDuration;
use kube::client::Body;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// What comes within this time is drawn together.
const SETTLE: Duration = Duration::from_millis(500);
/// The clock alone changes what is shown: who is due, who has lapsed.
const TICK: Duration = Duration::from_secs(30);
/// What requests are explained by besides what is watched is read no more often.
const AROUND: Duration = Duration::from_secs(10);
/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Objects of a change on their way.
const UNDER_WAY_MAX: usize = 1024;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Leases,
    Nodes,
    Requests,
    Revocations,
}

impl Piece {
    const ALL: [Self; 4] = [Self::Leases, Self::Nodes, Self::Requests, Self::Revocations];

    const fn resource(self) -> Resource {
        match self {
            Self::Leases => Resource {
                api: "/apis/coordination.k8s.io/v1",
                namespace: "kube-system",
                plural: "leases",
                selector: "",
                rights: "it needs list and watch on leases in kube-system",
                since: "1.14",
                is_optional: true,
                otherwise: "",
            },
            Self::Nodes => Resource {
                rights: "it needs list and watch on nodes",
                ..Resource::of(Source::Nodes)
            },
            Self::Requests => Resource {
                rights: "it needs list and watch on certificatesigningrequests",
                ..Resource::SIGNING_REQUESTS
            },
            Self::Revocations => Resource::watched(Watched::Revocations),
        }
    }
}

/// What a follower tells.
enum News {
    Change(Delta),
    Missing(Option<String>),
}

/// Objects of one piece.
#[derive(Default)]
struct Objects {
    now: BTreeMap<String, Value>,
    /// What a list under way has brought.
    listing: Option<BTreeMap<String, Value>>,
    /// A list was complete once.
    is_whole: bool,
    missing: Option<String>,
}

impl Objects {
    /// Takes news in; whether what there is has changed.
    fn take(&mut self, news: News) -> bool {
        match news {
            News::Missing(why) => {
                let is_news = self.missing != why;
                self.missing = why;
                return is_news;
            }
            News::Change(Delta::ListBegins) => self.listing = Some(BTreeMap::new()),
            News::Change(Delta::ListEnds) => {
                let listed = self.listing.take().unwrap_or_default();
                let is_first = !std::mem::replace(&mut self.is_whole, true);
                let is_news = is_first || listed != self.now;
                self.now = listed;
                return is_news;
            }
            News::Change(Delta::Put(object)) => {
                let key = meta::key(&object);
                match &mut self.listing {
                    Some(listing) => drop(listing.insert(key, object)),
                    None => {
                        self.now.insert(key, object);
                        return true;
                    }
                }
            }
            News::Change(Delta::Deleted(key)) => return self.now.remove(&key).is_some(),
            News::Change(Delta::Served(_)) => {}
        }
        false
    }

    fn known(&self) -> Option<Known<Vec<Value>>> {
        match (&self.missing, self.is_whole) {
            // What was seen before still stands; that it may be old is said.
            (Some(why), false) => Some(Known::Hidden(why.clone())),
            (None, false) => None,
            (_, true) => Some(Known::Read(self.now.values().cloned().collect())),
        }
    }
}

/// Names of the requests whose holds are looked for.
fn explained(seen: &Seen) -> BTreeSet<String> {
    let requests = to_explain(&seen.facts.evidence).into_iter();
    requests
        .map(|object| meta::name(object).to_owned())
        .collect()
}

/// A fleet that follows what the API server tells of it.
pub(in crate::cmd) struct Live {
    seen: Seen,
    pieces: BTreeMap<Piece, Objects>,
    news: mpsc::Receiver<(Piece, News)>,
    /// The API server's clock minus this machine's.
    offset: SignedDuration,
    explained: BTreeSet<String>,
    /// When it was read last what requests are explained by.
    around: Instant,
    /// There is news that was not taken into account yet.
    has_news: bool,
    /// Whoever follows; they end with this.
    _followers: JoinSet<()>,
}

impl Live {
    /// Follows it from now on, until this is dropped. Call inside a runtime.
    pub(in crate::cmd) fn follow(seen: Seen) -> Self {
        let (sender, news) = mpsc::channel(UNDER_WAY_MAX);
        let mut followers = JoinSet::new();
        for piece in Piece::ALL {
            let (client, sender) = (seen.client.clone(), sender.clone());
            followers.spawn(follow(client, piece, sender));
        }
        let evidence = &seen.facts.evidence;
        Self {
            pieces: Piece::ALL.map(|piece| (piece, Objects::default())).into(),
            offset: evidence.now.duration_since(evidence.local),
            explained: explained(&seen),
            around: Instant::now(),
            has_news: false,
            _followers: followers,
            news,
            seen,
        }
    }

    /// What is known now.
    pub(in crate::cmd) const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The fleet by what is known now; that news of it are missing is said.
    pub(in crate::cmd) fn fleet(&self) -> Fleet {
        let mut fleet = Fleet::of(&self.seen.facts);
        let interrupted = self.pieces.values().filter(|objects| objects.is_whole);
        let interrupted = interrupted.filter_map(|objects| objects.missing.clone());
        fleet
            .unseen
            .extend(interrupted.map(|why| format!("changes: {why}")));
        fleet
    }

    /// Returns when something has changed, or so much time has passed that it may look otherwise.
    /// What has come stays when this is dropped before.
    pub(in crate::cmd) async fn change(&mut self) {
        if self.has_news || self.wait(Instant::now() + TICK).await {
            // What comes right after it is taken in with it.
            let settled = Instant::now() + SETTLE;
            while Instant::now() < settled {
                self.wait(settled).await;
            }
        }
        self.update().await;
        self.has_news = false;
    }

    /// Takes in what comes until then; ends with the first news.
    async fn wait(&mut self, until: Instant) -> bool {
        loop {
            match timeout_at(until, self.news.recv()).await {
                Ok(Some((piece, news))) => {
                    if self.pieces.entry(piece).or_default().take(news) {
                        self.has_news = true;
                        return true;
                    }
                }
                // Nobody follows any more: time alone goes on.
                Ok(None) => sleep_until(until).await,
                Err(_) => return false,
            }
        }
    }

    async fn update(&mut self) {
        self.apply();
        let wanted = explained(&self.seen);
        let is_time = self.around.elapsed() >= AROUND;
        if !wanted.is_empty() && wanted != self.explained && is_time {
            let Seen { api, facts, .. } = &mut self.seen;
            // A server that is away is told of by the followers.
            if api.about_fleet(&mut facts.evidence).await.is_ok() {
                let evidence = &facts.evidence;
                self.offset = evidence.now.duration_since(evidence.local);
                self.explained = wanted;
            }
            self.around = Instant::now();
            self.apply();
        }
    }

    /// Puts what is watched in the place of what was read.
    fn apply(&mut self) {
        let evidence = &mut self.seen.facts.evidence;
        evidence.local = SystemClock::new().wall();
        evidence.now = evidence
            .local
            .saturating_add(self.offset)
            .unwrap_or(evidence.local);
        for (piece, objects) in &self.pieces {
            let Some(known) = objects.known() else {
                continue;
            };
            match piece {
                Piece::Leases => evidence.leases = known,
                Piece::Nodes => evidence.nodes = known,
                Piece::Requests => evidence.requests = known,
                Piece::Revocations => {
                    let map = known.map(|maps| maps.into_iter().next().unwrap_or_default());
                    evidence.revocations = map.map(|map| Revocations::of_config_map(&map));
                }
            }
        }
    }
}

/// Follows one piece until nobody wants to know any more.
async fn follow(client: kube::Client, piece: Piece, news: mpsc::Sender<(Piece, News)>) {
    let begun = Instant::now();
    let now = || Monotonic::from_origin(begun.elapsed());
    let mut follower = Follower::new(piece.resource());
    let mut stream = Body::empty();
    loop {
        let told = match follower.step() {
            Step::Call(call) => {
                let answer = match call.expect {
                    Expect::Stream => open(&client, &call).await.map(|body| {
                        stream = body;
                        Bytes::new()
                    }),
                    Expect::Whole(bytes_max) => whole(&client, &call, bytes_max).await,
                };
                follower.answer(&answer, now());
                continue;
            }
            Step::Read(silence_max) => {
                let bytes = timeout(silence_max, next(&mut stream)).await;
                follower.read(bytes.ok().flatten().as_ref(), now());
                continue;
            }
            Step::Wait(pause) => {
                sleep(pause).await;
                continue;
            }
            Step::Missing(why) => News::Missing(why),
            Step::Take(delta) => News::Change(delta),
            Step::Synced | Step::Tell(_) => continue,
        };
        if news.send((piece, told)).await.is_err() {
            return;
        }
    }
}

async fn open(client: &kube::Client, call: &Call) -> Result<Body, CallError> {
    let request = Request::builder()
        .method(call.method.clone())
        .uri(&call.path)
        .header(ACCEPT, "application/json")
        .body(Body::empty())
        .map_err(|error| CallError::Malformed(error.to_string()))?;
    let sent = timeout(ANSWER_MAX, client.send(request)).await;
    let away = |why: String| CallError::Unreachable(why);
    let sent = sent.map_err(|_| away(format!("no answer within {} s", ANSWER_MAX.as_secs())))?;
    let response = sent.map_err(|error| away(transport_text(&error)))?;
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        return Ok(body);
    }
    let refused = limited(body, 1 << 20).await?;
    match read_answer(head.status, &head.headers, refused) {
        Ok(_) => Ok(Body::empty()),
        Err(error) => Err(error),
    }
}

async fn whole(client: &kube::Client, call: &Call, bytes_max: usize) -> Answered {
    let body = open(client, call).await?;
    let read = timeout(ANSWER_MAX, limited(body, bytes_max)).await;
    read.unwrap_or_else(|_| Err(CallError::Unreachable("the answer does not end".to_owned())))
}

async fn limited(body: Body, bytes_max: usize) -> Answered {
    let read = Limited::new(body, bytes_max).collect().await;
    read.map(|whole| whole.to_bytes()).map_err(|error| {
        match error.is::<http_body_util::LengthLimitError>() {
            true => CallError::TooLarge(bytes_max),
            false => CallError::Unreachable(error.to_string()),
        }
    })
}

/// The next bytes of a stream; `None`: it ended or broke.
async fn next(stream: &mut Body) -> Option<Bytes> {
    loop {
        if let Ok(bytes) = stream.frame().await?.ok()?.into_data() {
            return Some(bytes);
        }
    }
}
