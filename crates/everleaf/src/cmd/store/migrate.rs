//! `everleaf store migrate`: all objects into an etcd, or back into a data directory.

use super::{existing, make, now, root};
use crate::args::store::{Destination, MigrateArgs};
use crate::etcd;
use crate::failure::UsageError;
use crate::print;
use crate::up::data_dir::DataDir;
use anyhow::{Context, Result};
use everleaf_apiserver::store::migrate::{Moved, from_etcd, to_etcd};
use everleaf_apiserver::store::snapshot::Header;
use everleaf_apiserver::store::{EtcdConfig, Reader};
use everleaf_node::places::STORE;
use std::process::ExitCode;

pub(super) fn run(args: &MigrateArgs) -> Result<ExitCode> {
    let Some(config) = etcd::of(&args.etcd)? else {
        return Err(UsageError(
            "name the etcd with --etcd-servers: objects are moved between it and the data directory".to_owned(),
        )
        .into());
    };
    let endpoints = config.connection.endpoints.iter();
    let endpoints: Vec<String> = endpoints.map(ToString::to_string).collect();
    let there = format!("the etcd {}, {}", endpoints.join(", "), config.prefix);
    let moved = match args.to {
        Destination::Etcd => into_etcd(args, config, &there)?,
        Destination::DataDir => into_directory(args, config, &there)?,
    };
    print::answer(&words(&moved))?;
    Ok(ExitCode::SUCCESS)
}

fn into_etcd(args: &MigrateArgs, config: EtcdConfig, there: &str) -> Result<Moved> {
    let place = existing(args.place.data_dir.as_deref())?;
    // Held until the end: no server starts on it meanwhile.
    let dir = DataDir::open(&root(args.place.data_dir.as_deref())?)?;
    let moved = Reader::open(&place)
        .map_err(anyhow::Error::from)
        .and_then(|reader| {
            let mut tell = |text: &str| eprintln!("{text}");
            Ok(to_etcd(&reader, config, &mut tell)?)
        });
    let moved = moved.with_context(|| format!("cannot move {} into {there}", place.display()))?;
    eprintln!(
        "Start the API servers with --etcd-servers now, and move {} away: it is as it was.",
        dir.path(STORE).display()
    );
    Ok(moved)
}

fn into_directory(args: &MigrateArgs, config: EtcdConfig, there: &str) -> Result<Moved> {
    let root = root(args.place.data_dir.as_deref())?;
    let header = |revision| Header::new(env!("CARGO_PKG_VERSION"), now(), revision);
    let moved = make(&root, &mut |unfinished| {
        from_etcd(config.clone(), unfinished, header)
            .with_context(|| format!("cannot move {there} into {}", root.join(STORE).display()))
    })?;
    if moved.others > 0 {
        eprintln!(
            "everleaf: warning: {} keys in {there} are no objects of Everleaf's: they are there, and not here",
            moved.others
        );
    }
    eprintln!("Start the API server without --etcd-servers now; what is in {there} is as it was.");
    Ok(moved)
}

fn words(moved: &Moved) -> String {
    let before = match moved.before {
        0 => String::new(),
        before => format!(", {before} of them by an earlier attempt"),
    };
    format!(
        "{} objects moved{before}; each was read again and compared. Revision {}; SHA-256 {}",
        moved.objects, moved.revision, moved.sha256
    )
}
