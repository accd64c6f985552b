//! `everleaf agent join`: a machine becomes a node by one line; and the directory that it leaves,
//! from which `everleaf agent --data-dir` goes on.
//!
//! Whom to trust is decided by [`everleaf_agent::join`]; here are the files.

use crate::args::agent::{AgentArgs, JoinArgs};
use crate::args::{AgentCli, value};
use crate::config::config;
use crate::failure::UsageError;
use crate::input;
use crate::places::{CA_CERTIFICATE, CA_KEY, STORE, default_root_of};
use crate::print;
use anyhow::{Context, Result, anyhow, bail};
use clap::Parser as _;
use everleaf_agent::client::ApiClient;
use everleaf_agent::join::{Announced, BootstrapToken, CaPin, Invitation};
use everleaf_agent::kubeconfig::{
    Cluster, Names, ServerUrl, Source, Token, Trust, User, write_private,
};
use everleaf_agent::{Clock, Kubeconfig, Secret, SystemClock};
use everleaf_pki::Chain;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The token and how to reach the server, until there is a certificate.
const BOOTSTRAP: &str = "bootstrap-kubelet.conf";
/// Written by the agent.
pub(crate) const KUBECONFIG: &str = "kubelet.conf";
/// Its cert dir.
const CERT_DIR: &str = "pki";
/// What else the agent is to know. Written last: with it the directory is whole.
const SETTINGS: &str = "agent.yaml";
/// The current client certificate.
const CURRENT: &str = "pki/kubelet-client-current.pem";
/// Largest token or settings file that is read.
const BYTES_MAX: u64 = 64 << 10;

/// What `agent.yaml` says.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// `--hostname-override`; empty for the host's name.
    #[serde(default)]
    hostname_override: String,
    /// `--node-ip`; empty for none.
    #[serde(default, rename = "nodeIP")]
    node_ip: String,
    /// `--rotate-server-certificates`
    #[serde(default)]
    rotate_server_certificates: bool,
    /// `--ca-refresh-interval`; empty for the agent's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ca_refresh_interval: String,
}

/// Joins, and says how the agent is to be run; none: not now.
pub(crate) fn join(args: &JoinArgs, program: &str) -> Result<Option<Box<AgentArgs>>> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let root = match &args.data_dir {
        Some(root) => root.clone(),
        None => default_root_of("everleaf-agent")?,
    };
    let root = std::path::absolute(&root).with_context(|| root.display().to_string())?;
    let invitation = invitation(args)?;
    let mut settings = Settings {
        hostname_override: args.hostname_override.clone().unwrap_or_default(),
        node_ip: args.node_ip.clone().unwrap_or_default(),
        rotate_server_certificates: args.rotate_server_certificates,
        ca_refresh_interval: args.ca_refresh_interval.clone().unwrap_or_default(),
    };
    let agent = agent_args(&root)?;
    // What the agent would refuse later is refused before anything is asked or written.
    let node = config(&with_settings(&agent, &root, &settings)?)?.node_name;
    // The host may be renamed: the node keeps its name.
    settings.hostname_override.clone_from(&node);
    refuse_system(&root)?;
    refuse_identity(&root, args.replace, program)?;
    let announced = discover(&invitation, args)?;
    // From here to the end nobody else joins in that directory.
    let _held = hold(&root)?;
    refuse_identity(&root, args.replace, program)?;
    if args.replace {
        put_aside(&root)?;
    }
    write(&root, &invitation, &announced, &settings)?;
    let pins: Vec<String> = announced.pins().iter().map(ToString::to_string).collect();
    let shown = root.display();
    let verb = match args.no_start {
        true => "Start it with",
        false => "It runs now; after a restart of this machine go on with",
    };
    print::line(&format!(
        "This machine joins {} as node {node}.\n\n  authority   {}\n  files       {shown}\n\n{verb}:\n  {program} --data-dir {shown}",
        invitation.server,
        pins.join(", ")
    ));
    Ok((!args.no_start).then_some(agent))
}

