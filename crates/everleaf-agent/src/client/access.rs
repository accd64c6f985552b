//! Where a request goes and as whom: a cluster plus an identity.

use super::token_key;
use crate::kubeconfig::{
    ClientCertificate, Cluster, ExecPlugin, Impersonation, Kubeconfig, Login, User,
};
use crate::secret::Secret;
use everleaf_pki::{Chain, Credential, Fingerprint, Leaf, PrivateKey};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A cluster to speak to, and the identity to speak as. Two that are equal may share connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// How to reach the API server.
    pub cluster: Arc<Cluster>,
    /// As whom.
    pub identity: Identity,
    /// As whom else that one wants to be judged, if at all.
    pub impersonation: Option<Arc<Impersonation>>,
}

impl Access {
    /// That server, spoken to as `identity`, which acts as nobody else.
    pub fn new(cluster: Arc<Cluster>, identity: Identity) -> Self {
        Self {
            cluster,
            identity,
            impersonation: None,
        }
    }

    /// Reads what `kubeconfig` names, now: tokens and certificates may have been replaced since.
    /// The error says which file could not be used; `origin` names the kubeconfig in it.
    pub fn from_kubeconfig(kubeconfig: &Kubeconfig, origin: &Path) -> Result<Self, String> {
        let identity = Identity::from_user(&kubeconfig.user)
            .map_err(|what| format!("kubeconfig {}: {what}", origin.display()))?;
        Ok(Self {
            cluster: Arc::new(kubeconfig.cluster.clone()),
            identity,
            impersonation: kubeconfig.user.impersonation.clone().map(Arc::new),
        })
    }

    /// The same server, spoken to as `identity`, which acts as whom this one acted.
    pub fn with_identity(&self, identity: Identity) -> Self {
        Self {
            cluster: Arc::clone(&self.cluster),
            identity,
            impersonation: self.impersonation.clone(),
        }
    }
}

/// As whom a request is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A client certificate, presented in the TLS handshake.
    Certificate(Presentable),
    /// A bearer token.
    Token(Secret),
    /// User and password (RFC 7617).
    Basic(Login),
    /// Whoever this command says: asked when a request is made, see [`Access::resolved`].
    Exec(Arc<ExecPlugin>),
    /// Nobody: the server decides what anonymous callers may do.
    Anonymous,
}

impl Identity {
    /// The identity of a kubeconfig's user stanza, read from disk where it names files. A client
    /// certificate goes before a token, as API servers judge them, a token before a password, and
    /// all before a command, which is not run here.
    pub fn from_user(user: &User) -> Result<Self, String> {
        if let Some(pair) = &user.client_certificate {
            let certificate = read_credential(pair).and_then(|pair| Presentable::new(&pair));
            if certificate.is_ok() || (user.token.is_none() && user.basic.is_none()) {
                return certificate.map(Self::Certificate);
            }
        }
        match (&user.token, &user.basic, &user.exec) {
            (Some(token), _, _) => token
                .read()
                .map(Self::Token)
                .map_err(|error| format!("cannot use the token: {error}")),
            (None, Some(login), _) => Ok(Self::Basic(login.clone())),
            (None, None, Some(plugin)) => Ok(Self::Exec(Arc::new(plugin.clone()))),
            (None, None, None) => Ok(Self::Anonymous),
        }
    }
}

/// Reads and joins the certificate and the key that a kubeconfig names.
pub fn read_credential(pair: &ClientCertificate) -> Result<Credential, String> {
    let certificate = pair
        .certificate
        .read()
        .map_err(|error| format!("cannot read the client certificate: {error}"))?;
    let key = pair
        .key
        .read()
        .map_err(|error| format!("cannot read the client key: {error}"))?;
    let chain = Chain::from_pem(certificate.expose().as_bytes())
        .map_err(|error| format!("client certificate: {error}"))?;
    let key = PrivateKey::from_stored_pem(key.expose())
        .map_err(|error| format!("client key: {error}"))?;
    Credential::new(chain, key).map_err(|error| format!("client certificate and key: {error}"))
}

/// A credential in the form that the TLS stack presents. Cheap to clone.
#[derive(Clone)]
pub struct Presentable {
    leaf: Leaf,
    key: Arc<CertifiedKey>,
}

impl Presentable {
    /// Prepares a credential; an error when the TLS stack cannot use its key, or that is gone for
    /// good. A token that is away is told when it has to sign.
    pub fn new(credential: &Credential) -> Result<Self, String> {
        let chain = credential
            .chain()
            .certificates()
            .iter()
            .map(|certificate| CertificateDer::from(certificate.der().to_vec()))
            .collect();
        let key = match credential.key().uri() {
            Some(uri) => token_key::open(uri, credential.key().public_key())?,
            None => key_in_memory(credential.key())?,
        };
        Ok(Self {
            leaf: credential.leaf().clone(),
            key: Arc::new(CertifiedKey::new(chain, key)),
        })
    }

    /// The end-entity certificate.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// SHA-256 of the end-entity certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.leaf.fingerprint()
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

fn key_in_memory(key: &PrivateKey) -> Result<Arc<dyn SigningKey>, String> {
    let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice()));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key.clone_key());
    key.map_err(|error| {
        let why = everleaf_tls::words(&error);
        format!("the private key cannot be used for TLS: {why}")
    })
}

impl PartialEq for Presentable {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl Eq for Presentable {}

impl fmt::Debug for Presentable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Presentable")
            .field(&self.fingerprint())
            .finish()
    }
}
