//! The chain in a certificate's file: each certificate followed by the one that signed it, up to one that clients know.
//!
//! The last step can only be judged by this machine's own list of authorities, and a site may have an authority of its
//! own, so a missing end is a doubt and no error.

use std::collections::HashSet;
use std::sync::LazyLock;

use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use super::trouble::{Troubles, Weight};

pub fn examine(chain: &[X509Certificate<'_>], troubles: &mut Troubles) {
    for (place, pair) in chain.windows(2).enumerate() {
        let [one, next] = pair else { continue };
        if one.issuer().as_raw() == next.subject().as_raw() {
            continue;
        }
        let is_elsewhere = chain.iter().any(|other| other.subject().as_raw() == one.issuer().as_raw());
        if is_elsewhere && !is_self_signed(one) {
            let text = format!(
                "the chain is in the wrong order: certificate {} must be followed by {}, which signed it",
                place + 1,
                one.issuer()
            );
            return troubles.add(Weight::Wrong, ".cert", text);
        }
        let text = format!("certificate {} ({}) does not belong to the chain; leave it out", place + 2, next.subject());
        return troubles.add(Weight::Doubtful, ".cert", text);
    }
    let Some(last) = chain.last() else { return };
    if is_self_signed(last) {
        if chain.len() == 1 {
            troubles.add(Weight::Doubtful, ".cert", "is signed by itself; browsers warn of it");
        }
        return;
    }
    if !is_known(last.issuer().as_raw()) {
        let text = format!(
            "the chain ends at {}, which this machine does not know: if it is not an authority of your own, the file lacks \
             an intermediate certificate (often called fullchain.pem)",
            last.issuer()
        );
        troubles.add(Weight::Doubtful, ".cert", text);
    }
}

fn is_self_signed(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw()
}

/// Names of the authorities that this machine trusts. Read once: it takes some milliseconds, and there may be hundreds of
/// certificates.
static KNOWN: LazyLock<HashSet<Vec<u8>>> = LazyLock::new(|| {
    let roots = rustls_native_certs::load_native_certs().certs;
    let names = roots.iter().filter_map(|root| Some(parse_x509_certificate(root).ok()?.1.subject().as_raw().to_vec()));
    names.collect()
});

fn is_known(name: &[u8]) -> bool {
    KNOWN.contains(name)
}
