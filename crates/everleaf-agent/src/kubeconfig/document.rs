//! The YAML document as it stands in the file, and the walk from it to a checked [`Kubeconfig`].

use super::{
    ClientCertificate, Cluster, Impersonation, Kubeconfig, KubeconfigError, Login, ProxyUrl,
    ServerUrl, Source, Token, Trust, User, exec,
};
use crate::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use everleaf_pki::pem;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The members that matter here; the rest is ignored, as kubectl does.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    #[serde(default)]
    clusters: Option<Vec<Option<NamedCluster>>>,
    #[serde(default)]
    contexts: Option<Vec<Option<NamedContext>>>,
    #[serde(default)]
    users: Option<Vec<Option<NamedUser>>>,
    #[serde(default)]
    current_context: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedCluster {
    name: Option<String>,
    cluster: Option<ClusterStanza>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct ClusterStanza {
    server: Option<String>,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
    extensions: Option<Vec<exec::Extension>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedContext {
    name: Option<String>,
    context: Option<ContextStanza>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ContextStanza {
    cluster: Option<String>,
    user: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedUser {
    name: Option<String>,
    user: Option<UserStanza>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct UserStanza {
    token: Option<Secret>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    client_certificate: Option<String>,
    client_certificate_data: Option<Secret>,
    client_key: Option<String>,
    client_key_data: Option<Secret>,
    username: Option<Secret>,
    password: Option<Secret>,
    exec: Option<exec::Stanza>,
    auth_provider: Option<serde::de::IgnoredAny>,
    #[serde(rename = "as")]
    impersonate: Option<String>,
    as_uid: Option<String>,
    as_groups: Option<Vec<String>>,
    as_user_extra: Option<BTreeMap<String, Option<Vec<String>>>>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Kubeconfig's "absent or empty".
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The entry of that name. Entries that are null or have no name stand in nobody's way.
fn named<T>(
    entries: Option<Vec<Option<T>>>,
    name_of: impl Fn(&T) -> Option<&String>,
    name: &str,
) -> Option<T> {
    let mut entries = entries.unwrap_or_default().into_iter().flatten();
    entries.find(|entry| name_of(entry).is_some_and(|found| found == name))
}

fn given_secret(text: Option<Secret>) -> Option<Secret> {
    text.filter(|text| !text.expose().is_empty())
}

/// The names of the contexts, the current one first, whether it is there or not.
pub(super) fn contexts(text: &str, origin: &Path) -> Result<Vec<String>, KubeconfigError> {
    let document = parse(text, origin)?;
    let all = document.contexts.unwrap_or_default();
    let named = all.into_iter().flatten().filter_map(|entry| entry.name);
    let mut names: Vec<String> = given(document.current_context).into_iter().collect();
    for name in named {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// What `context`, or else the current one, says.
pub(super) fn resolve(
    text: &str,
    origin: &Path,
    context: Option<&str>,
) -> Result<Kubeconfig, KubeconfigError> {
    let mut document = parse(text, origin)?;
    if let Some(context) = context {
        document.current_context = Some(context.to_owned());
    }
    let mut resolver = Resolver {
        directory: directory_of(origin),
        problems: Vec::new(),
    };
    let resolved = resolver.document(document);
    match resolved {
        Some(kubeconfig) if resolver.problems.is_empty() => Ok(kubeconfig),
        _ => Err(KubeconfigError::Invalid {
            path: origin.to_owned(),
            problems: resolver.problems,
        }),
    }
}

fn parse(text: &str, origin: &Path) -> Result<Document, KubeconfigError> {
    let malformed = |what: String| KubeconfigError::Malformed {
        path: origin.to_owned(),
        what,
    };
    if text.trim().is_empty() {
        return Err(malformed("it is empty".to_owned()));
    }
    crate::yaml::from_str(text).map_err(malformed)
}

/// An absolute directory to resolve relative paths against.
fn directory_of(origin: &Path) -> PathBuf {
    let absolute = std::path::absolute(origin).unwrap_or_else(|_| origin.to_owned());
    absolute
        .parent()
        .map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

/// Walks the document, collecting problems instead of stopping at the first.
struct Resolver {
    directory: PathBuf,
    problems: Vec<String>,
}

impl Resolver {
    fn problem<T>(&mut self, what: impl Into<String>) -> Option<T> {
        self.problems.push(what.into());
        None
    }

    fn document(&mut self, document: Document) -> Option<Kubeconfig> {
        let Some(current) = given(document.current_context) else {
            return self.problem("current-context is not set");
        };
        let context = named(document.contexts, |entry| entry.name.as_ref(), &current)
            .map(|entry| entry.context.unwrap_or_default());
        let Some(context) = context else {
            return self.problem(format!(
                "current-context is {current:?}, but there is no context of that name"
            ));
        };
        let mut extensions = None;
        let name = given(context.cluster);
        let cluster = self.cluster(&current, name, document.clusters, &mut extensions);
        let user = self.user(&current, given(context.user), document.users, extensions);
        let (cluster, user) = (cluster?, user?);
        if cluster.server.is_plain() && user != User::default() {
            let server = &cluster.server;
            return self.problem(format!(
                "server {server} is plain http; credentials are only sent over https"
            ));
        }
        Some(Kubeconfig { cluster, user })
    }

    fn cluster(
        &mut self,
        context: &str,
        name: Option<String>,
        clusters: Option<Vec<Option<NamedCluster>>>,
        extensions: &mut Option<Vec<exec::Extension>>,
    ) -> Option<Cluster> {
        let Some(name) = name else {
            return self.problem(format!("context {context:?} names no cluster"));
        };
        let Some(stanza) = named(clusters, |entry| entry.name.as_ref(), &name) else {
            return self.problem(format!(
                "context {context:?} names cluster {name:?}, which does not exist"
            ));
        };
        let stanza = stanza.cluster.unwrap_or_default();
        *extensions = stanza.extensions;
        let server = match given(stanza.server) {
            None => self.problem(format!("cluster {name:?} has no server")),
            Some(text) => match ServerUrl::parse(&text) {
                Ok(server) => Some(server),
                Err(what) => self.problem(format!("cluster {name:?}: {what}")),
            },
        };
        let bundle = self.source(
            &format!("cluster {name:?}"),
            "certificate-authority",
            stanza.certificate_authority,
            stanza.certificate_authority_data.map(Secret::new),
        );
        let insecure = stanza.insecure_skip_tls_verify.unwrap_or(false);
        let trust = match (bundle, insecure) {
            (Found::Source(_), true) => self.problem(format!(
                "cluster {name:?} has both certificate-authority and insecure-skip-tls-verify; \
                 remove one"
            )),
            (Found::Source(source), false) => Some(Trust::Bundle(source)),
            (Found::Nothing, true) => Some(Trust::DangerouslyAnybody),
            (Found::Nothing, false) => Some(Trust::System),
            (Found::Wrong, _) => None,
        };
        let proxy = match given(stanza.proxy_url).map(|text| ProxyUrl::parse(&text)) {
            None => None,
            Some(Ok(proxy)) => Some(proxy),
            Some(Err(what)) => self.problem(format!("cluster {name:?}: {what}")),
        };
        Some(Cluster {
            server: server?,
            trust: trust?,
            tls_server_name: given(stanza.tls_server_name),
            proxy,
        })
    }

    fn user(
        &mut self,
        context: &str,
        name: Option<String>,
        users: Option<Vec<Option<NamedUser>>>,
        extensions: Option<Vec<exec::Extension>>,
    ) -> Option<User> {
        let Some(name) = name else {
            return self.problem(format!("context {context:?} names no user"));
        };
        let Some(stanza) = named(users, |entry| entry.name.as_ref(), &name) else {
            return self.problem(format!(
                "context {context:?} names user {name:?}, which does not exist"
            ));
        };
        let mut stanza = stanza.user.unwrap_or_default();
        let who = format!("user {name:?}");
        if stanza.auth_provider.is_some() {
            self.problems.push(format!(
                "{who}: auth-provider is not supported; use a token, a client certificate or a \
                 credential plugin (exec)"
            ));
        }
        let impersonation = self.impersonation(&who, &mut stanza);
        let client_certificate = self.client_certificate(&who, &mut stanza);
        let login = (given_secret(stanza.username), given_secret(stanza.password));
        let inline = given_secret(stanza.token);
        let token = match given(stanza.token_file) {
            // `token` beats `tokenFile` for the first value; the file is what is read again
            // (client-go does the same).
            Some(path) => Some(Token::File {
                path: self.directory.join(path),
                fallback: inline,
            }),
            None => inline.map(Token::Inline),
        };
        let basic = match login {
            (None, None) => None,
            (_, _) if token.is_some() => self.problem(format!(
                "{who} has both a token and username or password; remove one"
            )),
            (user, password) => Some(Login {
                user: user.unwrap_or_else(Secret::empty),
                password: password.unwrap_or_else(Secret::empty),
            }),
        };
        let exec = match stanza
            .exec
            .map(|exec| exec::resolve(exec, &self.directory, extensions))
        {
            None => None,
            Some(Ok(plugin)) => Some(plugin),
            Some(Err(problems)) => {
                let problems = problems.into_iter().map(|what| format!("{who}: {what}"));
                self.problems.extend(problems);
                None
            }
        };
        Some(User {
            token,
            client_certificate,
            basic,
            exec,
            impersonation,
        })
    }

    fn client_certificate(
        &mut self,
        who: &str,
        stanza: &mut UserStanza,
    ) -> Option<ClientCertificate> {
        let certificate = self.source(
            who,
            "client-certificate",
            stanza.client_certificate.take(),
            stanza.client_certificate_data.take(),
        );
        let key = self.source(
            who,
            "client-key",
            stanza.client_key.take(),
            stanza.client_key_data.take(),
        );
        match (certificate, key) {
            (Found::Source(certificate), Found::Source(key)) => {
                Some(ClientCertificate { certificate, key })
            }
            (Found::Source(_), Found::Nothing) => {
                self.problem(format!("{who} has a client-certificate but no client-key"))
            }
            (Found::Nothing, Found::Source(_)) => {
                self.problem(format!("{who} has a client-key but no client-certificate"))
            }
            _ => None,
        }
    }

    /// As client-go, which wants a user before anything else of somebody.
    fn impersonation(&mut self, who: &str, stanza: &mut UserStanza) -> Option<Impersonation> {
        let uid = given(stanza.as_uid.take());
        let groups = stanza.as_groups.take().unwrap_or_default();
        let extra: BTreeMap<_, _> = stanza.as_user_extra.take().unwrap_or_default();
        match given(stanza.impersonate.take()) {
            None if uid.is_some() || !groups.is_empty() || !extra.is_empty() => {
                self.problem(format!(
                    "{who} has as-uid, as-groups or as-user-extra without a user to act as (as)"
                ))
            }
            None => None,
            Some(user) => Some(Impersonation {
                user,
                uid,
                groups,
                extra: extra
                    .into_iter()
                    .map(|(name, values)| (name, values.unwrap_or_default()))
                    .collect(),
            }),
        }
    }

    fn source(
        &mut self,
        who: &str,
        member: &str,
        path: Option<String>,
        data: Option<Secret>,
    ) -> Found {
        match (given(path), given_secret(data)) {
            (None, None) => Found::Nothing,
            (Some(path), None) => Found::Source(Source::File(self.directory.join(path))),
            (None, Some(data)) => match decode(&data) {
                Some(text) => Found::Source(Source::Inline(text)),
                None => {
                    self.problems
                        .push(format!("{who}: {member}-data is not base64 of a PEM text"));
                    Found::Wrong
                }
            },
            (Some(_), Some(_)) => {
                self.problems.push(format!(
                    "{who} has both {member} and {member}-data; remove one"
                ));
                Found::Wrong
            }
        }
    }
}

enum Found {
    Source(Source),
    Nothing,
    Wrong,
}

fn decode(data: &Secret) -> Option<Secret> {
    // A folded YAML scalar brings line breaks and blanks along.
    let compact: zeroize::Zeroizing<String> = data
        .expose()
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .collect::<String>()
        .into();
    let bytes = BASE64_STANDARD.decode(compact.as_bytes()).ok()?;
    let bytes = zeroize::Zeroizing::new(bytes);
    Some(Secret::new(std::mem::take(&mut *pem::legible(&bytes))))
}
