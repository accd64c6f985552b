//! Reads what the rules judge a cluster by. Each piece may be missing, or hidden from this user:
//! that is noted, not an error. Only the kubeconfig has to be there.

use crate::args::doctor::DoctorArgs;
use crate::calls::{Answer as Reply, message};
use crate::cmd::why::gather::{Api, known};
use crate::kube_client::{self, Connected, usual_kubeconfig};
use anyhow::{Context, Result};
use everleaf_agent::client::access::read_credential;
use everleaf_agent::join::Announced;
use everleaf_agent::kubeconfig::{Kubeconfig, Trust};
use everleaf_api::meta;
use everleaf_api::revocation;
use everleaf_controllers::doctor::{Answer, Audience, Bundle, Right, Seen, Server, TokenFacts};
use everleaf_controllers::shown_by;
use everleaf_controllers::why::Known;
use futures_util::future::{join, join_all};
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::path::Path;

/// Largest file with authorities.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A namespace that is younger may get its ConfigMap yet.
const NAMESPACE_AGE_MIN: SignedDuration = SignedDuration::from_mins(1);

/// Everything about the cluster of the kubeconfig.
pub(super) async fn cluster(args: &DoctorArgs) -> Result<Seen> {
    let path = usual_kubeconfig(args.server.kubeconfig.as_deref())?;
    let context = args.server.context.as_deref();
    let Connected { client, .. } = kube_client::connect_context(&path, context)?;
    let kubeconfig = Kubeconfig::read_context(&path, context)?;
    let mut seen = Seen {
        server: server(&kubeconfig, &path),
        ..Seen::default()
    };
    seen.bundles.extend(bundle_of(&kubeconfig, &path));
    named(args, &mut seen)?;
    let api = Api::new(client);
    meet(&api, &kubeconfig, &mut seen).await;
    if seen.server.answer == Answer::Yes {
        read(&api, &mut seen).await;
    }
    Ok(seen)
}

/// What the kubeconfig says of the server.
pub(super) fn server(kubeconfig: &Kubeconfig, path: &Path) -> Server {
    let cluster = &kubeconfig.cluster;
    let name = cluster.tls_server_name.as_deref();
    let pair = kubeconfig.user.client_certificate.as_ref();
    let credential = pair.and_then(|pair| read_credential(pair).ok());
    Server {
        url: cluster.server.to_string(),
        authority: cluster.server.authority(),
        name: name.unwrap_or(cluster.server.host()).to_owned(),
        trusts_anybody: matches!(cluster.trust, Trust::DangerouslyAnybody),
        credential: credential.map(|pair| pair.leaf().clone()),
        kubeconfig: path.display().to_string(),
        ..Server::default()
    }
}

/// Whom the kubeconfig trusts.
pub(super) fn bundle_of(kubeconfig: &Kubeconfig, path: &Path) -> Option<Bundle> {
    let Trust::Bundle(source) = &kubeconfig.cluster.trust else {
        return None;
    };
    Some(Bundle {
        origin: path.display().to_string(),
        audience: Audience::Kubeconfig,
        pem: match source.read() {
            Ok(text) => Known::Read(text.expose().to_owned()),
            Err(error) => Known::Hidden(error.to_string()),
        },
    })
}

/// The files of `--ca`.
pub(super) fn named(args: &DoctorArgs, seen: &mut Seen) -> Result<()> {
    for path in &args.ca {
        let bytes = crate::input::read(path, FILE_BYTES_MAX)
            .with_context(|| format!("cannot read {} (--ca)", path.display()))?;
        seen.bundles.push(Bundle {
            origin: path.display().to_string(),
            audience: Audience::Named,
            pem: Known::Read(everleaf_pki::pem::legible(&bytes).to_string()),
        });
    }
    Ok(())
}

/// Asks the server whether it is there, and looks whom it shows itself to be.
pub(super) async fn meet(api: &Api, kubeconfig: &Kubeconfig, seen: &mut Seen) {
    let cluster = &kubeconfig.cluster;
    let shown = async {
        if cluster.server.is_plain() {
            return Known::Absent;
        }
        if cluster.proxy.is_some() {
            return Known::Hidden("the kubeconfig names a proxy".to_owned());
        }
        let (host, port) = (cluster.server.host(), cluster.server.port());
        match shown_by(host, port, &seen.server.name).await {
            Ok(ders) => Known::Read(ders),
            Err(error) => Known::Hidden(error.to_string()),
        }
    };
    let asked = async {
        let version = api.send(Method::GET, "/version", None).await;
        let ready = api.send(Method::GET, "/readyz", None).await;
        (version, ready)
    };
    let (shown, (version, ready)) = join(shown, asked).await;
    api.read_clocks(&mut seen.cluster);
    seen.server.answer = match &version {
        Err(why) => Answer::None(why.clone()),
        Ok(Reply { status, body }) if *status == StatusCode::UNAUTHORIZED => {
            Answer::Refused(message(*status, body))
        }
        Ok(_) => Answer::Yes,
    };
    // Who does not answer shows nothing either: said once.
    seen.server.shown = match (shown, &seen.server.answer) {
        (Known::Hidden(_), Answer::None(_)) => Known::Absent,
        (shown, _) => shown,
    };
    seen.server.readiness = match ready {
        Ok(Reply { status, body }) => Known::Read((status.as_u16(), message(status, &body))),
        Err(why) => Known::Hidden(why),
    };
    seen.cluster.version = match known(version) {
        Known::Read(version) => match version["gitVersion"].as_str() {
            Some(text) => Known::Read(text.to_owned()),
            None => Known::Absent,
        },
        Known::Absent => Known::Absent,
        Known::Hidden(why) => Known::Hidden(why),
    };
}

