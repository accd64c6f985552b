//! Flags about how objects are stored: kube-apiserver's, and the quota of a store of our own.

use super::value::Switch as _;
use clap::{ArgAction, Args};
use std::path::PathBuf;

/// How objects are stored, wherever they are.
#[derive(Debug, Clone, Args)]
pub(crate) struct StorageArgs {
    /// Bytes that the store in the data directory may have in use; beyond them nothing is created
    /// until something is deleted; 0: as many as its disk has room for
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        conflicts_with = "etcd_servers"
    )]
    pub(crate) storage_quota_bytes: u64,
    /// EncryptionConfiguration: which resources are encrypted in the store, and by which keys
    /// [default: none are]
    #[arg(long, value_name = "FILE")]
    pub(crate) encryption_provider_config: Option<PathBuf>,
    /// Read that file again when it changes
    #[arg(
        long,
        action = ArgAction::Set,
        switch_or = "false",
        requires = "encryption_provider_config"
    )]
    pub(crate) encryption_provider_config_automatic_reload: bool,
}
