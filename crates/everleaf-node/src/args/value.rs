//! Syntax of flag values that Kubernetes shares among its programs.

use clap::Arg;
use everleaf_agent::Secret;
use everleaf_pki::KeyAlgorithm;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// A kind of key, by its name in a KubeletConfiguration.
pub fn key_algorithm(text: &str) -> Result<KeyAlgorithm, String> {
    KeyAlgorithm::parse(text).ok_or_else(|| format!("there are {}", KeyAlgorithm::names()))
}

/// A positive duration in Go's syntax (`87600h0m0s`).
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = everleaf_api::duration::parse_go(text)
        .map_err(|why| format!("{why}; write it like 8760h, 1h30m or 87600h0m0s"))?;
    if duration.is_zero() {
        return Err("it must be more than zero".into());
    }
    Ok(duration)
}

/// A duration that is written down as it was given; zero is one.
pub fn duration_text(text: &str) -> Result<String, String> {
    any_duration(text).map(|_| text.to_owned())
}

/// A duration in Go's syntax, which may be zero.
pub fn any_duration(text: &str) -> Result<Duration, String> {
    everleaf_api::duration::parse_go(text)
        .map_err(|why| format!("{why}; write it like 30s, 5m0s or 0s"))
}

/// A share in whole percent, with or without its sign.
pub fn percent(text: &str) -> Result<u8, String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let share = is_number.then(|| digits.parse::<u8>().ok()).flatten();
    share
        .filter(|share| *share <= 100)
        .ok_or_else(|| "it is a share in whole percent: write it like 90%".into())
}

/// A serial number in any form that tools print it in; returns upper hex without leading zeros.
pub fn serial(text: &str) -> Result<String, String> {
    let digits = text.trim().to_uppercase().replace([':', ' '], "");
    let digits = digits.strip_prefix("0X").unwrap_or(&digits);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("it is in hex: write it like 5B3651061E0C77B3, 0x5B36 or 5b:36".into());
    }
    Ok(digits.trim_start_matches('0').to_owned())
}

/// Where to listen: an address and a port; without an address all of this host's, as Go's programs
/// take it; `localhost` as the one name that means the same on every host.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port_on = |address: IpAddr, port: &str| {
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = is_number.then(|| port.parse().ok()).flatten()?;
        Some(SocketAddr::new(address, port))
    };
    let address = match text.rsplit_once(':') {
        Some(("", port)) => port_on(every_address(), port),
        Some((name, port)) if name.eq_ignore_ascii_case("localhost") => {
            port_on(Ipv4Addr::LOCALHOST.into(), port)
        }
        _ => text.parse().ok(),
    };
    address.ok_or_else(|| {
        "write an IP address and a port, such as 127.0.0.1:6443; :6443 is every address of this host".into()
    })
}

/// IPv6 and with it IPv4, where this host has IPv6 at all.
fn every_address() -> IpAddr {
    let both = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    match UdpSocket::bind((both, 0)) {
        Ok(_) => both,
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// A text that is shown to nobody.
pub fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.to_owned()))
}

/// A boolean as Go's flag package reads it.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".into()),
    }
}

/// The form of a flag that is true or false: `--flag`, `--flag=false`.
pub trait Switch {
    /// Without a default: nothing is known when it is not given.
    fn switch(self) -> Self;

    /// With one.
    fn switch_or(self, default: &'static str) -> Self;
}

impl Switch for Arg {
    fn switch(self) -> Self {
        self.num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .required(false)
            .value_parser(boolean)
            .value_name("BOOL")
    }

    fn switch_or(self, default: &'static str) -> Self {
        self.switch().default_value(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{ArgAction, Parser as _};

    #[test]
    fn a_serial_number_is_one_however_it_is_written() {
        for text in [
            "0A5B36",
            "a5b36",
            "0xA5b36",
            "0X0a5b36",
            "0a:5B:36",
            " 0A 5B 36",
        ] {
            assert_eq!(serial(text).as_deref(), Ok("A5B36"), "{text}");
        }
        for text in ["", "ZZ", "0x", ":", "5B36h", "-5B", "5B36,5B37", "0x0x5B"] {
            assert!(serial(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_in_whole_percent() {
        for (text, share) in [("90%", 90), ("0", 0), ("100%", 100)] {
            assert_eq!(percent(text), Ok(share));
        }
        for text in ["", "%", "101", "-1%", "+1", "0.9", "90%%", "999"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_to_listen_on_has_a_port() {
        for (text, expected) in [
            ("[::]:6443", "[::]:6443"),
            ("10.0.0.5:1", "10.0.0.5:1"),
            ("localhost:6443", "127.0.0.1:6443"),
            ("LOCALHOST:0", "127.0.0.1:0"),
        ] {
            assert_eq!(listen_address(text).unwrap().to_string(), expected);
        }
        let all = listen_address(":6443").unwrap();
        assert!(all.ip().is_unspecified() && all.port() == 6443, "{all}");
        for text in [
            "",
            "6443",
            ":",
            ":x",
            ":99999",
            ":+1",
            "localhost",
            "localhost:",
            "example.org:6443",
            "127.0.0.1",
            "127.0.0.1:99999",
        ] {
            let error = listen_address(text).unwrap_err();
            assert!(error.contains("127.0.0.1:6443"), "{text}: {error}");
        }
    }

    #[derive(clap::Parser)]
    struct Line {
        #[arg(long, action = ArgAction::Set, switch_or = "true")]
        on: bool,
        #[arg(long, action = ArgAction::Set, switch_or = "false")]
        off: bool,
        #[arg(long, switch())]
        unknown: Option<bool>,
    }

    #[test]
    fn a_switch_is_given_alone_or_with_its_value() {
        for (line, expected) in [
            ("", (true, false, None)),
            ("--on=false --off --unknown", (false, true, Some(true))),
            ("--on --off=t --unknown=0", (true, true, Some(false))),
        ] {
            let words = std::iter::once("x").chain(line.split_whitespace());
            let Line { on, off, unknown } = Line::parse_from(words);
            assert_eq!((on, off, unknown), expected, "{line}");
        }
        for line in ["--on=yes", "--off false", "--unknown="] {
            let words = std::iter::once("x").chain(line.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[test]
    fn booleans_are_read_as_go_reads_them() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(boolean(text), Ok(true), "{text}");
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(boolean(text), Ok(false), "{text}");
        }
        for text in ["", "yes", "tRUE", "2"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }
}
