//! The node's two clocks, and how to sleep without trusting either.
//!
//! **Wall** time judges validity and deadlines; **monotonic** time measures backoff and naps. They
//! are different types and never mixed. This module owns the only reads of the system clock in the
//! crate; everything else receives `now`. It refuses to know what the time is used for; that a
//! clock was stepped is concluded in `everleaf-rotation`, from two readings of both clocks.
//!
//! The wall clock is read through [`std::time::SystemTime`] only, never through a raw system call,
//! so that tools which fake a process's clock reach it.

use everleaf_rotation::{Monotonic, NAP_MAX, Now};
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Where an agent gets its time from.
///
/// [`SystemClock`] is what a node uses; [`OffsetClock`] serves embedders whose hardware clock is
/// not to be trusted, and the demonstration.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Wall time: what certificates are compared with.
    fn wall(&self) -> Timestamp;

    /// Monotonic time: what waits are measured with.
    fn monotonic(&self) -> Monotonic;

    /// Both, read once for one turn.
    fn now(&self) -> Now {
        Now {
            wall: self.wall(),
            monotonic: self.monotonic(),
        }
    }

    /// Something to wait on that tells when the wall clock is set. Called inside a tokio runtime.
    fn listen(&self) -> ClockListener;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic origin is now.
    #[expect(clippy::disallowed_methods, reason = "the agent's one monotonic clock")]
    pub fn new() -> Self {
        Self {
            origin: std::time::Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the agent's one wall clock")]
    fn wall(&self) -> Timestamp {
        // Out of jiff's range (year 9999) only with a clock that is broken beyond repair.
        Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(self.origin.elapsed())
    }

    fn listen(&self) -> ClockListener {
        ClockListener {
            offset: None,
            set: set_listener::SetListener::new(),
        }
    }
}

/// A clock whose wall time is another clock's plus an offset that can be moved while an agent runs.
#[derive(Debug)]
pub struct OffsetClock {
    base: Arc<dyn Clock>,
    offset: watch::Sender<SignedDuration>,
}

impl OffsetClock {
    /// A clock that agrees with `base` until it is moved.
    pub fn new(base: Arc<dyn Clock>) -> Self {
        Self {
            base,
            offset: watch::Sender::new(SignedDuration::ZERO),
        }
    }

    /// Sets the offset from the base clock; whoever listens is woken.
    pub fn set_offset(&self, offset: SignedDuration) {
        self.offset.send_replace(offset);
    }

    /// Moves the clock so that it reads `instant` now.
    pub fn set_wall(&self, instant: Timestamp) {
        self.set_offset(instant.duration_since(self.base.wall()));
    }

    /// The present offset from the base clock.
    pub fn offset(&self) -> SignedDuration {
        *self.offset.borrow()
    }
}

impl Clock for OffsetClock {
    fn wall(&self) -> Timestamp {
        let base = self.base.wall();
        let offset = self.offset();
        base.checked_add(offset).unwrap_or(if offset.is_negative() {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        })
    }

    fn monotonic(&self) -> Monotonic {
        self.base.monotonic()
    }

    fn listen(&self) -> ClockListener {
        let mut listener = self.base.listen();
        listener.offset = Some(self.offset.subscribe());
        listener
    }
}

/// Tells when a wall clock is set, where the clock can tell.
#[derive(Debug)]
pub struct ClockListener {
    offset: Option<watch::Receiver<SignedDuration>>,
    set: Option<set_listener::SetListener>,
}

impl ClockListener {
    /// A listener that never hears anything: naps are then the only safety net.
    pub fn deaf() -> Self {
        Self {
            offset: None,
            set: None,
        }
    }

    /// Returns when the clock was set; never, if it cannot tell. Cancel safe: nothing that happens
    /// between two calls is missed.
    pub async fn changed(&mut self) {
        let offset = async {
            if let Some(receiver) = &mut self.offset
                && receiver.changed().await.is_ok()
            {
                return;
            }
            // No offset to move, or nobody left who could move it.
            std::future::pending().await
        };
        let set = async {
            match &mut self.set {
                Some(listener) => listener.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = offset => {}
            () = set => {}
        }
    }
}

/// Sleeps until `span` has passed (at most [`NAP_MAX`]), or the clock is set, whichever is first.
pub async fn nap(span: Duration, listener: &mut ClockListener) {
    tokio::select! {
        () = tokio::time::sleep(span.min(NAP_MAX)) => {}
        () = listener.changed() => {}
    }
}

/// "The clock was set", as the kernel tells it.
#[cfg(target_os = "linux")]
mod set_listener {
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::os::fd::OwnedFd;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// Armed for this many seconds after 1970: late enough never to fire, within what a kernel can
    /// count in nanoseconds.
    const NEVER_SECONDS: i64 = 1 << 33;

    /// An absolute timer far in the future that the kernel cancels when the real-time clock is set.
    #[derive(Debug)]
    pub(super) struct SetListener(AsyncFd<OwnedFd>);

    impl SetListener {
        #[expect(
            deprecated,
            reason = "the concern is descriptors closed behind tokio's back; an OwnedFd owns its \
            own, and the replacement is unsafe"
        )]
        /// None where the kernel refuses (seccomp, no descriptors left): the bounded nap remains.
        pub(super) fn new() -> Option<Self> {
            let timer = timerfd_create(
                TimerfdClockId::Realtime,
                TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
            )
            .ok()?;
            arm(&timer).ok()?;
            // Outside a runtime there is nobody to wake.
            tokio::runtime::Handle::try_current().ok()?;
            AsyncFd::with_interest(timer, Interest::READABLE)
                .ok()
                .map(Self)
        }

        pub(super) async fn changed(&mut self) {
            loop {
                let Ok(mut ready) = self.0.readable().await else {
                    return std::future::pending().await;
                };
                let mut ticks = [0; 8];
                match rustix::io::read(self.0.get_ref(), &mut ticks) {
                    Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                    // ECANCELED is the message: the clock was set. Anything else is read as the
                    // same.
                    _ => {
                        ready.clear_ready();
                        return match arm(self.0.get_ref()) {
                            Ok(()) => {}
                            Err(_) => std::future::pending().await,
                        };
                    }
                }
            }
        }
    }

    fn arm(timer: &OwnedFd) -> rustix::io::Result<()> {
        let never = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: NEVER_SECONDS,
                tv_nsec: 0,
            },
        };
        timerfd_settime(
            timer,
            TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET,
            &never,
        )
        .map(drop)
    }
}

