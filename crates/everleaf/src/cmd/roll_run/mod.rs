//! `everleaf ca roll run`: carries out rolls of a CA that no `everleaf up` keeps, such as
//! kubeadm's. It holds the keys of both CAs and makes every file that is needed; people put these
//! in place, and it goes on when it has seen that they have.
//!
//! What comes next is decided where it is for `up` ([`crate::up::rolling`]); what has to be seen of
//! such a cluster, in [`everleaf_controllers::roll::apart`].

mod cluster;
mod probe;
mod serving;
mod sight;

use super::ca_renew::is_kept_by_up;
use crate::args::ca::RollRunArgs;
use crate::calls::Calls;
use crate::input;
use crate::kube_client::usual_kubeconfig;
use crate::print;
use crate::shutdown::Shutdown;
use crate::up::authority::is_own_name;
use crate::up::data_dir::DataDir;
use crate::up::ledger::Ledger;
use crate::up::rolling::{ROLL_NAMESPACE, RollState, Rolling, STATUS_NAME};
use anyhow::{Context, Result, anyhow, bail};
use cluster::{Apart, Settings};
use everleaf_controllers::roll::Roll;
use everleaf_controllers::roll::apart::Lack;
use everleaf_node::places::{CA_CERTIFICATE, CA_KEY, STORE};
use everleaf_pki::{Issuer, Leaf, pem};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at the cluster and at the commands for it.
const TURN_INTERVAL: Duration = Duration::from_secs(3);
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Runs until a signal.
pub(super) fn run(args: &RollRunArgs) -> Result<ExitCode> {
    let kubeconfig = usual_kubeconfig(args.server.kubeconfig.as_deref())?;
    if args.data_dir.join(STORE).exists() {
        bail!(
            "--data-dir {}: it is the data directory of an `everleaf up`, which rolls its CA by itself: everleaf ca roll start",
            args.data_dir.display()
        );
    }
    super::runtime()?.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let settings = Settings {
            kubeconfig,
            context: args.server.context.clone(),
            servers: args.apiservers.clone(),
            kind: args.key_algorithm,
            days: args.days,
        };
        let apart = Apart::new(settings)?;
        let given = given(args)?;
        let held = kept(args)?;
        let ca = match (&held, &given) {
            (Some(_), Some(_)) => bail!(
                "--cert-file: {} has a CA already, and goes on with that one; leave --cert-file and --key-file out, or choose another --data-dir",
                args.data_dir.display()
            ),
            (Some(held), None) => held,
            (None, Some(given)) => given,
            (None, None) => bail!(
                "--data-dir {} has no CA yet: name the CA that signs in this cluster (--cert-file, --key-file); both are copied there",
                args.data_dir.display()
            ),
        };
        refuse_unfit(&apart, ca.certificate(), held.is_some()).await?;
        let own = match held.is_some() {
            true => Ledger::read(&DataDir::open(&args.data_dir)?)?.roll,
            false => None,
        };
        let calls = apart.calls()?;
        refuse_another(&calls, own.as_ref()).await?;
        let dir = Arc::new(DataDir::open(&args.data_dir)?);
        if held.is_none() {
            keep(&dir, ca)?;
        }
        let shown = dir.root().display();
        print::answer(&format!(
            "{} is kept in {shown}, which holds its key: nobody else may read it. Begin: everleaf ca roll start; what is to do: everleaf ca roll status",
            ca.certificate().subject_text()
        ))?;
        let rolling = Rolling {
            cluster: apart.kept_in(Arc::clone(&dir)),
            dir,
        };
        tokio::select! {
            () = shutdown.asked() => Ok(()),
            ended = turns(&rolling) => ended,
        }?;
        eprintln!(
            "everleaf: stopped; a roll that is under way stands where it is, and goes on when this is started again"
        );
        Ok(ExitCode::SUCCESS)
    })
}

async fn turns(rolling: &Rolling<Apart>) -> Result<()> {
    let mut state = RollState::open(&rolling.dir)?;
    let mut in_force = None;
    let mut told: Vec<Lack> = Vec::new();
    loop {
        let now = rolling.cluster.now();
        let turn = rolling.turn(&mut state, in_force.as_deref(), now).await;
        in_force = turn.or(in_force);
        for lack in state.lacks().iter().filter(|lack| !told.contains(lack)) {
            tracing::info!("to do: {}: {}", lack.what, lack.remedy);
        }
        if state.lacks().is_empty() && !told.is_empty() {
            tracing::info!("all that was to do is done");
        }
        told = state.lacks().to_vec();
        tokio::time::sleep(TURN_INTERVAL).await;
    }
}

/// The CA that the flags name.
fn given(args: &RollRunArgs) -> Result<Option<Issuer>> {
    let (Some(certificate), Some(key)) = (&args.cert_file, &args.key_file) else {
        return Ok(None);
    };
    if let Some(path) = [certificate, key]
        .into_iter()
        .find(|path| is_kept_by_up(path))
    {
        bail!(
            "{} is in the data directory of an `everleaf up`, which rolls its CA by itself, whoever made it: everleaf ca roll start",
            path.display()
        );
    }
    let read = |flag: &str, path: &std::path::Path| {
        input::read(path, FILE_BYTES_MAX).with_context(|| format!("{flag} {}", path.display()))
    };
    let text = read("--cert-file", certificate)?;
    let key_text = pem::legible(&read("--key-file", key)?);
    let issuer = Issuer::from_pem(&text, &key_text).with_context(|| {
        format!(
            "the CA of --cert-file {} and --key-file {} is not usable",
            certificate.display(),
            key.display()
        )
    })?;
    Ok(Some(issuer))
}

