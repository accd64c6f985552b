//! Clients that write, compare and swap, delete, read and list, at any server, and keep a record of
//! what they asked and were answered.

use crate::client::{Access, Connection};
use crate::history::{Answer, Operation, Present, Request};
use crate::random::Random;
use anyhow::{Context, Result, bail};
use everleaf_stage::runner::now;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where the objects are.
pub(crate) const OBJECTS: &str = "/api/v1/namespaces/default/configmaps";
/// Objects of each round, which has its own: what the search for an order costs grows with the
/// square of the operations on one.
pub(crate) const OBJECTS_PER_ROUND: u32 = 8;
/// What their names begin with.
const PREFIX: &str = "faults-";
/// Operations of a client in a round.
const OPERATIONS_MAX: u32 = 120;
/// Between two operations of a client.
const PAUSE: Duration = Duration::from_millis(25);

/// What the clients share.
pub(crate) struct Load {
    pub(crate) access: Access,
    /// Of all servers.
    pub(crate) ports: Vec<u16>,
    /// When the run began.
    pub(crate) began: Instant,
    /// Which round it is; 0: none.
    pub(crate) round: AtomicU32,
    pub(crate) is_over: AtomicBool,
    pub(crate) values: AtomicU64,
    pub(crate) operations: Mutex<Vec<Operation>>,
    /// Answers that no fault explains.
    pub(crate) odd: Mutex<Vec<String>>,
}

impl Load {
    pub(crate) fn new(access: Access, ports: Vec<u16>) -> Self {
        Self {
            access,
            ports,
            began: now(),
            round: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
            values: AtomicU64::new(0),
            operations: Mutex::default(),
            odd: Mutex::default(),
        }
    }

