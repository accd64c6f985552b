//! A real kubelet as a part, with the containerd that it asks about its containers.
//!
//! Each of the two runs in a mount namespace of its own, with `/var/lib` and `/var/log` empty and
//! copies of the kernel settings that a kubelet changes: nothing reaches the machine, and nothing
//! stays mounted when they end. They end with this process, even if it is killed. The node's pods
//! have no image, so there are neither shims nor cgroups of pods to clean up.

use super::real::flag;
use super::{Kubernetes, START_SECONDS_MAX, Stack, last_lines, peer};
use anyhow::{Context, Result, bail};
use base64::Engine;
use everleaf_stage::{
    Certificate, Process, Sandbox, arg, eventually, free_port, host_address, http_get,
};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds that the node's lease is good for; a kubelet renews it four times as often.
pub(crate) const LEASE_SECONDS: u32 = 6;

/// Kernel settings that a kubelet sets: `setupKernelTunables` in
/// pkg/kubelet/cm/container_manager_linux.go.
const SETTINGS: &str = "vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes";
/// Makes the room of the module's comment, then becomes the program in it. `$0` is the folder of
/// the copies.
const ROOM: &str = "
mount -t tmpfs -o mode=755 room /var/lib
mount -t tmpfs -o mode=755 room /var/log
mkdir -p \"$0\"
for setting in $SETTINGS; do
  copy=\"$0/${setting##*/}\"
  cat /proc/sys/$setting > \"$copy\"
  mount --bind \"$copy\" /proc/sys/$setting
done
exec setpriv --pdeathsig KILL \"$@\"";

/// A node: kubelet, containerd, their files.
pub(crate) struct Kubelet<'a> {
    sandbox: &'a Sandbox,
    program: PathBuf,
    release: Kubernetes,
    /// Node name; its files are in the directory of that name.
    pub(crate) node: String,
    /// Port of its HTTPS API.
    pub(crate) port: u16,
    health_port: u16,
    bootstrap: PathBuf,
    process: Option<Process>,
    earlier_log: String,
    _containerd: Process,
}

/// Why no kubelet can run here, if none can.
pub(crate) fn obstacle() -> Option<String> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if !is_root {
        return Some("a kubelet must be root".to_owned());
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "mount", "-t", "tmpfs", "room", "/var/lib"]);
    match everleaf_stage::run(&mut unshare).and_then(everleaf_stage::Answer::ok) {
        Ok(_) => {}
        Err(error) => return Some(format!("a kubelet must be able to mount: {error:#}")),
    }
    let group = |name: &str| Path::new("/sys/fs/cgroup").join(name).exists();
    let unified = group("cgroup.controllers");
    let v1 = ["cpu", "cpuacct", "cpuset", "memory"];
    if let Some(missing) = v1.iter().find(|name| !unified && !group(name)) {
        return Some(format!(
            "a kubelet needs cgroups: there is no /sys/fs/cgroup/{missing}"
        ));
    }
    if !Path::new("/dev/kmsg").exists() {
        return Some("a kubelet reads /dev/kmsg, which is not there".to_owned());
    }
    host_address()
        .err()
        .map(|error| format!("a node needs an address besides loopback: {error:#}"))
}

/// A kubelet that joins by the stack's bootstrap token and rotates both its certificates.
pub(super) fn start(stack: &mut Stack<'_>, node: &str) -> Result<()> {
    let sandbox = stack.sandbox;
    let of_up = sandbox.path("data/bootstrap-kubelet.conf");
    let bootstrap = if of_up.exists() {
        of_up
    } else {
        stack.bootstrap_kubeconfig()?
    };
    let containerd = containerd(sandbox, node)?;
    let (port, health_port) = (free_port()?, free_port()?);
    let authority = stack.authority()?.certificate().to_owned();
    let mut kubelet = Kubelet {
        sandbox,
        program: stack.release.peer("KUBELET")?,
        release: stack.release,
        node: node.to_owned(),
        port,
        health_port,
        bootstrap,
        process: None,
        earlier_log: String::new(),
        _containerd: containerd,
    };
    kubelet.configure(&authority, true)?;
    kubelet.start()?;
    stack.kubelets.push(kubelet);
    Ok(())
}

