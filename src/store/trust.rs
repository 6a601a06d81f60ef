//! How a server proves over TLS that it is the one, where this machine's authorities and its URL are not the whole truth.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The operator's word on a server's certificate; `Trust::default()` goes by the machine's authorities and the URL's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trust {
    /// Only these vouch for it.
    pub ca: Option<Authorities>,
    /// Its certificate is for this name, which is also asked for.
    pub name: Option<String>,
    /// Nothing is checked: whoever is on the way can read and change everything. For tests.
    pub insecure: bool,
}

/// Certificates of authorities, as the PEM text that the operator gave; cheap to clone.
#[derive(Clone)]
pub struct Authorities(Arc<str>);

impl Authorities {
    pub fn new(pem: impl Into<Arc<str>>) -> Self {
        Self(pem.into())
    }

    pub fn pem(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Authorities {}

/// By length: this is asked with every call, pools differ in little else, and equality looks at all of it.
impl Hash for Authorities {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.len().hash(state);
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of PEM", self.0.len())
    }
}