/// What `agent --data-dir` is given by what `join` has written.
///
/// # Errors
/// It has written nothing there.
pub(crate) fn with_data_dir(args: &AgentArgs, program: &str) -> Result<Option<AgentArgs>> {
    let Some(root) = &args.data_dir else {
        return Ok(None);
    };
    let root = std::path::absolute(root).with_context(|| root.display().to_string())?;
    let path = root.join(SETTINGS);
    let bytes = input::read(&path, BYTES_MAX).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!(
            "--data-dir {}: there is no {SETTINGS} in it, which `{program} join` writes; join first",
            root.display()
        ),
        _ => anyhow!("cannot read {}: {error}", path.display()),
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let settings: Settings = serde_saphyr::from_str(&text)
        .map_err(|error| anyhow!("cannot read {}: {error}", path.display()))?;
    with_settings(args, &root, &settings)
        .map(Some)
        .with_context(|| format!("cannot read {}", path.display()))
}

/// The flags win.
fn with_settings(args: &AgentArgs, root: &Path, settings: &Settings) -> Result<AgentArgs> {
    let or = |given: &Option<PathBuf>, name: &str| given.clone().or_else(|| Some(root.join(name)));
    let text = |given: &Option<String>, own: &str| match (given, own) {
        (None, "") => None,
        (None, own) => Some(own.to_owned()),
        (given, _) => given.clone(),
    };
    let interval = match settings.ca_refresh_interval.as_str() {
        "" => None,
        text => {
            let read = value::any_duration(text);
            Some(read.map_err(|why| anyhow!("caRefreshInterval: {text}: {why}"))?)
        }
    };
    Ok(AgentArgs {
        ca_refresh_interval: args.ca_refresh_interval.or(interval),
        bootstrap_kubeconfig: or(&args.bootstrap_kubeconfig, BOOTSTRAP),
        kubeconfig: or(&args.kubeconfig, KUBECONFIG),
        cert_dir: or(&args.cert_dir, CERT_DIR),
        rotate_certificates: args.rotate_certificates.or(Some(true)),
        rotate_server_certificates: args
            .rotate_server_certificates
            .or(Some(settings.rotate_server_certificates)),
        hostname_override: text(&args.hostname_override, &settings.hostname_override),
        node_ip: text(&args.node_ip, &settings.node_ip),
        data_dir: None,
        ..args.clone()
    })
}

/// The agent as that command line means it.
fn agent_args(root: &Path) -> Result<Box<AgentArgs>> {
    let words = ["everleaf-agent", "--data-dir"].map(std::ffi::OsString::from);
    let line = words.into_iter().chain([root.as_os_str().to_owned()]);
    match AgentCli::try_parse_from(line) {
        Ok(cli) => Ok(Box::new(cli.agent)),
        Err(_) => bail!(
            "--data-dir {}: cannot be given to the agent",
            root.display()
        ),
    }
}

fn invitation(args: &JoinArgs) -> Result<Invitation> {
    let usage = |what: String| anyhow::Error::new(UsageError(what));
    let url = match args.url.contains("://") {
        true => args.url.clone(),
        false => format!("https://{}", args.url),
    };
    let server = ServerUrl::parse(&url).map_err(usage)?;
    if server.is_plain() {
        let what = format!("{server} must start with https://: a token is sent to it");
        return Err(usage(what));
    }
    let text = match (&args.token, &args.token_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => read_token(path)?,
        (None, None) => return Err(usage("--token or --token-file is needed".to_owned())),
    };
    let token = BootstrapToken::parse(text.expose().trim()).ok_or_else(|| {
        usage("--token: a token is six small letters or digits, a dot, and sixteen more".to_owned())
    })?;
    let pins = args.ca_cert_hash.iter().map(|text| CaPin::parse(text));
    let pins: Result<Vec<CaPin>, String> = pins.collect();
    Ok(Invitation {
        server,
        token,
        pins: pins.map_err(|why| usage(format!("--ca-cert-hash: {why}")))?,
    })
}

fn read_token(path: &Path) -> Result<Secret> {
    let bytes = match path == Path::new("-") {
        true => input::to_end(&mut std::io::stdin().lock(), BYTES_MAX),
        false => input::read(path, BYTES_MAX),
    };
    let bytes = bytes.with_context(|| format!("--token-file {}", path.display()))?;
    Ok(Secret::new(String::from_utf8_lossy(&bytes).into_owned()))
}