impl<'a> Kubelet<'a> {
    /// A file of the node.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path(&self.node).join(name)
    }

    /// A path as it sees it: its mounts are its own.
    pub(crate) fn within(&self, path: &Path) -> Result<PathBuf> {
        let process = self.process.as_ref().context("the kubelet does not run")?;
        let root = format!("/proc/{}/root", process.id());
        Ok(Path::new(&root).join(path.strip_prefix("/")?))
    }

    /// What it logged, over all its starts.
    pub(crate) fn log(&self) -> String {
        let now = self.process.as_ref().map(Process::stderr);
        format!("{}{}", self.earlier_log, now.unwrap_or_default())
    }

    /// Its client certificate now.
    pub(crate) fn certificate_now(&self) -> Result<Certificate> {
        let file = self.path("pki/kubelet-client-current.pem");
        Certificate::read(self.sandbox, &file)
    }

    /// Its client certificate, once it is another one than `old`.
    pub(crate) fn renewed(&self, old: &Certificate, seconds_max: u64) -> Result<Certificate> {
        eventually("another client certificate", seconds_max, || {
            std::thread::sleep(std::time::Duration::from_millis(200));
            let present = self.certificate_now()?;
            if present.serial == old.serial {
                bail!("still serial {}", old.serial);
            }
            Ok(present)
        })
    }

    /// The certificate that its HTTPS API shows, if `authority` signed it and it names the node.
    pub(crate) fn shown_certificate(&self, authority: &Path) -> Result<Certificate> {
        let address = format!("127.0.0.1:{}", self.port);
        let shown = self.sandbox.openssl(&[
            "s_client",
            "-connect",
            &address,
            "-servername",
            &self.node,
            "-verify_hostname",
            &self.node,
            "-CAfile",
            arg(authority),
            "-verify_return_error",
            "-showcerts",
        ])?;
        let file = format!("{}/shown.pem", self.node);
        let file = self.sandbox.write(&file, &shown.ok()?)?;
        Certificate::read(self.sandbox, &file)
    }

    /// A certificate as an object of the API holds it.
    pub(crate) fn issued(&self, base64: &str) -> Result<Certificate> {
        let pem = base64::engine::general_purpose::STANDARD.decode(base64)?;
        let file = format!("{}/issued.pem", self.node);
        let file = self.sandbox.write(&file, &String::from_utf8(pem)?)?;
        Certificate::read(self.sandbox, &file)
    }

    /// Whether some of its settings are flags or gates still.
    fn is_old(&self) -> bool {
        self.release < Kubernetes::V1_34
    }

    /// The program, with everything in the node's directory.
    fn command(&self) -> Result<Command> {
        let mut command = room(self.sandbox, &self.path("settings"), &self.program)?;
        command.args([
            flag("--config", &self.path("config.json")),
            flag("--bootstrap-kubeconfig", &self.bootstrap),
            flag("--kubeconfig", &self.path("kubelet.conf")),
            flag("--cert-dir", &self.path("pki")),
            flag("--root-dir", &self.path("root")),
            format!("--hostname-override={}", self.node),
            // Else it would ask the DNS for the node's name.
            format!("--node-ip={}", host_address()?),
            "-v=2".to_owned(),
        ]);
        if self.is_old() {
            let socket = containerd_socket(self.sandbox, &self.node);
            command.args(["--container-runtime=remote"]);
            command.arg(format!(
                "--container-runtime-endpoint=unix://{}",
                socket.display()
            ));
        }
        Ok(command)
    }

    /// Starts it, at first or again; returns when it says that it is healthy.
    pub(crate) fn start(&mut self) -> Result<()> {
        let process = self
            .sandbox
            .start(&format!("kubelet-{}", self.node), &mut self.command()?)?;
        let process = self.process.insert(process);
        let address = format!("127.0.0.1:{}", self.health_port);
        eventually("the kubelet is healthy", START_SECONDS_MAX, || {
            if !process.is_running() {
                bail!("it ended: {}", last_lines(&process.stderr()));
            }
            http_get(&address, "/healthz").map(|_| ())
        })
    }

    /// Stops it as a service manager does (SIGTERM); its exit code.
    pub(crate) fn stop(&mut self) -> Result<i32> {
        let mut process = self.process.take().context("the kubelet does not run")?;
        let code = process.stop();
        self.earlier_log.push_str(&process.stderr());
        code
    }

    /// Deletes its client certificates, while it is stopped.
    pub(crate) fn forget_client_certificates(&self) -> Result<()> {
        for entry in fs::read_dir(self.path("pki"))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("kubelet-client") {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Writes its configuration. `rotates` is `rotateCertificates`; without it a kubelet waits for
    /// its certificate before it starts.
    pub(crate) fn configure(&self, authority: &Path, rotates: bool) -> Result<()> {
        for directory in ["root", "manifests", "plugins", "pods"] {
            fs::create_dir_all(self.path(directory))?;
        }
        let socket = containerd_socket(self.sandbox, &self.node);
        let mut config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            // Also at its InternalIP, where whoever asks for its certificate looks.
            "address": "0.0.0.0",
            "port": self.port,
            "readOnlyPort": 0,
            "healthzBindAddress": "127.0.0.1",
            "healthzPort": self.health_port,
            "rotateCertificates": rotates,
            "serverTLSBootstrap": true,
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": authority},
            },
            "authorization": {"mode": "Webhook"},
            "nodeLeaseDurationSeconds": LEASE_SECONDS,
            "staticPodPath": self.path("manifests"),
            "volumePluginDir": self.path("plugins"),
            // A machine of any kind: no systemd, swap, no room to reserve, no firewall to touch.
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": false,
            "enforceNodeAllocatable": [],
            "failSwapOn": false,
            "makeIPTablesUtilChains": false,
        });
        if self.is_old() {
            config["featureGates"] = json!({"LocalStorageCapacityIsolation": false});
        } else {
            config["containerRuntimeEndpoint"] = json!(format!("unix://{}", socket.display()));
            config["podLogsDir"] = json!(self.path("pods"));
            // Old cgroups, too.
            config["failCgroupV1"] = json!(false);
            config["localStorageCapacityIsolation"] = json!(false);
        }
        let name = format!("{}/config.json", self.node);
        self.sandbox.write(&name, &config.to_string())?;
        Ok(())
    }
}

