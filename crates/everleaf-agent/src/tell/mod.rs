//! Notices into log lines.
//!
//! Every line says which certificate it is about. What repeats is told once, then to those who look
//! closely; what goes on failing is told again every [`REMINDER`], with its cause and since when,
//! as an error once the certificate has ended. The words are in [`words`].

mod overdue;
mod waiting;
mod words;

pub(crate) use overdue::words_of;
pub(crate) use waiting::WaitingProfiles;
pub(crate) use words::Manner;

use everleaf_api::meta::format_time;
use everleaf_rotation::notice::FailedStep;
use everleaf_rotation::{CertificateId, Monotonic, Notice, Now, Overdue, Severity};
use jiff::Timestamp;
use std::time::Duration;

/// How often a failure that goes on is told again.
pub(crate) const REMINDER: Duration = Duration::from_secs(10 * 60);

/// What fails, as told last.
#[derive(Debug)]
struct Trouble {
    /// Without the numbers in it: these alone are no change.
    key: String,
    text: String,
    severity: Severity,
    since: Timestamp,
    told_at: Monotonic,
    /// It was told that the certificate has ended meanwhile.
    end_is_told: bool,
}

/// Tells the notices of one machine.
#[derive(Debug)]
pub(crate) struct Teller {
    id: CertificateId,
    manner: Manner,
    trouble: Option<Trouble>,
    /// What was found in the cert dir last: it is found again at each look.
    last_finding: Option<String>,
    /// What is overdue, and when it was told last.
    overdue: Option<(String, Monotonic)>,
    /// The last notice was that nobody decided in time.
    is_undecided: bool,
}

impl Teller {
    pub(crate) fn new(id: CertificateId, manner: Manner) -> Self {
        Self {
            id,
            manner,
            trouble: None,
            last_finding: None,
            overdue: None,
            is_undecided: false,
        }
    }

