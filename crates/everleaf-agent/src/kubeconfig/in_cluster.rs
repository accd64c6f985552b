//! The kubeconfig that a pod has without a file: its service account, as client-go's
//! `rest.InClusterConfig` reads it.

use super::{Cluster, Kubeconfig, ServerUrl, Source, Token, Trust, User};
use std::path::{Path, PathBuf};

/// Where a pod's service account is.
const DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Which server, as every pod is told.
const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";

impl Kubeconfig {
    /// The service account of the pod that this process runs in, and where that stands. The error
    /// says what is missing for this to be one.
    pub fn in_cluster() -> Result<(Self, PathBuf), String> {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let directory = Path::new(DIRECTORY);
        let kubeconfig = of_pod(directory, read(HOST).as_deref(), read(PORT).as_deref())?;
        Ok((kubeconfig, directory.to_owned()))
    }
}

fn of_pod(directory: &Path, host: Option<&str>, port: Option<&str>) -> Result<Kubeconfig, String> {
    let (Some(host), Some(port)) = (host, port) else {
        return Err(format!("this is no pod ({HOST} and {PORT} are not set)"));
    };
    let path = directory.join("token");
    if !path.exists() {
        return Err(format!(
            "this pod has no service account ({} is not there)",
            path.display()
        ));
    }
    let url = if host.contains(':') {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    };
    let authority = directory.join("ca.crt");
    Ok(Kubeconfig {
        cluster: Cluster {
            server: ServerUrl::parse(&url)?,
            trust: if authority.exists() {
                Trust::Bundle(Source::File(authority))
            } else {
                Trust::System
            },
            tls_server_name: None,
            proxy: None,
        },
        user: User {
            token: Some(Token::File {
                path,
                fallback: None,
            }),
            ..User::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_speaks_as_its_service_account() {
        let dir = tempfile::tempdir().unwrap();
        let (path, host, port) = (dir.path(), Some("10.96.0.1"), Some("443"));
        for (host, port) in [(None, port), (host, None)] {
            let error = of_pod(path, host, port).unwrap_err();
            assert!(error.contains("KUBERNETES_SERVICE_HOST"), "{error}");
        }
        let error = of_pod(path, host, port).unwrap_err();
        assert!(error.contains("no service account"), "{error}");
        std::fs::write(path.join("token"), "t\n").unwrap();
        let pod = of_pod(path, Some("fd00::1"), Some("6443")).unwrap();
        assert_eq!(pod.cluster.server.authority(), "[fd00::1]:6443");
        assert_eq!(pod.cluster.trust, Trust::System);
        std::fs::write(path.join("ca.crt"), "x").unwrap();
        let pod = of_pod(path, host, port).unwrap();
        assert_eq!(pod.cluster.server.to_string(), "https://10.96.0.1:443");
        assert_eq!(
            pod.cluster.trust,
            Trust::Bundle(Source::File(path.join("ca.crt")))
        );
        // Tokens of pods are replaced within the hour.
        assert_eq!(
            pod.user.token.as_ref().unwrap().read().unwrap().expose(),
            "t"
        );
        std::fs::write(path.join("token"), "u").unwrap();
        assert_eq!(pod.user.token.unwrap().read().unwrap().expose(), "u");
    }
}
