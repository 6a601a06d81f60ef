//! What goes wrong with TLS towards a server, in an operator's words: what it is, and what to do next.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Never a library's own names for things.
pub fn in_words(error: &Error) -> String {
    let (what, next) = match error {
        Error::InvalidCertificate(bad) => return about_certificate(bad),
        Error::NoCertificatesPresented => {
            ("the server shows no certificate", "check ssl_certificate in its nginx".to_owned())
        }
        Error::InvalidMessage(_) => (
            "what answers on this port does not speak TLS",
            "check the port, and whether the server's address begins with http://".to_owned(),
        ),
        Error::AlertReceived(alert) => return about_alert(*alert),
        Error::PeerIncompatible(why) => ("the server and Usher have no way of TLS in common", incompatible(why)),
        Error::UnsupportedNameType => (
            "the server's address is no name that a certificate could have",
            "give one with `usher server set NAME --tls-name HOST`".to_owned(),
        ),
        Error::NoApplicationProtocol => {
            ("the server does not offer HTTP/1.1 over TLS", "check that its port is nginx's port for HTTPS".to_owned())
        }
        Error::DecryptError | Error::PeerMisbehaved(_) => (
            "the server, or something on the way to it, breaks the rules of TLS",
            "check what stands between (firewall, proxy), and the server's nginx and OpenSSL".to_owned(),
        ),
        Error::FailedToGetCurrentTime => ("this machine has no time", "check its clock".to_owned()),
        Error::FailedToGetRandomBytes => ("this machine gives no random numbers", "restart the machine".to_owned()),
        Error::PeerSentOversizedRecord => (
            "what answers on this port does not speak TLS as it should",
            "check the port, and whether the server's address begins with http://".to_owned(),
        ),
        _ => (
            "the handshake with the server failed",
            "try `openssl s_client -connect HOST:PORT -servername HOST` from this machine".to_owned(),
        ),
    };
    format!("TLS: {what}; {next}")
}

fn about_certificate(bad: &CertificateError) -> String {
    const RENEW: &str = "renew it there (certbot renew, then reload nginx)";
    const OWN_CA: &str = "for an authority of your own `usher server set NAME --ca FILE`, or tls.server_ca for all servers; \
                          for a public one the server's nginx must show the whole chain (fullchain.pem)";
    const ANEW: &str = "have it made anew";
    let (what, next) = match bad {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => ("has expired".to_owned(), RENEW),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("is not valid yet".to_owned(), "check the clocks of both machines")
        }
        CertificateError::NotValidForName => ("is for another name".to_owned(), OTHER_NAME),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<String> = presented.iter().map(|name| bare_name(name)).collect();
            let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
            (format!("is for another name ({names}) than {}", expected.to_str()), OTHER_NAME)
        }
        CertificateError::UnknownIssuer => ("comes from an authority that is not trusted here".to_owned(), OWN_CA),
        CertificateError::Revoked => ("was revoked".to_owned(), ANEW),
        CertificateError::BadSignature => (
            "has a signature that does not fit".to_owned(),
            "check that the --ca file is of the authority that signed it, and the order of the chain",
        ),
        CertificateError::BadEncoding | CertificateError::UnhandledCriticalExtension => {
            ("cannot be read".to_owned(), ANEW)
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            ("is not meant for servers".to_owned(), "have it made anew with the usage serverAuth")
        }
        CertificateError::Other(other) => about_other(&other.to_string()),
        other => about_other(&format!("{other:?}")),
    };
    format!("TLS: the server's certificate {what}; {next}")
}

const OTHER_NAME: &str = "give the server's address by the name in its certificate, or say that name with \
                          `usher server set NAME --tls-name HOST`";

/// What only the library underneath has a name for.
fn about_other(name: &str) -> (String, &'static str) {
    let is = |word: &str| name.contains(word);
    if is("CaUsedAsEndEntity") {
        return (
            "is that of an authority, as `openssl req -x509` makes them".to_owned(),
            "have one made for the server, or trust just this one: copy it here and `usher server set NAME --ca FILE`",
        );
    }
    if is("UnsupportedSignature") || is("UnsupportedCertVersion") {
        return (
            "is signed in a way that is no longer trusted (SHA-1, or a key that is too old)".to_owned(),
            "have it made anew with SHA-256",
        );
    }
    if is("NameConstraint") {
        return ("has a name that its authority must not sign".to_owned(), "have it made by another authority");
    }
    if is("PathLen") || is("Depth") || is("EndEntityUsedAsCa") || is("Issuer") {
        return (
            "has a chain in which one must not sign for the next".to_owned(),
            "check the order and the whole of the chain (fullchain.pem) in the server's nginx",
        );
    }
    if is("Revocation") || is("Ocsp") {
        return ("could not be checked for being revoked".to_owned(), "have it made anew without that demand");
    }
    (
        "is refused".to_owned(),
        "look at it with `openssl s_client -connect HOST:PORT -servername HOST` and have it made anew",
    )
}

