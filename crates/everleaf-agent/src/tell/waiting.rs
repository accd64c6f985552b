//! One line for all profiles that wait for their first certificate: hundreds may be new at once,
//! and a line for each would hide everything else.

use super::REMINDER;
use everleaf_api::meta::format_time;
use everleaf_rotation::Monotonic;
use everleaf_rotation::overdue::Waiting;
use std::time::Duration;

/// Shortest time between two lines with different numbers.
const SPACING: Duration = Duration::from_secs(60);
/// Most names in a line.
const NAMES_MAX: usize = 3;

/// What was told last.
#[derive(Debug, Default)]
pub(crate) struct WaitingProfiles(Option<(usize, Monotonic)>);

impl WaitingProfiles {
    /// The line about these profiles and their requests, if it is time for one.
    pub(crate) fn news(&mut self, waiting: &[(&str, Waiting)], now: Monotonic) -> Option<String> {
        let since = waiting.iter().map(|(_, request)| request.since).min();
        let Some(since) = since else {
            self.0 = None;
            return None;
        };
        let is_told = self.0.is_some_and(|(count, at)| {
            let rests = if count == waiting.len() {
                REMINDER
            } else {
                SPACING
            };
            now.since(at) < rests
        });
        if is_told {
            return None;
        }
        self.0 = Some((waiting.len(), now));
        let since = format_time(since);
        if let [(name, request)] = waiting {
            return Some(format!(
                "the request for the first {name} certificate waits for approval or for its signer since {since}: kubectl \
                 certificate approve {}",
                request.name
            ));
        }
        let names: Vec<&str> = waiting.iter().map(|(name, _)| *name).collect();
        let (named, rest) = names.split_at(names.len().min(NAMES_MAX));
        let more = match rest.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        Some(format!(
            "the requests for the first certificates of {} profiles wait for approval or for their signers, the longest since \
             {since}: {}{more}; kubectl get csr lists them",
            names.len(),
            named.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_rotation::RequestName;
    use jiff::Timestamp;

    #[test]
    fn hundreds_are_one_line_a_minute_at_most() {
        let names: Vec<String> = (0..300).map(|number| format!("p{number}")).collect();
        let waiting: Vec<_> = names
            .iter()
            .map(|name| {
                let request = Waiting {
                    name: RequestName::new(format!("csr-{name}")),
                    since: Timestamp::from_second(60).unwrap(),
                };
                (name.as_str(), request)
            })
            .collect();
        let mut told = WaitingProfiles::default();
        let start = Monotonic::default();
        let mut at =
            |seconds, count| told.news(&waiting[..count], start + Duration::from_secs(seconds));
        let one = at(0, 1).unwrap();
        assert!(one.contains("first p0 certificate"), "{one}");
        assert!(one.ends_with("kubectl certificate approve csr-p0"), "{one}");
        for (seconds, count) in [(1, 2), (30, 150), (59, 300)] {
            assert_eq!(at(seconds, count), None, "after {seconds} s");
        }
        let all = at(60, 300).unwrap();
        assert!(all.contains("of 300 profiles wait"), "{all}");
        assert!(
            all.contains("since 1970-01-01T00:01:00Z: p0, p1, p2 and 297 more;"),
            "{all}"
        );
        assert_eq!(at(659, 300), None);
        assert_eq!(at(660, 300), Some(all));
        // Nobody waits any more; the next one is told at once.
        assert_eq!(at(661, 0), None);
        assert!(at(662, 3).unwrap().contains("p0, p1, p2;"));
    }
}
