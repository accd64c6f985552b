//! Go duration syntax (`87600h0m0s`), and Kubernetes' human durations (`5m3s`, `2d4h`).
use std::time::Duration;
/// Parses Go syntax, plus `d` for days. Err = what is wrong.
pub fn parse_go(_text: &str) -> Result<Duration, String> {
    unimplemented!()
}
/// `duration.HumanDuration` of a number of seconds (negative allowed).
pub fn human(_seconds: i64) -> String {
    unimplemented!()
}
