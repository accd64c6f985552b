//! Errors of TLS in people's words.
//!
//! rustls and webpki print many of their errors as the names of their variants
//! (`Other(OtherError(UnsupportedCertVersion))`). Whoever tells a user of one, in a log line, an
//! answer or an error of their own, words it here: the agent, the controllers and the server alike.
//! No file, host or flag is known here; who calls it says on what it happened.

use super::certificate;
use rustls::{AlertDescription, Error, PeerIncompatible};
use std::io;

/// An error of rustls in words.
pub fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate::words(error),
        Error::AlertReceived(alert) => format!("the other side refused: {}", alert_words(*alert)),
        Error::InvalidMessage(_) => {
            "what the other side sent is no TLS: is it another port, or plain HTTP?".to_owned()
        }
        // A certificate that no suite of TLS 1.2 can use ends here, too.
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "the other side has no TLS version or cipher suite that goes with the certificate here; \
             TLS 1.2 and 1.3 are supported, and with a certificate of an ML-DSA key TLS 1.3 alone"
                .to_owned()
        }
        Error::PeerIncompatible(_) => {
            "the other side has no TLS version, cipher suite or signature \
             algorithm that is supported here; TLS 1.2 and 1.3 are"
                .to_owned()
        }
        Error::NoCertificatesPresented => "the other side presented no certificate".to_owned(),
        Error::NoApplicationProtocol => {
            "the other side speaks none of the protocols that were offered".to_owned()
        }
        Error::InconsistentKeys(_) => {
            "the private key is not the one of the certificate".to_owned()
        }
        Error::FailedToGetCurrentTime => "the clock cannot be read".to_owned(),
        Error::FailedToGetRandomBytes => "the system gives no random bytes".to_owned(),
        Error::General(text) if !text.contains(['{', '(']) => text.clone(),
        Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::DecryptError
        | Error::PeerSentOversizedRecord => "the other side broke the TLS protocol".to_owned(),
        _ => "the TLS library refused it and gave no reason for people".to_owned(),
    }
}

/// An error and its causes in one line, each once, those of TLS in words.
pub fn chain_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let cause = tls_cause(error);
        let more = cause.map_or_else(|| plain_words(error), words);
        if !text.contains(&more) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&more);
        }
        next = error.source().filter(|_| cause.is_none());
    }
    text
}

/// An error that is none of TLS; but rustls tells of an end without a farewell as an I/O error with
/// advice to programmers.
fn plain_words(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error.to_string();
    let is_abrupt = error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
    match is_abrupt && text.contains("close_notify") {
        true => "the other side closed the connection".to_owned(),
        false => text,
    }
}

/// The error of rustls that this is; an I/O error may carry one.
fn tls_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    if let Some(error) = error.downcast_ref::<Error>() {
        return Some(error);
    }
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    tls_cause(inner)
}

fn alert_words(alert: AlertDescription) -> String {
    let known = match alert {
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not accept our certificate"
        }
        AlertDescription::UnsupportedCertificate => "our certificate is of a kind it does not take",
        AlertDescription::CertificateRevoked => "our certificate has been revoked",
        AlertDescription::CertificateExpired => "our certificate has expired, by its clock",
        AlertDescription::UnknownCA => "it does not know the authority of our certificate",
        AlertDescription::CertificateRequired => "it wants a certificate",
        AlertDescription::AccessDenied => "it denies us access",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "no cipher suite or signature algorithm suits both sides (a certificate of an ML-DSA key \
             needs TLS 1.3 and a program that knows it)"
        }
        AlertDescription::ProtocolVersion => "no TLS version suits both sides",
        AlertDescription::UnrecognisedName => "it does not know the name it was asked for",
        AlertDescription::NoApplicationProtocol => "it speaks none of the protocols we offered",
        AlertDescription::InternalError => "it has an internal error",
        other => return format!("TLS alert {}", u8::from(other)),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{CertificateError, OtherError, PeerMisbehaved};
    use std::sync::Arc;

    fn check(error: Error, expected: &str) {
        assert_eq!(words(&error), expected);
        let carried = io::Error::new(io::ErrorKind::InvalidData, error);
        assert_eq!(chain_words(&carried), expected);
    }

    #[test]
    fn errors_are_worded_and_found_where_they_hide() {
        let webpki = OtherError(Arc::new(webpki::Error::UnsupportedCertVersion));
        check(
            Error::InvalidCertificate(CertificateError::Other(webpki)),
            "the certificate is not of version 3, and no other can be verified here; have it issued anew",
        );
        check(
            Error::AlertReceived(AlertDescription::UnknownCA),
            "the other side refused: it does not know the authority of our certificate",
        );
        check(
            Error::AlertReceived(AlertDescription::Unknown(77)),
            "the other side refused: TLS alert 77",
        );
        let name = CertificateError::NotValidForNameContext {
            expected: "else.example".try_into().unwrap(),
            presented: vec![
                "DnsName(\"localhost\")".to_owned(),
                "IpAddress(127.0.0.1)".to_owned(),
            ],
        };
        check(
            Error::InvalidCertificate(name),
            "the certificate is for localhost, 127.0.0.1, not for else.example",
        );
        check(
            Error::General("failed to parse private key".to_owned()),
            "failed to parse private key",
        );
    }

    #[test]
    fn an_end_without_a_farewell_is_an_end() {
        let text = "peer closed connection without sending TLS close_notify: https://docs.rs/x";
        let end = io::Error::new(io::ErrorKind::UnexpectedEof, text);
        assert_eq!(chain_words(&end), "the other side closed the connection");
        let other = io::Error::new(io::ErrorKind::UnexpectedEof, "early eof");
        assert_eq!(chain_words(&other), "early eof");
    }

    #[test]
    fn no_name_of_a_variant_comes_through() {
        let inner = OtherError(Arc::new(io::Error::other("Inner(Thing)")));
        for error in [
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            Error::PeerMisbehaved(PeerMisbehaved::BadCertChainExtensions),
            Error::Other(inner.clone()),
            Error::InvalidCertificate(CertificateError::Other(inner)),
            Error::InvalidCertificate(CertificateError::UnknownIssuer),
            Error::InvalidCertificate(CertificateError::InvalidPurpose),
            Error::General("Thing { member: Some(1) }".to_owned()),
        ] {
            let text = words(&error);
            for mark in ["Error", "Other", "(", "{", "Some", "NoCipher", "Unknown"] {
                assert!(!text.contains(mark), "{text}");
            }
        }
    }
}