fn discover(invitation: &Invitation, args: &JoinArgs) -> Result<Announced> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let client = ApiClient::new(Arc::new(SystemClock::new()));
    let patience = args.timeout;
    let tell = |error: &_| {
        tracing::warn!("{error}; trying again for up to {} s", patience.as_secs());
    };
    let discovered = runtime.block_on(invitation.discover(&client, patience, tell));
    discovered.with_context(|| format!("cannot join {}; nothing was written", invitation.server))
}

/// Who this machine is by what is there, if anybody.
fn identity(root: &Path) -> Option<String> {
    let pem = fs::read(root.join(CURRENT)).ok();
    let chain = pem.and_then(|pem| Chain::from_pem(&pem).ok());
    if let Some(chain) = chain {
        let leaf = chain.leaf();
        let (name, end) = (&leaf.subject().common_name, leaf.not_after());
        return Some(format!("{name}, until {end}"));
    }
    let is_there = [KUBECONFIG, CERT_DIR].map(|name| fs::symlink_metadata(root.join(name)).is_ok());
    is_there
        .contains(&true)
        .then(|| "one that cannot be read".to_owned())
}

fn refuse_identity(root: &Path, replaces: bool, program: &str) -> Result<()> {
    match identity(root) {
        Some(identity) if !replaces => bail!(
            "{0} holds an identity already ({identity}): nothing is changed. Go on with it ({program} --data-dir {0}), or join anew and put \
             it aside with --replace",
            root.display()
        ),
        _ => Ok(()),
    }
}

/// What `everleaf up` and `apiserver` keep is nobody's to put aside.
fn refuse_system(root: &Path) -> Result<()> {
    let parts = [STORE, CA_KEY, CA_CERTIFICATE, "ca.key"];
    let part = parts
        .into_iter()
        .find(|part| fs::symlink_metadata(root.join(part)).is_ok());
    match part {
        Some(part) => bail!(
            "--data-dir {}: {part} is in it, so it is the directory of an authority or an API server (`everleaf up`): nothing is changed. Join with a \
             directory of its own",
            root.display()
        ),
        None => Ok(()),
    }
}

/// Holds the directory, which is made where it is not there, against another `join`; until dropped.
///
/// # Errors
/// Somebody else holds it; it cannot be made.
fn hold(root: &Path) -> Result<File> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .and_then(|()| File::open(root))
        .map_err(anyhow::Error::from)
        .and_then(
            |directory| match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(directory),
                Err(Errno::WOULDBLOCK) => bail!("another join is at work there; wait for it"),
                Err(error) => Err(error.into()),
            },
        )
        .with_context(|| format!("--data-dir {}", root.display()))
}

/// Moves the identity out of the way, into a directory beside it.
fn put_aside(root: &Path) -> Result<()> {
    let Some(identity) = identity(root) else {
        return Ok(());
    };
    // An agent that runs would go on writing into what is moved.
    let _lock = everleaf_rotation::store::dir::CertDir::open(&root.join(CERT_DIR))
        .map_err(|error| anyhow!("cannot put the identity aside: {error}"))?;
    let stamp = Timestamp::from_second(SystemClock::new().wall().as_second())?;
    let aside = root.join(format!("replaced-{}", stamp.strftime("%Y-%m-%d-%H-%M-%S")));
    let failed = || format!("cannot put the identity aside, into {}", aside.display());
    fs::create_dir(&aside).with_context(failed)?;
    for name in [SETTINGS, BOOTSTRAP, KUBECONFIG, CERT_DIR] {
        match fs::rename(root.join(name), aside.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(failed);
            }
            _ => {}
        }
    }
    let aside = aside.display();
    print::line(&format!(
        "The identity that was there ({identity}) is put aside: {aside}"
    ));
    Ok(())
}

