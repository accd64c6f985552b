//! The write gate: a process that takes part in an election writes only while the lease is surely
//! its own.
//!
//! The idea is client-go's (KEP-6361, `tools/leaderelection/writegate.go` of 1.38): what is no safe
//! method of HTTP (RFC 9110 section 9.2.1) has to pass. [`Permit`] is the rule. It is asked anew
//! whenever the call could go on, since no timer tells a process that it stood still. Where
//! client-go refuses a write, ours waits: the gate opens with the next renewal, or the process
//! ends.

use crate::election::permit::Permit;
use everleaf_time::Now;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A write was not made, or its answer was not waited for.
#[derive(Debug)]
pub(crate) struct Shut;

/// What is permitted; `None`: nothing.
pub(crate) type Gate = watch::Receiver<Option<Permit>>;

/// Lets a write through, once that is permitted; `Err`: the permission ended before its answer
/// came, or with the process. `now` reads the clocks.
pub(crate) async fn pass<T>(
    gate: &Gate,
    now: impl Fn() -> Now,
    write: impl Future<Output = T>,
) -> Result<T, Shut> {
    let mut gate = gate.clone();
    let permitted = |permit: &Option<Permit>| permit.is_some_and(|permit| permit.allows(now()));
    gate.wait_for(permitted).await.map_err(|_| Shut)?;
    let mut write = pin!(write);
    loop {
        let permit = *gate.borrow_and_update();
        if !permitted(&permit) {
            return Err(Shut);
        }
        let left = permit.map_or(Duration::ZERO, |permit| permit.left(now().monotonic));
        tokio::select! {
            biased;
            changed = gate.changed() => changed.map_err(|_| Shut)?,
            () = tokio::time::sleep_until(Instant::now() + left) => {}
            answer = poll_fn(|cx| match permitted(&permit) {
                true => write.as_mut().poll(cx).map(Ok),
                false => Poll::Ready(Err(Shut)),
            }) => return answer,
        }
    }
}
