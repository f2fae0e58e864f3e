//! Error messages for TLS: whose certificate failed, and why.

use std::borrow::Cow;
use std::io;

use redis::RedisError;
use rustls::{AlertDescription, CertificateError, Error};

use super::config::Session;
use crate::error::{Lasts, TlsError, io_error};

/// How many names of a certificate a message contains.
const MOST_NAMES: usize = 4;

/// Turns an error of rustls into one with a message. `shows_certificate`: the client has one.
pub(super) fn session_error(error: &Error, shows_certificate: bool) -> io::Error {
    let (lasts, text): (Lasts, Cow<'static, str>) = match error {
        Error::InvalidCertificate(why) => (Lasts::UntilChanged, about_certificate(why)),
        Error::NoCertificatesPresented => (Lasts::UntilChanged, "the server shows no certificate".into()),
        Error::AlertReceived(alert) => about_alert(*alert, shows_certificate),
        Error::InvalidMessage(_) => (Lasts::UntilChanged, "the server does not speak TLS on this port".into()),
        Error::PeerIncompatible(why) => {
            (Lasts::UntilChanged, format!("no version or cipher of TLS in common with the server ({why:?})").into())
        }
        other => (Lasts::Once, format!("TLS failed: {other}").into()),
    };
    TlsError::new(lasts, text).within(io::ErrorKind::InvalidData)
}

/// Adds a message to an error that rustls returned to the redis crate.
pub(crate) fn with_message(error: RedisError, session: Option<&Session>) -> RedisError {
    let inner = io_error(&error).and_then(|error| error.get_ref()?.downcast_ref::<Error>());
    match inner {
        Some(inner) => session_error(inner, session.is_none_or(|session| session.shows_certificate)).into(),
        None => error,
    }
}

/// Turns the error that ended a handshake into one with a message. `was_answered`: the server had begun to answer.
pub(super) fn handshake_error(error: io::Error, was_answered: bool) -> io::Error {
    let kind = error.kind();
    let (lasts, text) = match (kind, was_answered) {
        _ if TlsError::inside(&error).is_some() => return error,
        (io::ErrorKind::TimedOut, false) => {
            (Lasts::Once, "the server did not begin the TLS handshake; perhaps this port does not speak TLS")
        }
        (io::ErrorKind::TimedOut, true) => (Lasts::Once, "the TLS handshake was not over in time"),
        // A server with too many clients cannot send an error before the handshake.
        (_, false) if is_closed(kind) => (
            Lasts::WhileFull,
            "the server closed the connection before the TLS handshake; perhaps it accepts no more clients",
        ),
        (_, true) if is_closed(kind) => (Lasts::Once, "the server closed the connection during the TLS handshake"),
        _ => return error,
    };
    TlsError::new(lasts, text).within(kind)
}

fn is_closed(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(kind, UnexpectedEof | ConnectionReset | BrokenPipe)
}

fn about_certificate(error: &CertificateError) -> Cow<'static, str> {
    match error {
        CertificateError::UnknownIssuer => {
            "the server's certificate is not signed by an authority that is trusted here (unknown CA)".into()
        }
        // This is the error if a trusted authority has the same name.
        CertificateError::BadSignature => {
            "the server's certificate is not signed by the authority of this name that is trusted here (unknown CA)"
                .into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet".into()
        }
        CertificateError::Revoked => "the server's certificate was revoked".into(),
        CertificateError::NotValidForName => "the server's certificate is for another name (wrong name)".into(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let shown: Vec<&str> = presented.iter().take(MOST_NAMES).map(|name| bare(name)).collect();
            let shown =
                if shown.is_empty() { "no name (it has no subjectAltName)".to_owned() } else { shown.join(", ") };
            let expected = expected.to_str();
            format!("the server's certificate is not for the name {expected} (wrong name); it is for: {shown}").into()
        }
        other => {
            let why = format!("{other:?}");
            match why.as_str() {
                // The default of openssl for a self-signed certificate.
                why if why.contains("CaUsedAsEndEntity") => {
                    "the server's certificate is that of an authority; the server needs one of its own, signed by it"
                        .into()
                }
                why if why.contains("UnsupportedCertVersion") => {
                    "the server's certificate is of X.509 version 1, which bears no names; it has to be of version 3"
                        .into()
                }
                why => format!("the server's certificate is bad ({why})").into(),
            }
        }
    }
}

