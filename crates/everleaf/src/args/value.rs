//! Syntax of flag values that Kubernetes shares among its programs.

use std::net::SocketAddr;
use std::time::Duration;

/// A positive duration in Go's syntax (`87600h0m0s`).
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = everleaf_api::duration::parse_go(text)
        .map_err(|why| format!("{why}; write it like 8760h, 1h30m or 87600h0m0s"))?;
    if duration.is_zero() {
        return Err("it must be more than zero".into());
    }
    Ok(duration)
}

/// Where to listen.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address and a port, such as 127.0.0.1:6443 or [::]:6443".into())
}

/// A boolean as Go's flag package reads it.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_has_a_port() {
        assert!(listen_address("[::]:6443").is_ok());
        for text in [
            "",
            "6443",
            ":6443",
            "localhost:6443",
            "127.0.0.1",
            "127.0.0.1:99999",
        ] {
            let error = listen_address(text).unwrap_err();
            assert!(error.contains("127.0.0.1:6443"), "{text}: {error}");
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