async fn read(api: &Api, seen: &mut Seen) {
    const IN_SYSTEM: &str = "/api/v1/namespaces/kube-system";
    const IN_PUBLIC: &str = "/api/v1/namespaces/kube-public/configmaps";
    api.cluster(&mut seen.cluster, None, &[]).await;
    let tokens = format!("{IN_SYSTEM}/secrets");
    let tokens = api.list(
        &tokens,
        "&fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken",
    );
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let (tokens, leases) = join(tokens, api.list(leases, "")).await;
    seen.tokens = tokens.map(|secrets| secrets.iter().filter_map(TokenFacts::of).collect());
    seen.node_leases = leases;
    let maps = [
        format!("{IN_PUBLIC}/cluster-info"),
        format!("{IN_SYSTEM}/configmaps/{}", revocation::NAME),
        format!("{IN_PUBLIC}/{}", revocation::LIST_NAME),
        format!("{IN_SYSTEM}/configmaps/kube-root-ca.crt"),
    ];
    let maps = join_all(maps.iter().map(|path| api.get(path))).await;
    let mut maps = maps.into_iter();
    let mut next = || maps.next().unwrap_or_default();
    seen.cluster_info = next();
    seen.revocations = next();
    seen.revocation_list = next();
    let root_ca = next();
    seen.without_root_ca = without_root_ca(api, seen.cluster.now).await;
    bundles(root_ca, seen);
    let groups = token_groups(seen);
    let rights = Right::all(&groups);
    let answers = join_all(rights.iter().map(|right| api.allows(right.body()))).await;
    seen.rights = rights.into_iter().zip(answers).collect();
}

/// Extra groups of each token that lets somebody in.
fn token_groups(seen: &Seen) -> Vec<Vec<String>> {
    let tokens = seen.tokens.read().into_iter().flatten();
    let good =
        tokens.filter(|token| token.authenticates && !token.expiration.is_past(seen.cluster.now));
    good.map(|token| token.groups.clone()).collect()
}

fn bundles(root_ca: Known<Value>, seen: &mut Seen) {
    seen.bundles.push(Bundle {
        origin: "extension-apiserver-authentication".to_owned(),
        audience: Audience::Clients,
        pem: seen.cluster.client_ca.clone(),
    });
    // That it is absent is told of all namespaces at once.
    let text = |map: Value| {
        map["data"]["ca.crt"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    seen.bundles.push(Bundle {
        origin: "kube-root-ca.crt".to_owned(),
        audience: Audience::Pods,
        pem: root_ca.map(text),
    });
    if let Known::Read(map) = &seen.cluster_info {
        seen.bundles.push(Bundle {
            origin: "cluster-info".to_owned(),
            audience: Audience::Joining,
            pem: match Announced::read_trusted(map) {
                Ok(announced) => Known::Read(announced.ca_pem),
                Err(error) => Known::Hidden(error.to_string()),
            },
        });
    }
}

/// Active namespaces without a ConfigMap kube-root-ca.crt.
async fn without_root_ca(api: &Api, now: Timestamp) -> Known<Vec<String>> {
    let selector = "&fieldSelector=metadata.name%3Dkube-root-ca.crt";
    let lists = join(
        api.list("/api/v1/namespaces", ""),
        api.list("/api/v1/configmaps", selector),
    );
    match lists.await {
        (Known::Read(namespaces), Known::Read(maps)) => {
            let has_one = |name: &str| maps.iter().any(|map| meta::namespace(map) == name);
            let is_old = |namespace: &Value| {
                meta::creation_timestamp(namespace)
                    .is_none_or(|at| now.duration_since(at) > NAMESPACE_AGE_MIN)
            };
            let active = namespaces.iter().filter(|namespace| {
                meta::deletion_timestamp(namespace).is_none() && is_old(namespace)
            });
            let names = active.map(meta::name).filter(|name| !has_one(name));
            Known::Read(names.map(str::to_owned).collect())
        }
        (Known::Hidden(why), _) | (_, Known::Hidden(why)) => Known::Hidden(why),
        _ => Known::Absent,
    }
}
