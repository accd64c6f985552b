//! The two assertions of the suites.

/// Fails with a text when a condition does not hold.
#[macro_export]
macro_rules! ensure_that {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            anyhow::bail!($($text)+);
        }
    };
}

/// Fails when two values differ, showing both.
///
/// # Errors
/// When they differ.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, wanted: T) -> anyhow::Result<()> {
    ensure_that!(seen == wanted, "{what}: {seen:?}, not {wanted:?}");
    Ok(())
}