    /// Nanoseconds since the run began.
    fn time(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn record(&self, operation: Operation) {
        locked(&self.operations).push(operation);
    }

    /// One client, until the run is over.
    pub(crate) async fn client(&self, seed: u64) {
        let mut random = Random::new(seed);
        let mut connection = None;
        let mut known: BTreeMap<u32, Option<Present>> = BTreeMap::new();
        let (mut round, mut operations) = (0, 0);
        while !self.is_over.load(Ordering::Relaxed) {
            tokio::time::sleep(PAUSE).await;
            let present = self.round.load(Ordering::Relaxed);
            if present != round {
                (round, operations) = (present, 0);
                known.clear();
            }
            if round == 0 || operations >= OPERATIONS_MAX {
                continue;
            }
            operations += 1;
            // Elsewhere now and then, and after every fault.
            if random.below(8) == 0 {
                connection = None;
            }
            let mut open = match connection.take() {
                Some(open) => open,
                None => {
                    let port = self.ports[random.below(self.ports.len())];
                    match self.access.connect(port).await {
                        Ok(open) => open,
                        Err(_) => continue,
                    }
                }
            };
            if !open.is_usable().await {
                continue;
            }
            let is_alive = if random.below(20) == 0 {
                self.list(&mut open, round).await.is_ok()
            } else {
                self.one(&mut open, &mut random, round, &mut known).await
            };
            connection = is_alive.then_some(open);
        }
    }

    /// One operation on one object; whether the connection lives.
    async fn one(
        &self,
        connection: &mut Connection,
        random: &mut Random,
        round: u32,
        known: &mut BTreeMap<u32, Option<Present>>,
    ) -> bool {
        let number = u32::try_from(random.below(OBJECTS_PER_ROUND as usize)).unwrap_or(0);
        let key = round * OBJECTS_PER_ROUND + number;
        let before = known.get(&key).copied().flatten();
        let request = match (random.below(100), before) {
            (0..35, _) => Request::Read,
            (35..75, Some(_)) => Request::Replace(before, self.value()),
            (75..82, Some(_)) => Request::Replace(None, self.value()),
            (82..87, _) => Request::Delete(before),
            (87..90, _) => Request::Delete(None),
            _ => Request::Create(self.value()),
        };
        let answer = self.perform(connection, key, request).await;
        match (request, answer) {
            (Request::Create(value) | Request::Replace(_, value), Answer::Wrote(revision)) => {
                known.insert(key, Some(Present { revision, value }));
            }
            (_, Answer::Seen(seen)) => drop(known.insert(key, seen)),
            (_, Answer::Deleted | Answer::Absent) => drop(known.insert(key, None)),
            _ => {}
        }
        answer != Answer::Unknown
    }

    /// Asks, and writes down what was answered.
    pub(crate) async fn perform(
        &self,
        connection: &mut Connection,
        key: u32,
        request: Request,
    ) -> Answer {
        let path = format!("{OBJECTS}/{}", name(key));
        let (method, path, body) = match request {
            Request::Create(value) => ("POST", OBJECTS, Some(object(key, value, None))),
            Request::Replace(before, value) => ("PUT", &*path, Some(object(key, value, before))),
            Request::Delete(before) => ("DELETE", &*path, before.map(condition)),
            Request::Read => ("GET", &*path, None),
        };
        let called = self.time();
        let told = connection.ask(method, path, body.as_ref()).await;
        let answered = self.time();
        let answer = told
            .ok()
            .and_then(|(code, told)| self.understood(request, code, &told))
            .unwrap_or(Answer::Unknown);
        self.record(Operation {
            key,
            called,
            answered,
            request,
            answer,
        });
        answer
    }

    /// What an answer means; none: it says nothing of what was done.
    fn understood(&self, request: Request, code: u16, told: &Value) -> Option<Answer> {
        match (code, request) {
            (200 | 201, Request::Create(_) | Request::Replace(..)) => {
                Some(Answer::Wrote(revision(told)?))
            }
            (200, Request::Delete(_)) => Some(Answer::Deleted),
            (200, Request::Read) => Some(Answer::Seen(Some(present(told)?))),
            (404, Request::Read) => Some(Answer::Seen(None)),
            (404, _) => Some(Answer::Absent),
            (409, Request::Create(_)) => Some(Answer::Exists),
            (409, _) => Some(Answer::Conflict),
            (429 | 500 | 503 | 504, _) => None,
            _ => {
                locked(&self.odd).push(format!("{request:?}: {code} {told}"));
                None
            }
        }
    }

    /// A list is a read of every object of the round.
    async fn list(&self, connection: &mut Connection, round: u32) -> Result<()> {
        let called = self.time();
        let (code, told) = connection.ask("GET", OBJECTS, None).await?;
        let answered = self.time();
        if code != 200 {
            bail!("{code}: {}", told["message"]);
        }
        let listed: BTreeMap<u32, Present> = told["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|object| Some((key_of(object)?, present(object)?)))
            .collect();
        for key in keys(round) {
            self.record(Operation {
                key,
                called,
                answered,
                request: Request::Read,
                answer: Answer::Seen(listed.get(&key).copied()),
            });
        }
        Ok(())
    }

    /// Reads every object of these rounds at a server, as a list shows them.
    pub(crate) async fn read_all(
        &self,
        port: u16,
        rounds: std::ops::RangeInclusive<u32>,
    ) -> Result<()> {
        let mut connection = self.access.connect(port).await?;
        for round in rounds {
            let listed = self.list(&mut connection, round).await;
            listed.with_context(|| format!("the server at port {port} does not list"))?;
        }
        Ok(())
    }
}

/// The objects of a round.
pub(crate) fn keys(round: u32) -> std::ops::Range<u32> {
    round * OBJECTS_PER_ROUND..(round + 1) * OBJECTS_PER_ROUND
}

fn name(key: u32) -> String {
    format!("{PREFIX}{key}")
}

/// Which object it is; none: not one of ours.
pub(crate) fn key_of(object: &Value) -> Option<u32> {
    let name = object["metadata"]["name"].as_str()?;
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// An object's, or a list's.
pub(crate) fn revision(object: &Value) -> Option<u64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

pub(crate) fn present(object: &Value) -> Option<Present> {
    Some(Present {
        revision: revision(object)?,
        value: object["data"]["value"].as_str()?.parse().ok()?,
    })
}

fn object(key: u32, value: u64, before: Option<Present>) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name(key)}, "data": {"value": value.to_string()},
    });
    if let Some(before) = before {
        object["metadata"]["resourceVersion"] = before.revision.to_string().into();
    }
    object
}

fn condition(before: Present) -> Value {
    json!({
        "apiVersion": "v1", "kind": "DeleteOptions",
        "preconditions": {"resourceVersion": before.revision.to_string()},
    })
}

pub(crate) fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
