//! What was read and is in use, and is read again: a renewed certificate, a changed configuration.

use crate::input;
use crate::told::Told;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Largest configuration that a flag may name.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Something that was read and is in use.
pub(crate) struct InUse<T> {
    what: String,
    known: T,
    told: Told,
}

/// What came of another look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is as it was.
    Same,
    /// What is new is in use.
    Taken,
    /// It cannot be used.
    Refused,
}

impl<T: PartialEq> InUse<T> {
    pub(crate) fn new(what: impl Into<String>, known: T) -> Self {
        Self {
            what: what.into(),
            known,
            told: Told::default(),
        }
    }

    pub(crate) fn known(&self) -> &T {
        &self.known
    }

    /// Looks again, at `now`: what is new is taken. What cannot be used is told, again while it
    /// lasts, and what was in use stays.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        read: impl FnOnce() -> Result<T>,
        take: impl FnOnce(&T) -> Result<()>,
    ) -> Look {
        let what = &self.what;
        let outcome = read().and_then(|found| {
            if found == self.known {
                return Ok(Look::Same);
            }
            take(&found)?;
            self.known = found;
            tracing::info!("{what} was read again");
            Ok(Look::Taken)
        });
        match outcome {
            Ok(look) => {
                self.told.forget();
                look
            }
            Err(error) => {
                let text = crate::failure::chain(&error);
                if self.told.is_news(&text, now) {
                    tracing::warn!("{text}; the {what} that was read before stays in use");
                }
                Look::Refused
            }
        }
    }
}

/// A configuration that a flag names, with the text that was read. It is followed from there, so
/// that a change counts however soon it came after the reading.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    flag: &'static str,
    path: PathBuf,
    text: String,
    is_pipe: bool,
}

impl TextFile {
    /// Reads what is at `path`, as `flag` says.
    ///
    /// # Errors
    /// It cannot be read, or is not text.
    pub(crate) fn read(flag: &'static str, path: &Path) -> Result<Self> {
        Ok(Self {
            flag,
            path: path.to_owned(),
            text: text(flag, path)?,
            is_pipe: input::is_pipe(path),
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The flag, and what it names.
    pub(crate) fn named(&self) -> String {
        format!("{} {}", self.flag, self.path.display())
    }

    /// Looks at it each `interval`, for ever: a new text is taken, and `told` hears what became of
    /// it. What comes through a pipe comes once.
    pub(crate) async fn follow(
        self,
        what: &str,
        interval: Duration,
        take: impl Fn(&str) -> Result<()>,
        told: impl Fn(Look),
    ) {
        let Self {
            flag,
            path,
            text: known,
            is_pipe,
        } = self;
        let mut in_use = InUse::new(format!("{what} {}", path.display()), known);
        if is_pipe {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(interval).await;
            let look = in_use.look(Instant::now(), || text(flag, &path), |text| take(text));
            if look != Look::Same {
                told(look);
            }
        }
    }
}

fn text(flag: &str, path: &Path) -> Result<String> {
    let unreadable = || format!("cannot read {flag} {}", path.display());
    let bytes = input::read(path, FILE_BYTES_MAX).with_context(unreadable)?;
    let text = std::str::from_utf8(&bytes).with_context(unreadable)?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::sync::{Arc, Mutex};

    #[test]
    fn what_cannot_be_used_is_tried_again_and_what_was_in_use_stays() {
        let now = Instant::now();
        let mut in_use = InUse::new("thing", 1);
        let mut taken = Vec::new();
        let look = in_use.look(now, || Ok(1), |_| unreachable!("it is in use"));
        assert_eq!(look, Look::Same);
        let look = in_use.look(
            now,
            || Err(anyhow!("gone")),
            |_| unreachable!("nothing was read"),
        );
        assert_eq!(look, Look::Refused);
        for works in [false, false, true] {
            let look = in_use.look(
                now,
                || Ok(2),
                |found| {
                    taken.push((*found, works));
                    works.then_some(()).ok_or_else(|| anyhow!("half of it"))
                },
            );
            assert_eq!(look == Look::Taken, works);
            assert_eq!(*in_use.known() == 2, works);
        }
        assert_eq!(taken, [(2, false), (2, false), (2, true)]);
        let look = in_use.look(now, || Ok(2), |_| unreachable!("it is in use"));
        assert_eq!(look, Look::Same);
    }

    async fn follow(file: TextFile, taken: Arc<Mutex<Vec<String>>>, told: Arc<Mutex<Vec<Look>>>) {
        let take = |text: &str| {
            taken.lock().unwrap().push(text.to_owned());
            Ok(())
        };
        let minute = Duration::from_secs(60);
        file.follow("x", minute, take, |look| told.lock().unwrap().push(look))
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_followed_from_what_was_read() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let file = TextFile::read("--x", &path).unwrap();
        assert_eq!(file.named(), format!("--x {}", path.display()));
        assert_eq!(file.text(), "one");
        // Nobody follows it yet.
        std::fs::write(&path, "two").unwrap();
        let (taken, told) = (Arc::default(), Arc::default());
        let follower = tokio::spawn(follow(file, Arc::clone(&taken), Arc::clone(&told)));
        tokio::time::sleep(Duration::from_secs(150)).await;
        std::fs::remove_file(&path).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        follower.abort();
        assert_eq!(*taken.lock().unwrap(), ["two"]);
        assert_eq!(*told.lock().unwrap(), [Look::Taken, Look::Refused]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_through_a_pipe_is_not_looked_for_again() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        writer.write_all(b"one").unwrap();
        drop(writer);
        let file = TextFile::read("--x", Path::new(&path)).unwrap();
        assert_eq!(file.text(), "one");
        let (taken, told) = (Arc::default(), Arc::default());
        let follower = tokio::spawn(follow(file, Arc::clone(&taken), Arc::clone(&told)));
        tokio::time::sleep(Duration::from_secs(150)).await;
        follower.abort();
        assert!(taken.lock().unwrap().is_empty() && told.lock().unwrap().is_empty());
    }
}
