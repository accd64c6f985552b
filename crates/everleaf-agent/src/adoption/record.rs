//! The record of an adoption, in the cert dir.

use super::{CONFIG_BYTES_MAX, Place, in_file, write_private};
use everleaf_rotation::store::dir::read_file;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Name of the record in a cert dir.
const NAME: &str = ".everleaf-adopted.json";

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    kubeconfig: PathBuf,
    kubelet_config: PathBuf,
    /// What `rotateCertificates` was.
    rotate_certificates: bool,
}

impl Record {
    pub(super) fn of(place: &Place, rotate_certificates: bool) -> Self {
        Self {
            kubeconfig: place.kubeconfig.clone(),
            kubelet_config: place.kubelet_config.clone(),
            rotate_certificates,
        }
    }

    pub(super) fn path(cert_dir: &Path) -> PathBuf {
        cert_dir.join(NAME)
    }

    /// Whether the kubelet renewed before.
    pub(super) fn was_on(&self) -> bool {
        self.rotate_certificates
    }

    pub(super) fn check_is_of(&self, place: &Place) -> Result<(), String> {
        if (&self.kubeconfig, &self.kubelet_config) == (&place.kubeconfig, &place.kubelet_config) {
            return Ok(());
        }
        Err(format!(
            "{} was adopted with --kubeconfig {} --config {}: give the same",
            place.cert_dir.display(),
            self.kubeconfig.display(),
            self.kubelet_config.display()
        ))
    }

    pub(super) fn read(cert_dir: &Path) -> Result<Option<Self>, String> {
        let path = Self::path(cert_dir);
        let bytes = match read_file(&path, CONFIG_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let read = serde_json::from_slice(&bytes);
        read.map(Some)
            .map_err(|error| in_file(&path, &error.to_string()))
    }

    pub(super) fn write(&self, cert_dir: &Path) -> Result<(), String> {
        let path = Self::path(cert_dir);
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        write_private(&path, text.as_bytes())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    pub(super) fn remove(cert_dir: &Path) -> Result<(), String> {
        let path = Self::path(cert_dir);
        fs::remove_file(&path)
            .and_then(|()| File::open(cert_dir)?.sync_all())
            .map_err(|error| format!("cannot remove {}: {error}", path.display()))
    }
}