/// The CA that the directory has. It is read before the directory is made or changed.
fn kept(args: &RollRunArgs) -> Result<Option<Issuer>> {
    if !args.data_dir.join(CA_KEY).exists() {
        return Ok(None);
    }
    let dir = DataDir::open(&args.data_dir)?;
    cluster::kept(&dir).map(Some)
}

fn keep(dir: &DataDir, ca: &Issuer) -> Result<()> {
    let key = ca
        .key()
        .context("the key of the CA is not in this process")?;
    dir.write(CA_CERTIFICATE, &ca.certificate_pem())?;
    dir.write(CA_KEY, &key.to_pem())
}

/// Refuses a CA that cannot be rolled here: one that keeps itself, stands below another one, or is
/// another cluster's.
async fn refuse_unfit(apart: &Apart, ca: &Leaf, is_kept: bool) -> Result<()> {
    let subject = ca.subject_text();
    if is_own_name(&ca.subject().common_name) {
        bail!(
            "{subject} is the CA of an `everleaf up`, which rolls it by itself: everleaf ca roll start"
        );
    }
    if !ca.is_signed_by(ca) {
        bail!(
            "{subject} is below another CA: nodes trust that one, and go on trusting it; replace the intermediate with its parent's tools (docs/ca.md)"
        );
    }
    let is_known = apart.is_known(ca).await?;
    if !is_known {
        let help = match is_kept {
            true => {
                "the CA of this cluster was replaced since, or --kubeconfig leads to another cluster; choose another --data-dir"
            }
            false => {
                "look whether --kubeconfig and --cert-file are of one cluster: everleaf ca status"
            }
        };
        bail!(
            "the API server has no certificate of {subject}, and does not take those of its clients: {help}. Nothing is changed"
        );
    }
    Ok(())
}

/// Only one carries out a roll: whoever has its keys.
async fn refuse_another(calls: &Calls, own: Option<&Roll>) -> Result<()> {
    let status = super::roll::read(calls).await?;
    let Some(told) = Roll::of_json(&status["roll"]) else {
        return Ok(());
    };
    let pins = |roll: &Roll| roll.trusted().map(|one| one.pin.clone());
    if own.map(pins) == Some(pins(&told)) {
        return Ok(());
    }
    Err(anyhow!(
        "a roll from {} to {} is under way that is not of this directory (the ConfigMap {ROLL_NAMESPACE}/{STATUS_NAME}): run this with the --data-dir that \
         has its keys. If they are lost, take what was put in place back by hand, and delete that ConfigMap",
        print::harmless_line(&told.from.subject),
        print::harmless_line(&told.to.subject)
    ))
}

/// The name on which the next CA's is built: without the number of a roll before.
fn base_name(ca: &Leaf) -> String {
    let name = &ca.subject().common_name;
    let is_number = |text: &str| {
        text.len() == 8
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let base = match name.rsplit_once('-') {
        Some((base, number)) if is_number(number) && !base.is_empty() => base,
        _ if name.is_empty() => "kubernetes",
        _ => name,
    };
    // A name has at most 64 characters (RFC 5280 A.1), the number among them.
    base.chars().take(55).collect()
}

/// `HOST:PORT` of an API server.
pub(crate) fn place_of(text: &str) -> Result<(String, u16), String> {
    let split = text.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
        let is_host = !host.is_empty() && !host.contains(['/', '@', ' ']);
        is_host.then(|| (host.to_owned(), port))
    });
    split.ok_or_else(|| format!("{text:?}: write HOST:PORT, such as 10.0.0.5:6443"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_pki::{KeyAlgorithm, PrivateKey};

    #[test]
    fn the_next_ca_is_called_after_the_first() {
        let long = "k".repeat(64);
        for (name, base) in [
            ("kubernetes", "kubernetes"),
            ("kubernetes-1a2b3c4d", "kubernetes"),
            ("kubernetes-ca", "kubernetes-ca"),
            ("-1a2b3c4d", "-1a2b3c4d"),
            ("", "kubernetes"),
            (&long, &long[..55]),
        ] {
            let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
            let (begin, end) = (
                "2020-01-01T00:00:00Z".parse().unwrap(),
                "2040-01-01T00:00:00Z".parse().unwrap(),
            );
            let ca = Issuer::self_signed(name, key, [1; 16], begin, end).unwrap();
            assert_eq!(base_name(ca.certificate()), base, "{name}");
        }
    }

    #[test]
    fn an_api_server_is_a_host_and_a_port() {
        let ok = |host: &str, port| Ok((host.to_owned(), port));
        assert_eq!(place_of("10.0.0.5:6443"), ok("10.0.0.5", 6443));
        assert_eq!(place_of("[fd00::1]:443"), ok("fd00::1", 443));
        for wrong in ["h", "h:", ":1", "h:0", "h:66000", "https://h:1", "a b:1"] {
            assert!(place_of(wrong).is_err(), "{wrong}");
        }
    }
}