/// A name without its kind: of `DnsName("redis.example")`, `redis.example`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// Returns the message for an alert of the server.
fn about_alert(alert: AlertDescription, shows_certificate: bool) -> (Lasts, Cow<'static, str>) {
    let name = name_of(alert);
    let text: Cow<'static, str> = match (alert, shows_certificate) {
        (AlertDescription::CertificateRequired, true) => {
            "the server asks for a client certificate of another kind than the one that was given (certificate required)"
                .into()
        }
        (AlertDescription::CertificateRequired, false) => {
            "the server asks for a client certificate, and none was given (certificate required)".into()
        }
        // TLS 1.2 sends no more detail.
        (AlertDescription::HandshakeFailure, false) => {
            format!("the server refused the TLS handshake; perhaps a client certificate is required ({name})").into()
        }
        (AlertDescription::UnknownCA, true) => {
            format!("the server refused the client certificate: it does not trust its authority ({name})").into()
        }
        (AlertDescription::CertificateExpired, true) => {
            format!("the server refused the client certificate: it has expired ({name})").into()
        }
        (
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError,
            true,
        ) => format!("the server refused the client certificate ({name})").into(),
        _ if lasts(alert) => format!("the server refused the TLS handshake ({name})").into(),
        _ => return (Lasts::Once, format!("the server ended TLS ({name})").into()),
    };
    (Lasts::UntilChanged, text)
}

/// Returns whether the next handshake will fail as well.
fn lasts(alert: AlertDescription) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRevoked, CertificateUnknown, DecryptError,
        HandshakeFailure, InsufficientSecurity, ProtocolVersion, UnknownCA, UnrecognisedName, UnsupportedCertificate,
    };
    matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRevoked
            | CertificateUnknown
            | DecryptError
            | HandshakeFailure
            | InsufficientSecurity
            | ProtocolVersion
            | UnknownCA
            | UnrecognisedName
            | UnsupportedCertificate
    )
}

/// Returns the usual name of an alert: `handshake failure`, `unknown CA`.
fn name_of(alert: AlertDescription) -> String {
    let mut spaced = String::new();
    for letter in format!("{alert:?}").chars() {
        if letter.is_uppercase() && spaced.ends_with(char::is_lowercase) {
            spaced.push(' ');
        }
        spaced.push(letter);
    }
    let is_short = |word: &str| word.len() > 1 && word.chars().all(char::is_uppercase);
    let words = spaced.split(' ').map(|word| if is_short(word) { word.to_owned() } else { word.to_lowercase() });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{handshake_error, name_of, session_error};
    use crate::error::{Lasts, TlsError};
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
    use std::io;

    #[test]
    fn alerts_have_their_usual_names() {
        for (alert, name) in [
            (AlertDescription::UnknownCA, "unknown CA"),
            (AlertDescription::HandshakeFailure, "handshake failure"),
            (AlertDescription::CertificateRequired, "certificate required"),
        ] {
            assert_eq!(name_of(alert), name);
        }
    }

    #[test]
    fn messages_name_the_certificate_and_the_fault() {
        for (error, shows, said, lasts) in [
            (Error::InvalidCertificate(CertificateError::Expired), false, "server's certificate has expired", true),
            (Error::InvalidCertificate(CertificateError::NotValidYet), false, "not valid yet", true),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), true, "unknown CA", true),
            (Error::AlertReceived(AlertDescription::UnknownCA), true, "refused the client certificate", true),
            (Error::AlertReceived(AlertDescription::CertificateRequired), false, "asks for a client certificate", true),
            (Error::AlertReceived(AlertDescription::HandshakeFailure), false, "client certificate is required", true),
            (Error::AlertReceived(AlertDescription::InternalError), false, "ended TLS (internal error)", false),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), false, "does not speak TLS", true),
        ] {
            let explained = session_error(&error, shows);
            let found = TlsError::inside(&explained).unwrap();
            assert!(found.to_string().contains(said), "{found} does not say {said:?}");
            assert_eq!(found.lasts() == Lasts::UntilChanged, lasts, "{found}");
        }
    }

    #[test]
    fn the_names_of_a_certificate_are_shown_without_their_kind() {
        let not_for = |presented: &[&str]| {
            let presented = presented.iter().map(ToString::to_string).collect();
            let expected = "10.0.0.1".try_into().unwrap();
            let error = CertificateError::NotValidForNameContext { expected, presented };
            session_error(&Error::InvalidCertificate(error), false).to_string()
        };
        let names = ["DnsName(\"redis.example\")", "IpAddress(10.0.0.7)"];
        assert!(not_for(&names).ends_with("(wrong name); it is for: redis.example, 10.0.0.7"), "{}", not_for(&names));
        assert!(not_for(&[]).contains("no subjectAltName"));
    }

    #[test]
    fn a_server_that_closes_at_once_may_be_full() {
        let closed = |was_answered| handshake_error(io::ErrorKind::UnexpectedEof.into(), was_answered);
        let lasts = |error: &io::Error| TlsError::inside(error).unwrap().lasts();
        assert_eq!(lasts(&closed(false)), Lasts::WhileFull);
        assert_eq!(lasts(&closed(true)), Lasts::Once);
        assert_eq!(closed(true).kind(), io::ErrorKind::UnexpectedEof);
        let silent = handshake_error(io::ErrorKind::TimedOut.into(), false);
        assert!(silent.to_string().contains("does not speak TLS") && silent.kind() == io::ErrorKind::TimedOut);
    }
}