    /// Logs one notice.
    pub(crate) fn tell(&mut self, notice: &Notice, now: Now) {
        let line = words::of(&self.id, self.manner, notice);
        // Some of the words are a server's: they must not begin a line of their own.
        let text = line.text.replace(char::is_control, " ");
        let severity = self.severity(notice, &text, now);
        let manager = self.id.name();
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
    fn severity(&mut self, notice: &Notice, text: &str, now: Now) -> Severity {
        if self.is_told_as_overdue(notice) {
            return Severity::Debug;
        }
        let key = match notice {
            Notice::Failed { step, message, .. } => {
                format!("{}: {}", step.as_str(), without_numbers(message))
            }
            Notice::Stuck { reason, .. } => format!("{reason:?}"),
            Notice::RequestSubmitted { .. }
            | Notice::Issued { .. }
            | Notice::Installed { .. }
            | Notice::Confirmed { .. } => {
                if self.trouble.take().is_some() {
                    tracing::info!(manager = self.id.name(), "what failed works again");
                }
                return notice.severity();
            }
            Notice::StoreRecovered(_) => {
                let is_known = self.last_finding.as_deref() == Some(text);
                self.last_finding = Some(text.to_owned());
                return if is_known {
                    Severity::Debug
                } else {
                    notice.severity()
                };
            }
            // The next of many attempts is no news.
            Notice::AttemptBegan { .. } if self.trouble.is_some() => return Severity::Debug,
            _ => return notice.severity(),
        };
        match &mut self.trouble {
            Some(trouble) if trouble.key == key => {
                text.clone_into(&mut trouble.text);
                Severity::Debug
            }
            _ => {
                self.trouble = Some(Trouble {
                    key,
                    text: text.to_owned(),
                    severity: notice.severity(),
                    since: now.wall,
                    told_at: now.monotonic,
                    end_is_told: false,
                });
                notice.severity()
            }
        }
    }

    /// Nobody decided in time: that is told as what follows from it, if something does.
    fn is_told_as_overdue(&mut self, notice: &Notice) -> bool {
        let is_undecided = matches!(notice, Notice::RequestUndecided { .. });
        let was_undecided = std::mem::replace(&mut self.is_undecided, is_undecided);
        let step = FailedStep::Await;
        let follows =
            was_undecided && matches!(notice, Notice::Failed { step: at, .. } if *at == step);
        self.overdue.is_some() && (is_undecided || follows)
    }

    /// Tells what is overdue, when that changes, and now and then while it lasts.
    /// `is_reminded`: what fails is told again as well.
    pub(crate) fn watch(&mut self, overdue: Option<&Overdue>, now: Now, is_reminded: bool) {
        let news = self.news(overdue, now, is_reminded);
        let manager = self.id.name();
        match news {
            None => {}
            Some((Severity::Error, text)) => tracing::error!(manager, "{text}"),
            Some((_, text)) => tracing::warn!(manager, "{text}"),
        }
    }

    fn news(
        &mut self,
        overdue: Option<&Overdue>,
        now: Now,
        is_reminded: bool,
    ) -> Option<(Severity, String)> {
        let Some(overdue) = overdue else {
            self.overdue = None;
            return None;
        };
        let has_ended = matches!(overdue, Overdue::Ended { .. });
        if has_ended && is_reminded && self.trouble.is_some() {
            // The reminder of what fails says so.
            return None;
        }
        let text = words_of(&self.id, overdue);
        let is_known = self
            .overdue
            .as_ref()
            .is_some_and(|(told, at)| *told == text && now.monotonic.since(*at) < REMINDER);
        if is_known {
            return None;
        }
        self.overdue = Some((text.clone(), now.monotonic));
        let severity = if has_ended {
            Severity::Error
        } else {
            Severity::Warning
        };
        Some((severity, text))
    }

    /// Tells what goes on failing again, when it is time. `has_ended`: by this host's clock the
    /// certificate has.
    pub(crate) fn remind(&mut self, now: Now, has_ended: bool) {
        let reminder = self.reminder(now, has_ended);
        let manager = self.id.name();
        match reminder {
            None => {}
            Some((Severity::Error, text)) => tracing::error!(manager, "{text}"),
            Some((_, text)) => tracing::warn!(manager, "{text}"),
        }
    }

    fn reminder(&mut self, now: Now, has_ended: bool) -> Option<(Severity, String)> {
        let trouble = self.trouble.as_mut()?;
        let is_news = has_ended && !trouble.end_is_told;
        if !is_news && now.monotonic.since(trouble.told_at) < REMINDER {
            return None;
        }
        trouble.told_at = now.monotonic;
        trouble.end_is_told = has_ended;
        let since = format_time(trouble.since);
        let text = &trouble.text;
        Some(if has_ended {
            (
                Severity::Error,
                format!("the certificate has ended and is not replaced: {text}; so since {since}"),
            )
        } else {
            (trouble.severity, format!("{text}; so since {since}"))
        })
    }
}

/// "Still failing" is no change, though a date or a port in the message is another.
fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_rotation::RequestName;
    use everleaf_rotation::notice::FailedStep;
    use std::time::Duration;

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
        let mut teller = Teller::new(CertificateId::kubelet_client(), Manner::default());
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
                    existed: false,
                },
                Severity::Info,
            ),
            (failed("forbidden"), loud),
        ] {
            assert_eq!(teller.severity(&notice, "", at(0)), expected, "{notice:?}");
        }
    }

    fn at(minutes: i64) -> Now {
        Now {
            wall: Timestamp::from_second(60 * minutes).unwrap(),
            monotonic: Monotonic::from_origin(Duration::from_secs(60 * minutes.unsigned_abs())),
        }
    }

    #[test]
    fn what_goes_on_failing_is_told_again() {
        let mut teller = Teller::new(CertificateId::kubelet_client(), Manner::default());
        assert_eq!(teller.reminder(at(0), true), None, "nothing fails");
        teller.tell(&failed("disk full"), at(1));
        assert_eq!(teller.reminder(at(10), false), None);
        teller.tell(&failed("disk full"), at(10));
        let (severity, text) = teller.reminder(at(11), false).unwrap();
        assert_eq!(severity, Severity::Warning);
        assert!(text.contains("disk full"), "{text}");
        assert!(text.ends_with("so since 1970-01-01T00:01:00Z"), "{text}");
        assert_eq!(teller.reminder(at(20), false), None);
        // The end of the certificate is news, and an error from then on.
        let (severity, text) = teller.reminder(at(20), true).unwrap();
        assert_eq!(severity, Severity::Error);
        assert!(text.starts_with("the certificate has ended"), "{text}");
        assert_eq!(teller.reminder(at(29), true), None);
        assert!(teller.reminder(at(30), true).is_some());
        // Another failure is told by itself, and the next reminder is of that one.
        teller.tell(&failed("forbidden"), at(31));
        let (_, text) = teller.reminder(at(41), true).unwrap();
        assert!(text.contains("forbidden"), "{text}");
    }

    #[test]
    fn what_is_overdue_is_told_per_change_and_now_and_then() {
        use everleaf_rotation::overdue::{Dates, Waiting};
        let mut teller = Teller::new(CertificateId::kubelet_serving(), Manner::default());
        let request = || Waiting {
            name: RequestName::new("r"),
            since: at(0).wall,
        };
        let renewal = Overdue::Renewal {
            request: request(),
            dates: Dates {
                deadline: at(0).wall,
                not_after: at(40).wall,
            },
        };
        let ended = Overdue::Ended {
            at: at(40).wall,
            request: Some(request()),
        };
        let mut severity =
            |overdue: Option<&Overdue>, minute| Some(teller.news(overdue, at(minute), true)?.0);
        let warning = Some(Severity::Warning);
        assert_eq!(severity(None, 0), None);
        for (minute, expected) in [(5, warning), (6, None), (14, None), (15, warning)] {
            assert_eq!(severity(Some(&renewal), minute), expected, "{minute}");
        }
        for (minute, expected) in [
            (16, Some(Severity::Error)),
            (25, None),
            (26, Some(Severity::Error)),
        ] {
            assert_eq!(severity(Some(&ended), minute), expected, "{minute}");
        }
        assert_eq!(severity(None, 27), None);
        assert_eq!(severity(Some(&renewal), 28), warning, "once more");
        // What nobody decided is the same thing in other words.
        let undecided = Notice::RequestUndecided {
            name: RequestName::new("r"),
        };
        let follows = Notice::Failed {
            step: FailedStep::Await,
            class: None,
            message: "nobody".to_owned(),
            failures: 1,
            wait: Duration::from_secs(2),
        };
        for notice in [&undecided, &follows] {
            assert_eq!(teller.severity(notice, "", at(28)), Severity::Debug);
        }
        assert!(teller.trouble.is_none());
        assert_eq!(
            teller.severity(&follows, "", at(28)),
            Severity::Warning,
            "not by itself"
        );
        assert_eq!(
            teller.news(Some(&ended), at(29), true),
            None,
            "the reminder says it"
        );
        assert!(
            teller.news(Some(&ended), at(29), false).is_some(),
            "nobody else says it"
        );
        teller.trouble = None;
        teller.news(None, at(30), true);
        assert_eq!(teller.severity(&undecided, "", at(30)), Severity::Warning);
    }

    #[test]
    fn attempts_are_no_news_while_they_fail() {
        use everleaf_rotation::notice::Cause;
        let mut teller = Teller::new(CertificateId::kubelet_client(), Manner::default());
        let began = Notice::AttemptBegan {
            cause: Cause::Deadline,
            lack: None,
        };
        assert_eq!(teller.severity(&began, "", at(0)), Severity::Info);
        teller.tell(&failed("disk full"), at(0));
        assert_eq!(teller.severity(&began, "", at(1)), Severity::Debug);
    }
}
