//! Notices into log lines.
//!
//! Every line says which of the two machines it is about. What repeats is told once, then only to
//! those who look closely, until it changes. The words are in [`words`].

mod words;

use everleaf_rotation::{Kind, Notice, Severity};

/// Tells the notices of one machine.
#[derive(Debug)]
pub(crate) struct Teller {
    kind: Kind,
    /// What failed last, without the numbers in it.
    last_failure: Option<String>,
}

impl Teller {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            last_failure: None,
        }
    }

    /// Logs one notice.
    pub(crate) fn tell(&mut self, notice: &Notice) {
        let severity = self.severity(notice);
        let line = words::of(self.kind, notice);
        // Some of the words are a server's: they must not begin a line of their own.
        let text = line.text.replace(char::is_control, " ");
        let manager = self.kind.as_str();
        let (csr, uid) = (line.csr, line.uid);
        let serial = line.leaf.map(|leaf| leaf.serial.to_string());
        let not_before = line.leaf.map(|leaf| leaf.not_before.to_string());
        let not_after = line.leaf.map(|leaf| leaf.not_after.to_string());
        let (serial, not_before, not_after) = (
            serial.as_deref(),
            not_before.as_deref(),
            not_after.as_deref(),
        );
        match severity {
            Severity::Debug => {
                tracing::debug!(manager, csr, uid, serial, not_before, not_after, "{text}");
            }
            Severity::Info => {
                tracing::info!(manager, csr, uid, serial, not_before, not_after, "{text}");
            }
            Severity::Warning => {
                tracing::warn!(manager, csr, uid, serial, not_before, not_after, "{text}");
            }
            Severity::Error => {
                tracing::error!(manager, csr, uid, serial, not_before, not_after, "{text}");
            }
        }
    }

    /// The notice's own, but a failure like the last one is for those who look closely.
    fn severity(&mut self, notice: &Notice) -> Severity {
        match notice {
            Notice::Failed { step, message, .. } => {
                let failure = format!("{}: {}", step.as_str(), without_numbers(message));
                if self.last_failure.as_ref() == Some(&failure) {
                    return Severity::Debug;
                }
                self.last_failure = Some(failure);
            }
            Notice::RequestSubmitted { .. }
            | Notice::Issued { .. }
            | Notice::Installed { .. }
            | Notice::Confirmed { .. }
                if self.last_failure.take().is_some() =>
            {
                tracing::info!(manager = self.kind.as_str(), "what failed works again");
            }
            _ => {}
        }
        notice.severity()
    }
}

/// "Still failing" is no change, though a date or a port in the message is another.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use everleaf_rotation::RequestName;
    use everleaf_rotation::notice::FailedStep;

    use super::*;

    fn failed(message: &str) -> Notice {
        Notice::Failed {
            step: FailedStep::Submit,
            class: None,
            message: message.to_owned(),
            failures: 1,
            wait: Duration::from_secs(2),
        }
    }

    #[test]
    fn a_failure_is_told_once_per_change() {
        let mut teller = Teller::new(Kind::Client);
        let (quiet, loud) = (Severity::Debug, Severity::Warning);
        for (notice, expected) in [
            (failed("cannot connect at 10:00"), loud),
            (failed("cannot connect at 10:01"), quiet),
            (failed("forbidden"), loud),
            (failed("forbidden"), quiet),
            (
                Notice::RequestPrepared {
                    name: RequestName::new("r"),
                },
                Severity::Info,
            ),
            (failed("forbidden"), quiet),
            (
                Notice::RequestSubmitted {
                    name: RequestName::new("r"),
                    uid: everleaf_rotation::RequestUid::new("u"),
                    credential: everleaf_rotation::CredentialChoice::Current,
                },
                Severity::Info,
            ),
            (failed("forbidden"), loud),
        ] {
            assert_eq!(teller.severity(&notice), expected, "{notice:?}");
        }
    }
}
