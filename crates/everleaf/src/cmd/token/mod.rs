//! `everleaf token`: what new nodes join with, on any cluster, with the user's kubeconfig.

mod secret;

use crate::args::OutputFormat;
use crate::args::token::{CreateArgs, DeleteArgs, ListArgs, TokenCommand};
use crate::calls::{Calls, Refused, connect};
use crate::failure::UsageError;
use crate::print;
use crate::up::token::generate;
use anyhow::{Context, Result, anyhow, bail};
use everleaf_agent::join::{Announced, BootstrapToken};
use everleaf_agent::kubeconfig::ServerUrl;
use everleaf_api::{duration, meta};
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use secret::{Known, SECRETS, path_of};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Where everybody reads whom to trust.
const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
/// How long a new token is watched until it is signed for, and how often it is looked at.
const SIGNED_MAX: Duration = Duration::from_secs(5);
const SIGNED_LOOK: Duration = Duration::from_millis(200);

/// Dispatches.
pub(crate) fn run(command: &TokenCommand) -> Result<ExitCode> {
    match command {
        TokenCommand::Generate => print::answer(generate()?.bearer().expose())?,
        TokenCommand::Create(args) => create(args)?,
        TokenCommand::List(args) => list(args)?,
        TokenCommand::Delete(args) => delete(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn create(args: &CreateArgs) -> Result<()> {
    let token = match &args.token {
        None => generate()?,
        Some(text) => BootstrapToken::parse(text.expose()).ok_or_else(|| {
            UsageError(
                "the token has not the form of one: six small letters or digits, a dot, sixteen more; see `everleaf token generate`"
                    .to_owned(),
            )
        })?,
    };
    let mut known = Known {
        token,
        description: args.description.clone(),
        expires: None,
        usages: args.usages.clone(),
        groups: args.groups.clone(),
    };
    known.check()?;
    if args.print_join_command && !(known.is_for("signing") && known.is_for("authentication")) {
        let what = "--print-join-command: a machine joins with a token for both usages, signing and authentication";
        return Err(UsageError(what.to_owned()).into());
    }
    super::runtime()?.block_on(async {
        let (calls, url) = connect(&args.server)?;
        // Before the token, so that none is left behind where nobody can join.
        let announced = match args.print_join_command {
            true => Some(announced(&calls).await?),
            false => None,
        };
        let id = known.token.id().to_owned();
        let what = "make the token";
        if calls.object(what, Method::GET, &path_of(&id), None).await?.is_some() {
            bail!("there is a token {id} already; delete it (everleaf token delete {id}), or choose another one");
        }
        known.expires = match SignedDuration::try_from(args.ttl) {
            _ if args.ttl.is_zero() => None,
            Ok(ttl) => Some(calls.now().checked_add(ttl).context("--ttl is too long; 0 is for ever")?),
            Err(_) => return Err(UsageError("--ttl is too long; 0 is for ever".to_owned()).into()),
        };
        let made = calls.object(what, Method::POST, SECRETS, Some(known.to_secret())).await;
        let made = made.map_err(|error| match error.downcast_ref::<Refused>() {
            Some(refused) if refused.status == StatusCode::CONFLICT => {
                error.context(format!("a token {id} was made meanwhile"))
            }
            _ => error,
        })?;
        made.context("cannot make the token: the API server has no namespace kube-system")?;
        let Some(announced) = announced else {
            return print::answer(known.token.bearer().expose());
        };
        if !is_signed(&calls, &id).await? {
            eprintln!(
                "everleaf: nothing signs kube-public/cluster-info for this token yet, and a machine that joins waits for that: no controller \
                 `bootstrapsigner` runs (everleaf controllers --controllers=*,bootstrapsigner, or that flag of kube-controller-manager)"
            );
        }
        print::answer(&join_command(&announced, &url, &known.token)?)
    })
}

async fn announced(calls: &Calls) -> Result<Announced> {
    let what = "read kube-public/cluster-info";
    let object = calls.object(what, Method::GET, CLUSTER_INFO, None).await?;
    let object = object.ok_or_else(|| {
        anyhow!(
            "the cluster has no ConfigMap kube-public/cluster-info, from which a new machine learns whom to trust: `everleaf up` and `kubeadm \
             init phase bootstrap-token` make it"
        )
    })?;
    Ok(Announced::read_trusted(&object)?)
}

/// Whether a machine that joins would find a signature.
async fn is_signed(calls: &Calls, id: &str) -> Result<bool> {
    let what = "read kube-public/cluster-info";
    let mut waited = Duration::ZERO;
    while waited < SIGNED_MAX {
        let object = calls.object(what, Method::GET, CLUSTER_INFO, None).await?;
        if object.is_some_and(|object| object["data"][format!("jws-kubeconfig-{id}")].is_string()) {
            return Ok(true);
        }
        tokio::time::sleep(SIGNED_LOOK).await;
        waited += SIGNED_LOOK;
    }
    Ok(false)
}

/// One line for the other machine. What is announced leads there, unless it says nothing.
fn join_command(announced: &Announced, own: &str, token: &BootstrapToken) -> Result<String> {
    let server = match announced.server.is_empty() {
        true => own,
        false => &announced.server,
    };
    let url = ServerUrl::parse(server).map_err(|why| anyhow!("kube-public/cluster-info: {why}"))?;
    let host = url.host();
    let is_here = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) || host == "localhost";
    if is_here {
        eprintln!(
            "everleaf: {url} is reached from this machine only; for others start `everleaf up` with --listen :6443 (and --tls-san NAME for \
             another name)"
        );
    }
    eprintln!(
        "everleaf: on a machine that has only everleaf-agent, the line begins with `everleaf-agent join` in the place of `everleaf agent join`"
    );
    let pins = announced.pins();
    let pins: Vec<String> = pins
        .iter()
        .map(|pin| format!("--ca-cert-hash {pin}"))
        .collect();
    Ok(format!(
        "everleaf agent join {url} --token {} {}",
        token.bearer().expose(),
        pins.join(" ")
    ))
}

fn list(args: &ListArgs) -> Result<()> {
    let (found, now) = super::runtime()?.block_on(async {
        let (calls, _) = connect(&args.server)?;
        let selector = "&fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken";
        let found = calls.list("list the tokens", SECRETS, selector).await?;
        anyhow::Ok((found, calls.now()))
    })?;
    let mut tokens = Vec::new();
    for object in &found {
        match Known::of_secret(object) {
            Ok(known) => tokens.push(known),
            Err(why) => eprintln!(
                "everleaf: the Secret kube-system/{} is no token that anybody can use: {why}",
                print::harmless_line(meta::name(object))
            ),
        }
    }
    let shown = |known: &Known| match args.show_secrets {
        true => known.token.bearer().expose().to_owned(),
        false => known.token.id().to_owned(),
    };
    let as_json = || tokens.iter().map(|known| object_of(known, args, now));
    match args.output {
        Some(OutputFormat::Json) => print::json(&as_json().collect::<Value>()),
        Some(OutputFormat::Yaml) => print::yaml(&as_json().collect::<Value>()),
        Some(OutputFormat::Wide) | None if tokens.is_empty() => {
            eprintln!("everleaf: there are no tokens; `everleaf token create` makes one");
            Ok(())
        }
        Some(OutputFormat::Wide) | None => {
            let headings = [
                "token",
                "ttl",
                "expires",
                "usages",
                "description",
                "extra groups",
            ];
            let rows = tokens.iter().map(|known| row(known, shown(known), now));
            print::table(&headings, &rows.collect::<Vec<_>>())
        }
    }
}

/// Seconds until it ends; none: never.
fn left(known: &Known, now: Timestamp) -> Option<i64> {
    let left = known.expires?.duration_since(now).as_secs();
    Some(left.max(0))
}

fn row(known: &Known, shown: String, now: Timestamp) -> Vec<String> {
    let (left, end) = match (left(known, now), known.expires) {
        (None, _) | (_, None) => ("<forever>".to_owned(), "<never>".to_owned()),
        (Some(0), Some(end)) => ("<ended>".to_owned(), end.to_string()),
        (Some(left), Some(end)) => (duration::human(left), end.to_string()),
    };
    let or_none = |text: String| match text.is_empty() {
        true => "<none>".to_owned(),
        false => print::harmless_line(&text),
    };
    vec![
        shown,
        left,
        end,
        or_none(known.usages.join(",")),
        or_none(known.description.clone()),
        or_none(known.groups.join(",")),
    ]
}

fn object_of(known: &Known, args: &ListArgs, now: Timestamp) -> Value {
    let mut object = json!({
        "id": known.token.id(),
        "description": known.description,
        "expires": known.expires.map(|end| end.to_string()),
        "ttlSeconds": left(known, now),
        "usages": known.usages,
        "groups": known.groups,
    });
    if args.show_secrets {
        object["token"] = known.token.bearer().expose().into();
    }
    object
}

fn delete(args: &DeleteArgs) -> Result<()> {
    let ids = args.tokens.iter().map(|text| {
        let token = BootstrapToken::parse(text.expose());
        let id = token.map_or_else(|| text.expose().to_owned(), |token| token.id().to_owned());
        match BootstrapToken::is_id(&id) {
            true => Ok(id),
            // Half a token may be most of a secret: it is not shown.
            false => Err(UsageError(
                "name a token by its public part, six small letters or digits, or in full"
                    .to_owned(),
            )),
        }
    });
    let ids: Vec<String> = ids.collect::<Result<_, _>>()?;
    super::runtime()?.block_on(async {
        let (calls, _) = connect(&args.server)?;
        let mut absent = Vec::new();
        for id in ids {
            let what = format!("delete the token {id}");
            let path = path_of(&id);
            match calls.object(&what, Method::DELETE, &path, None).await? {
                Some(_) => print::answer(&format!("token {id} deleted"))?,
                None => absent.push(id),
            }
        }
        match absent.is_empty() {
            true => Ok(()),
            false => bail!(
                "there is no token {}; see `everleaf token list`",
                absent.join(", ")
            ),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_token_is_told_as_kubeadm_tells_it() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let known = |expires: Option<&str>| Known {
            token: BootstrapToken::parse("abcdef.0123456789abcdef").unwrap(),
            description: String::new(),
            expires: expires.map(at),
            usages: Vec::new(),
            groups: Vec::new(),
        };
        let now = at("2030-01-01T00:00:00Z");
        for (expires, left, end) in [
            (None, "<forever>", "<never>"),
            (
                Some("2029-12-31T00:00:00Z"),
                "<ended>",
                "2029-12-31T00:00:00Z",
            ),
            (Some("2030-01-02T00:00:00Z"), "24h", "2030-01-02T00:00:00Z"),
        ] {
            let row = row(&known(expires), "abcdef".to_owned(), now);
            assert_eq!(row[..3], ["abcdef", left, end]);
            assert_eq!(row[3], "<none>");
        }
    }
}