fn write(
    root: &Path,
    invitation: &Invitation,
    announced: &Announced,
    settings: &Settings,
) -> Result<()> {
    let kubeconfig = Kubeconfig {
        cluster: Cluster {
            server: invitation.server.clone(),
            trust: Trust::Bundle(Source::Inline(Secret::new(announced.ca_pem.clone()))),
            tls_server_name: None,
            proxy: None,
        },
        user: User {
            token: Some(Token::Inline(invitation.token.bearer())),
            ..User::default()
        },
    };
    let bootstrap = root.join(BOOTSTRAP);
    kubeconfig.write(&bootstrap, &Names::BOOTSTRAP)?;
    let path = root.join(SETTINGS);
    let yaml = serde_saphyr::to_string(settings)?;
    let text = format!(
        "# Written by `everleaf agent join`; flags of `everleaf agent` win over it.\n{yaml}"
    );
    write_private(&path, text.as_bytes())
        .inspect_err(|_| {
            // A token that nobody goes on with is not left behind.
            let _ = fs::remove_file(&bootstrap);
        })
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::config as resolve;
    use std::time::Duration;

    fn parsed(line: &str) -> AgentArgs {
        let words = ["everleaf-agent"]
            .into_iter()
            .chain(line.split_whitespace());
        AgentCli::try_parse_from(words).unwrap().agent
    }

    #[test]
    fn a_directory_stands_for_flags_and_flags_win() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        let line = format!("--data-dir {}", root.display());
        let error = with_data_dir(&parsed(&line), "everleaf-agent")
            .unwrap_err()
            .to_string();
        assert!(error.contains("join first"), "{error}");
        fs::write(
            root.join(SETTINGS),
            "hostnameOverride: n2\nnodeIP: 10.0.0.2\nrotateServerCertificates: true\n",
        )
        .unwrap();
        let args = with_data_dir(&parsed(&line), "everleaf-agent")
            .unwrap()
            .unwrap();
        let config = resolve(&args).unwrap();
        assert_eq!(config.node_name, "n2");
        assert_eq!(
            config.node_ips,
            ["10.0.0.2".parse::<std::net::IpAddr>().unwrap()]
        );
        assert_eq!(config.cert_dir, root.join("pki"));
        assert_eq!(config.kubeconfig, root.join("kubelet.conf"));
        assert!(config.client && config.renews && config.serving);
        let flags = "--hostname-override n3 --cert-dir /c --rotate-server-certificates=false";
        let args = with_data_dir(&parsed(&format!("{line} {flags}")), "everleaf-agent").unwrap();
        let config = resolve(&args.unwrap()).unwrap();
        assert_eq!(config.node_name, "n3");
        assert_eq!(config.cert_dir, Path::new("/c"));
        assert!(config.client && !config.serving);
        fs::write(root.join(SETTINGS), "caRefreshInterval: 90s\n").unwrap();
        let interval = |flags: &str| {
            let args = with_data_dir(
                &parsed(&format!("{line} --hostname-override n3 {flags}")),
                "everleaf-agent",
            );
            resolve(&args.unwrap().unwrap())
                .unwrap()
                .ca_refresh_interval
        };
        assert_eq!(interval(""), Some(Duration::from_secs(90)));
        assert_eq!(interval("--ca-refresh-interval 0"), None);
        fs::write(root.join(SETTINGS), "caRefreshInterval: soon\n").unwrap();
        let error = with_data_dir(&parsed(&line), "everleaf-agent").unwrap_err();
        assert!(
            format!("{error:#}").contains("caRefreshInterval: soon"),
            "{error:#}"
        );
        fs::write(root.join(SETTINGS), "hostname: n2\n").unwrap();
        assert!(
            with_data_dir(&parsed(&line), "everleaf-agent").is_err(),
            "a typo is told"
        );
    }

    #[test]
    fn flags_and_join_exclude_each_other() {
        for line in [
            "everleaf-agent --once join https://a --token t --ca-cert-hash h",
            "everleaf-agent join https://a --ca-cert-hash h",
            "everleaf-agent join https://a --token t",
            "everleaf-agent join --token t --ca-cert-hash h",
        ] {
            assert!(
                AgentCli::try_parse_from(line.split_whitespace()).is_err(),
                "{line}"
            );
        }
    }

    #[test]
    fn one_joins_in_a_directory_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("a/b");
        let held = hold(&root).unwrap();
        let told = format!("{:#}", hold(&root).unwrap_err());
        assert!(
            told.contains("another join is at work") && told.contains("a/b"),
            "{told}"
        );
        drop(held);
        hold(&root).unwrap();
    }
}
