//! One pass of the cleaner over all requests, at a bounded rate. A machine without I/O.

use super::{Action, Ages, decide};
use crate::bucket::{Rate, TokenBucket};
use crate::call::{Answer, CSRS, Call, segment};
use crate::index::Entry;
use crate::notice::Notice;
use crate::record::{Certificate, Record};
use everleaf_time::Monotonic;
use http::Method;
use jiff::Timestamp;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Make this call and hand in its answer.
    Call(Call),
    /// The pass is over.
    Done,
    /// Tell people.
    Tell(Box<Notice>),
    /// Wait this long.
    Wait(Duration),
}

/// See the module documentation.
#[derive(Debug)]
pub struct Pass {
    ages: Ages,
    bucket: TokenBucket,
    /// The API server's time when the pass began.
    now: Timestamp,
    requests: VecDeque<(String, Entry)>,
    steps: VecDeque<Step>,
    /// Name of the request that is being deleted.
    deleting: String,
}

impl Pass {
    /// A pass over `requests`; `now` is the API server's time.
    pub fn new(requests: Vec<(String, Entry)>, ages: Ages, now: Timestamp) -> Self {
        let per_second = ages.deletes_per_second(requests.len());
        let bucket = TokenBucket::new(Rate {
            per_second: f64::from(per_second),
            burst: per_second,
        });
        Self {
            ages,
            bucket,
            now,
            requests: requests.into(),
            steps: VecDeque::new(),
            deleting: String::new(),
        }
    }

    /// What to do next.
    pub fn step(&mut self, now: Monotonic) -> Step {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return step;
            }
            let Some((name, entry)) = self.requests.pop_front() else {
                return Step::Done;
            };
            self.judge(entry.record(&name), now);
        }
    }

    fn judge(&mut self, record: Record, now: Monotonic) {
        let cause = match decide(&record, self.now, &self.ages) {
            Action::Delete(cause) => cause,
            Action::Keep => return,
            Action::Unreadable => {
                if let Certificate::Unreadable(error) = &record.certificate {
                    let (csr, error) = (record.name.clone(), error.clone());
                    self.tell(Notice::CleaningUnreadable { csr, error });
                }
                return;
            }
        };
        let wait = self.bucket.reserve(now);
        if !wait.is_zero() {
            self.steps.push_back(Step::Wait(wait));
        }
        self.deleting.clone_from(&record.name);
        // Only if it is still the one that was judged.
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": { "uid": record.uid, "resourceVersion": record.resource_version },
        });
        let path = format!("{CSRS}/{}", segment(&record.name));
        let record = Arc::new(record);
        self.tell(Notice::Cleaning { record, cause });
        let call = Call::new(Method::DELETE, path, Some(options));
        self.steps.push_back(Step::Call(call));
    }

    /// Takes in the answer to a deletion.
    pub fn answer(&mut self, answer: &Answer) {
        match answer {
            Err(error) if !matches!(error.code(), 404 | 409) => {
                let (csr, error) = (self.deleting.clone(), error.to_string());
                self.tell(Notice::CleaningFailed { csr, error });
            }
            // Done; or it changed or is gone, which the watch will say.
            _ => {}
        }
    }

    fn tell(&mut self, notice: Notice) {
        self.steps.push_back(Step::Tell(Box::new(notice)));
    }
}