/// Elsewhere nobody tells; the bounded nap is what notices.
#[cfg(not(target_os = "linux"))]
mod set_listener {
    #[derive(Debug)]
    pub(super) struct SetListener;

    impl SetListener {
        pub(super) fn new() -> Option<Self> {
            None
        }

        pub(super) async fn changed(&mut self) {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_nap_is_bounded() {
        let before = tokio::time::Instant::now();
        nap(Duration::from_secs(86_400), &mut ClockListener::deaf()).await;
        assert_eq!(before.elapsed(), NAP_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_nobody_sets_wakes_nobody() {
        let mut listener = SystemClock::new().listen();
        assert_eq!(listener.set.is_some(), cfg!(target_os = "linux"));
        let before = tokio::time::Instant::now();
        nap(Duration::from_secs(7), &mut listener).await;
        assert_eq!(before.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn moving_an_offset_clock_wakes_a_nap_and_is_never_missed() {
        let clock = OffsetClock::new(Arc::new(SystemClock::new()));
        let mut listener = clock.listen();
        clock.set_offset(SignedDuration::from_hours(24));
        let before = tokio::time::Instant::now();
        nap(NAP_MAX, &mut listener).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        nap(NAP_MAX, &mut listener).await;
        assert_eq!(before.elapsed(), NAP_MAX);
    }

    #[test]
    fn an_offset_clock_reads_what_it_was_set_to() {
        let clock = OffsetClock::new(Arc::new(SystemClock::new()));
        clock.set_wall(at(0));
        let read = clock.wall().duration_since(at(0));
        assert!(read >= SignedDuration::ZERO && read < SignedDuration::from_secs(30));
        clock.set_offset(SignedDuration::MAX);
        assert_eq!(clock.wall(), Timestamp::MAX);
        clock.set_offset(SignedDuration::MIN);
        assert_eq!(clock.wall(), Timestamp::MIN);
    }
}
