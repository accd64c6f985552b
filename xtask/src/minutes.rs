//! `--minutes N`, which tasks that search for faults have.

use anyhow::{Context, Result, ensure};

/// How long to search, and the other arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Minutes {
    pub(crate) minutes: u32,
    pub(crate) rest: Vec<String>,
}

impl Minutes {
    /// Reads arguments; `default` when they do not say.
    pub(crate) fn read(args: &[String], default: u32) -> Result<Self> {
        let mut read = Self {
            minutes: default,
            rest: Vec::new(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg != "--minutes" {
                ensure!(
                    !arg.starts_with('-'),
                    "{arg} means nothing here; --minutes N does"
                );
                read.rest.push(arg.clone());
                continue;
            }
            let number = args.next().context("--minutes: how many?")?;
            let number = number.parse().ok().filter(|minutes| *minutes > 0);
            read.minutes = number.context("--minutes: a whole number of them")?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_stand_anywhere() {
        let read = |text: &str| {
            let args: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            Minutes::read(&args, 10)
        };
        let found = read("json --minutes 3 yaml").unwrap();
        assert_eq!(
            (found.minutes, found.rest.join(" ")),
            (3, "json yaml".to_owned())
        );
        assert_eq!(read("").unwrap().minutes, 10);
        for wrong in ["--minutes", "--minutes 0", "--minutes soon", "--hours 1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