/// `DnsName("bbb1.example")` → `bbb1.example`.
fn bare_name(name: &str) -> String {
    let inner = name.split_once('(').map_or(name, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"').to_owned()
}

fn incompatible(why: &PeerIncompatible) -> String {
    let told = format!("{why:?}");
    if told.contains("Tls12") || told.contains("Tls13") || told.contains("Version") {
        return "let its nginx speak TLS 1.2 or 1.3 (ssl_protocols)".to_owned();
    }
    "let its nginx offer the usual ciphers and curves (ssl_ciphers, ssl_ecdh_curve)".to_owned()
}

fn about_alert(alert: AlertDescription) -> String {
    let (what, next) = match alert {
        AlertDescription::ProtocolVersion => (
            "the server speaks no version of TLS that Usher does",
            "let its nginx speak TLS 1.2 or 1.3 (ssl_protocols)",
        ),
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => (
            "the server finds nothing in common, or no certificate for this name",
            "check ssl_certificate, ssl_protocols and ssl_ciphers in its nginx",
        ),
        AlertDescription::UnrecognisedName => (
            "the server has no certificate for this name",
            "give the name that it knows with `usher server set NAME --tls-name HOST`",
        ),
        AlertDescription::CertificateRequired
        | AlertDescription::NoCertificate
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => (
            "the server wants a certificate of its clients, and Usher has none",
            "let its nginx take clients without (ssl_verify_client) from Usher's address",
        ),
        AlertDescription::NoApplicationProtocol => {
            ("the server does not offer HTTP/1.1 over TLS", "check that its port is nginx's port for HTTPS")
        }
        AlertDescription::InternalError => ("the server failed at the handshake", "look into the log of its nginx"),
        _ => (
            "the server broke the handshake off",
            "look into the log of its nginx, or try `openssl s_client -connect HOST:PORT -servername HOST`",
        ),
    };
    format!("TLS: {what}; {next}")
}

/// The error of TLS that an I/O error carries: they hide from `source` what they wrap, here one in another.
pub fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    match error.downcast_ref::<std::io::Error>() {
        Some(wrapping) => tls_error(wrapping.get_ref()?),
        None => error.downcast_ref(),
    }
}

/// What an I/O error of a connection to a server is in words; TLS by its own, all else as the system has it.
pub fn io_in_words(error: &std::io::Error) -> String {
    match tls_error(error) {
        Some(tls) => in_words(tls),
        None => cut_short(&error.to_string()).unwrap_or_else(|| error.to_string()),
    }
}

/// The text that the library has for a connection that ended within the handshake.
pub fn cut_short(text: &str) -> Option<String> {
    (text == "tls handshake eof").then(|| {
        "TLS: the server closed the connection during the handshake; check that its port is nginx's port for HTTPS, and its \
         nginx's log"
            .to_owned()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{InvalidMessage, OtherError, PeerMisbehaved};

    use super::*;

    #[derive(Debug)]
    struct Named(&'static str);

    impl std::fmt::Display for Named {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Named {}

    fn other(name: &'static str) -> CertificateError {
        CertificateError::Other(OtherError(Arc::new(Named(name))))
    }

    fn certificates() -> Vec<CertificateError> {
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
        let expected = ServerName::try_from("bbb1.example.org").unwrap();
        let presented = vec!["DnsName(\"localhost\")".to_owned(), "IpAddress(10.0.0.5)".to_owned()];
        vec![
            CertificateError::BadEncoding,
            CertificateError::Expired,
            CertificateError::ExpiredContext { time, not_after: time },
            CertificateError::NotValidYet,
            CertificateError::NotValidYetContext { time, not_before: time },
            CertificateError::Revoked,
            CertificateError::UnhandledCriticalExtension,
            CertificateError::UnknownIssuer,
            CertificateError::UnknownRevocationStatus,
            CertificateError::ExpiredRevocationList,
            CertificateError::BadSignature,
            CertificateError::NotValidForName,
            CertificateError::NotValidForNameContext { expected, presented },
            CertificateError::InvalidPurpose,
            CertificateError::ApplicationVerificationFailure,
            CertificateError::InvalidOcspResponse,
            other("CaUsedAsEndEntity"),
            other("EndEntityUsedAsCa"),
            other("NameConstraintViolation"),
            other("PathLenConstraintViolated"),
            other("UnsupportedCertVersion"),
            other("MaximumSignatureChecksExceeded"),
        ]
    }

    #[test]
    fn no_error_is_told_in_a_librarys_words_and_each_names_a_next_step() {
        let alerts = (0..=u8::MAX).map(|code| Error::AlertReceived(AlertDescription::from(code)));
        let rest = [
            Error::NoCertificatesPresented,
            Error::UnsupportedNameType,
            Error::DecryptError,
            Error::EncryptError,
            Error::HandshakeNotComplete,
            Error::PeerSentOversizedRecord,
            Error::NoApplicationProtocol,
            Error::FailedToGetCurrentTime,
            Error::FailedToGetRandomBytes,
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            Error::PeerMisbehaved(PeerMisbehaved::TooMuchEarlyDataReceived),
            Error::General("SomethingInside".to_owned()),
            Error::BadMaxFragmentSize,
        ];
        let all = certificates().into_iter().map(Error::InvalidCertificate).chain(alerts).chain(rest);
        for error in all {
            let words = in_words(&error);
            let (what, next) = words.split_once("; ").unwrap_or_else(|| unreachable!("no next step: {words}"));
            assert!(what.starts_with("TLS: ") && next.len() > 10, "{words}");
            // The names of types and of their cases are two capitals or more in one word.
            for word in words.split(|letter: char| !letter.is_alphanumeric()) {
                let humps =
                    word.as_bytes().windows(2).filter(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
                let may = ["serverAuth", "OpenSSL"].contains(&word);
                assert!(may || humps.count() == 0, "{word}: {words}");
            }
            assert!(!words.contains("(\"") && !words.contains("Context"), "{words}");
        }
    }

    #[test]
    fn both_names_are_told() {
        let expected = ServerName::try_from("bbb1.example.org").unwrap();
        let presented = vec!["DnsName(\"localhost\")".to_owned(), "DnsName(\"*.example.com\")".to_owned()];
        let words =
            in_words(&Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }));
        assert!(words.contains("is for another name (localhost, *.example.com) than bbb1.example.org; "), "{words}");
        assert!(words.contains("--tls-name"), "{words}");
    }
}
