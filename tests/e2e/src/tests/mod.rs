//! The behaviours, one file per part of the story.

mod bad_input;
mod clock;
mod crash;
mod demo;
mod first_start;
mod kubectl_verbs;
mod renewal;
mod second_node;

use crate::runner::Test;

/// All tests in the order of the story.
pub(crate) fn all() -> Vec<&'static Test> {
    [
        first_start::TESTS,
        second_node::TESTS,
        clock::TESTS,
        demo::TESTS,
        renewal::TESTS,
        kubectl_verbs::TESTS,
        crash::TESTS,
        bad_input::TESTS,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Fails with a text when a condition does not hold.
macro_rules! ensure_that {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            anyhow::bail!($($text)+);
        }
    };
}
pub(crate) use ensure_that;

/// Fails when two values differ, showing both.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    seen: T,
    wanted: T,
) -> anyhow::Result<()> {
    ensure_that!(seen == wanted, "{what}: {seen:?}, not {wanted:?}");
    Ok(())
}