fn containerd_socket(sandbox: &Sandbox, node: &str) -> PathBuf {
    sandbox.path(node).join("containerd.sock")
}

/// containerd with runc, whose network is loopback alone: enough for a node to be Ready.
fn containerd(sandbox: &Sandbox, node: &str) -> Result<Process> {
    let (program, runc) = (peer("CONTAINERD")?, peer("RUNC")?);
    let path = |name: &str| sandbox.path(node).join(name);
    let socket = containerd_socket(sandbox, node);
    let network =
        json!({"cniVersion": "0.3.1", "name": "loopback", "plugins": [{"type": "loopback"}]});
    sandbox.write(
        &format!("{node}/network/10-loopback.conflist"),
        &network.to_string(),
    )?;
    let config = format!(
        "version = 2
root = {root:?}
state = {state:?}
[grpc]
address = {socket:?}
[plugins.\"io.containerd.grpc.v1.cri\"]
disable_tcp_service = true
[plugins.\"io.containerd.grpc.v1.cri\".cni]
conf_dir = {network:?}
[plugins.\"io.containerd.grpc.v1.cri\".containerd]
snapshotter = \"native\"
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]
runtime_type = \"io.containerd.runc.v2\"
[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]
BinaryName = {runc:?}
",
        root = path("containerd/root"),
        state = path("containerd/state"),
        network = path("network"),
    );
    let config = sandbox.write(&format!("{node}/containerd.toml"), &config)?;
    let mut command = room(sandbox, &path("containerd/settings"), &program)?;
    command.arg("--config").arg(config);
    let mut process = sandbox.start(&format!("containerd-{node}"), &mut command)?;
    eventually("containerd answers", START_SECONDS_MAX, || {
        if !process.is_running() {
            bail!("it ended: {}", last_lines(&process.stderr()));
        }
        UnixStream::connect(&socket)?;
        Ok(())
    })?;
    Ok(process)
}

/// A program in its room; arguments follow.
fn room(sandbox: &Sandbox, settings: &Path, program: &Path) -> Result<Command> {
    // containerd finds its shims beside itself, by PATH.
    let beside = program.parent().context("a program is in a directory")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = sandbox.command(Path::new("unshare"));
    command
        .args(["--mount", "--propagation", "private", "sh", "-euc", ROOM])
        .arg(settings)
        .arg(program)
        .env("SETTINGS", SETTINGS)
        .env("PATH", format!("{}:{path}", beside.display()));
    Ok(command)
}
