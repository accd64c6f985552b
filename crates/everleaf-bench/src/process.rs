//! What the kernel counted for a process: processor time and memory (`/proc/PID`, proc(5)).

use std::fs;
use std::time::Duration;

/// A process that is watched during a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What it is called in the report.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

/// What it has used until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Resident memory now, in bytes.
    pub(crate) resident: u64,
    /// The most that was ever resident, in bytes.
    pub(crate) peak: u64,
}

impl Process {
    /// `NAME=PID`.
    ///
    /// # Errors
    /// In words what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write NAME=PID, such as etcd=4711".to_owned();
        let (name, pid) = text.split_once('=').ok_or_else(wrong)?;
        let pid = pid.trim().parse().map_err(|_| wrong())?;
        if name.is_empty() || pid == 0 {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_owned(),
            pid,
        })
    }

    /// What it has used until now; `None` when there is no such process, or the kernel tells
    /// nothing of it.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.pid)).ok();
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        usage(&read("stat")?, &read("status")?, ticks_per_second)
    }
}

/// The machine's load averages over 1, 5 and 15 minutes, where there are any.
pub(crate) fn load_average() -> Option<[f64; 3]> {
    averages(&fs::read_to_string("/proc/loadavg").ok()?)
}

fn usage(stat: &str, status: &str, ticks_per_second: u64) -> Option<Usage> {
    // Fields are counted from after the command, which may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let mut ticks = || times.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Usage {
        cpu: Duration::from_millis(ticks * 1000 / ticks_per_second.max(1)),
        resident: bytes(status, "VmRSS:")?,
        peak: bytes(status, "VmHWM:")?,
    })
}

fn bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn averages(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_name_and_a_number() {
        let etcd = Process::parse("etcd=12").unwrap();
        assert_eq!((&*etcd.name, etcd.pid), ("etcd", 12));
        for text in [
            "", "etcd", "=1", "etcd=", "etcd=x", "etcd=0", "etcd=-1", "12",
        ] {
            assert!(Process::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_kernels_words_are_read() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 25 13 14";
        let status = "Name:\ta\nVmPeak:\t 9 kB\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        let used = usage(stat, status, 100).unwrap();
        assert_eq!(used.cpu, Duration::from_millis(1750));
        assert_eq!((used.resident, used.peak), (1 << 20, 2 << 20));
        assert_eq!(usage("", status, 100), None);
        assert_eq!(usage(stat, "", 100), None);
        let load = averages("6.01 5.50 4.00 3/200 99\n").unwrap();
        assert_eq!(load, [6.01, 5.5, 4.0]);
    }
}
