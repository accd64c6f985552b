//! Flags about where the objects are: kube-apiserver's.

use clap::Args;
use everleaf_etcd::Endpoint;
use std::path::PathBuf;

/// An etcd in place of the store in the data directory.
#[derive(Debug, Clone, Args)]
pub(crate) struct EtcdArgs {
    /// Members of the etcd that holds the objects, as https://10.0.0.1:2379,https://10.0.0.2:2379;
    /// they are tried in turn [default: the store in the data directory]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) etcd_servers: Vec<Endpoint>,
    /// CA bundle that the members' certificates must chain to
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    pub(crate) etcd_cafile: Option<PathBuf>,
    /// Client certificate that is shown to etcd; read again for each connection
    #[arg(long, value_name = "FILE", requires_all = ["etcd_keyfile", "etcd_servers"])]
    pub(crate) etcd_certfile: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    pub(crate) etcd_keyfile: Option<PathBuf>,
    /// Under which the keys are
    #[arg(long, value_name = "PATH", default_value = "/registry")]
    pub(crate) etcd_prefix: String,
}
