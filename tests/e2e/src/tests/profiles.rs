//! Certificates of other programs: the worked examples of docs/profiles.md, with those programs.

use anyhow::{Context, Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Certificate, FakeClock, Kubectl, Process, Sandbox, Up, arg, ensure_that, eventually,
    free_port, http_get, run, same,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "profiles_keep_the_certificates_of_nginx_etcd_and_prometheus",
        long: false,
        run: programs,
    },
    Test {
        name: "profiles_are_checked_before_anything_is_done",
        long: false,
        run: checked,
    },
];

/// The agent's clock, in seconds from now, when certificates of ten minutes are due, and good.
const LATER: i64 = 560;

/// A signer of ours, as the example of etcd wants one.
const ETCD_SIGNER: &str = "example.com/etcd";

fn programs(sandbox: &Sandbox) -> Result<Verdict> {
    let Some(daemons) = sandbox.tools.daemons.clone() else {
        let why = "Debian's packages could not be unpacked";
        return Ok(Verdict::Skipped(why.to_owned()));
    };
    let up = Up::start(sandbox, &["--no-node"])?;
    let metrics = format!("127.0.0.1:{}", free_port()?);
    let mut agent = Agent::new(sandbox, &up, "n2");
    let directory = sandbox.path("profiles");
    for word in [
        "--profile-dir",
        arg(&directory),
        "--metrics-bind-address",
        &metrics,
    ] {
        agent.args.push(word.to_owned());
    }
    let nginx = Nginx::profile(sandbox)?;
    let etcd = Etcd::profiles(sandbox)?;
    let prometheus = Prometheus::profile(sandbox, &up)?;
    agent.start()?;
    sign_all(sandbox, &up.admin(), 4)?;
    let program = |name: &str| daemons.join(name);
    let mut nginx = nginx.start(&program("usr/sbin/nginx"))?;
    let etcd = etcd.start(&program("usr/bin/etcd"))?;
    let prometheus = prometheus.start(&program("usr/bin/prometheus"))?;
    let first = sandbox.point(
        "nginx, etcd and Prometheus work with their first files",
        || {
            etcd.is_healthy(&program("usr/bin/etcdctl"))?;
            prometheus.scrapes()?;
            let scraped_with = Certificate::read(sandbox, &sandbox.path("prometheus/tls.crt"))?;
            Ok((nginx.shows()?, etcd.shows()?, scraped_with))
        },
    )?;
    sandbox.point(
        "openssl opens the PKCS#12 file with its password and no other",
        || {
            let file = sandbox.path("prometheus/tls.p12");
            let open = |password: &str| {
                let password = format!("pass:{password}");
                let args = ["pkcs12", "-in", arg(&file), "-nodes", "-passin", &password];
                sandbox.openssl(&args)
            };
            let text = open("open sesame")?.ok()?;
            let opened = sandbox.write("opened.pem", &text)?;
            let inside = Certificate::read(sandbox, &opened)?;
            same("serial", &inside.serial, &first.2.serial)?;
            ensure_that!(text.contains("friendlyName: prometheus"), "{text}");
            let public = |file: &Path| {
                sandbox
                    .openssl(&["pkey", "-in", arg(file), "-pubout"])?
                    .ok()
            };
            let key = sandbox.path("prometheus/tls.key");
            same("its key", public(&opened)?, public(&key)?)?;
            ensure_that!(open("sesame")?.code != Some(0), "any password opens it");
            Ok(())
        },
    )?;
    sandbox.point("a program that was not running yet is told later", || {
        eventually("nginx is told", 15, || {
            let text = http_get(&metrics, "/metrics")?;
            let owed = "everleaf_agent_profile_action_owed{kind=\"nginx\"} 0";
            let done = "everleaf_agent_profile_actions_total{kind=\"nginx\",result=\"done\"} 1";
            ensure_that!(text.contains(owed) && text.contains(done), "{text}");
            Ok(())
        })
    })?;
    sandbox.point(
        "files have owner and mode, and come back when removed",
        || {
            let key = sandbox.path("nginx/tls.key");
            same("mode", fs::metadata(&key)?.mode() & 0o777, 0o640)?;
            fs::remove_file(&key)?;
            agent.stop()?;
            agent.start()?;
            eventually("the key", 15, || Ok(fs::metadata(&key).map(drop)?))
        },
    )?;
    agent.stop()?;
    agent.start_at(&FakeClock::Offset(LATER))?;
    sign_all(sandbox, &up.admin(), 8)?;
    let pid = nginx.process.id();
    sandbox.point("openssl s_client sees nginx change its certificate", || {
        eventually("nginx' next certificate", 20, || {
            let shown = nginx.shows()?;
            ensure_that!(shown.serial != first.0.serial, "still {}", shown.serial);
            let on_disk = Certificate::read(sandbox, &sandbox.path("nginx/tls.crt"))?;
            same("serial", shown.serial, on_disk.serial)
        })?;
        same("nginx' process", nginx.process.id(), pid)?;
        ensure_that!(nginx.process.is_running(), "nginx has ended");
        Ok(())
    })?;
    sandbox.point(
        "etcd shows its next certificate untold, and its members go on",
        || {
            eventually("etcd's next certificate", 20, || {
                let shown = etcd.shows()?;
                ensure_that!(shown.serial != first.1.serial, "still {}", shown.serial);
                Ok(())
            })?;
            etcd.is_healthy(&program("usr/bin/etcdctl"))
        },
    )?;
    sandbox.point(
        "Prometheus scrapes with its next certificate: the first one is revoked",
        || prometheus.goes_on_without(sandbox, &up, &first.2),
    )?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

fn profile(sandbox: &Sandbox, name: &str, spec: &serde_json::Value) -> Result<()> {
    let profile = json!({
        "apiVersion": "agent.everleaf.dev/v1alpha1",
        "kind": "CertificateProfile",
        "metadata": {"name": name},
        "spec": spec,
    });
    let path = format!("profiles/{name}.json");
    sandbox.write(&path, &profile.to_string()).map(drop)
}

/// Approves what waits, and signs what is for our own signer, until so many certificates have been
/// issued for profiles.
fn sign_all(sandbox: &Sandbox, admin: &Kubectl<'_>, wanted: usize) -> Result<()> {
    eventually("all certificates are issued", 20, || {
        let list = admin.json(&["get", "csr"])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let mut issued = 0;
        for item in &items {
            let name = item["metadata"]["name"].as_str().context("no name")?;
            let user = item["spec"]["username"].as_str().unwrap_or_default();
            if user != "system:node:n2" {
                continue;
            }
            if item["status"]["certificate"].is_string() {
                issued += 1;
                continue;
            }
            if item["status"]["conditions"].is_null() {
                admin.quiet(&["certificate", "approve", name])?;
            }
            if item["spec"]["signerName"] != ETCD_SIGNER {
                continue;
            }
            let request = item["spec"]["request"].as_str().context("no request")?;
            let request = sandbox.write("request.b64", request)?;
            let pem = sandbox.path("request.pem");
            let decode = [
                "base64",
                "-d",
                "-A",
                "-in",
                arg(&request),
                "-out",
                arg(&pem),
            ];
            sandbox.openssl(&decode)?.ok()?;
            let signed = sign(sandbox, &pem)?;
            let encoded = sandbox
                .openssl(&["base64", "-A", "-in", arg(&signed)])?
                .ok()?;
            let patch = json!({"status": {"certificate": encoded.trim()}}).to_string();
            let mut words = vec!["patch", "csr", name, "--subresource=status", "--type=merge"];
            words.extend(["-p", &patch]);
            admin.quiet(&words)?;
        }
        ensure_that!(issued >= wanted, "{issued} of {wanted} are issued");
        Ok(())
    })
}

/// What openssl's CA makes of a request: ten minutes.
fn sign(sandbox: &Sandbox, request: &Path) -> Result<PathBuf> {
    let now = Timestamp::now();
    let date = |seconds: i64| {
        let at = now + SignedDuration::from_secs(seconds);
        at.strftime("%Y%m%d%H%M%SZ").to_string()
    };
    let (signed, config) = (sandbox.path("signed.crt"), sandbox.path("etcd/ca.cnf"));
    let (start, end) = (date(-60), date(600));
    let mut args = vec!["ca", "-batch", "-notext", "-config", arg(&config)];
    args.extend(["-startdate", &start, "-enddate", &end]);
    args.extend(["-in", arg(request), "-out", arg(&signed)]);
    sandbox.openssl(&args)?.ok()?;
    Ok(signed)
}

/// The certificate that a server shows.
fn shown(sandbox: &Sandbox, port: u16, more: &[&str]) -> Result<Certificate> {
    let address = format!("127.0.0.1:{port}");
    let mut args = vec!["s_client", "-connect", &address];
    args.extend(more);
    let answer = sandbox.openssl_fed(&args, Path::new("/dev/null"))?;
    let file = sandbox.write(&format!("shown-{port}.pem"), &answer.stdout)?;
    Certificate::read(sandbox, &file)
}

fn written(sandbox: &Sandbox, names: &[&str]) -> Result<()> {
    eventually("the files of the profile", 15, || {
        for name in names {
            ensure_that!(sandbox.path(name).is_file(), "no {name}");
        }
        Ok(())
    })
}

/// nginx in front of nothing.
struct Nginx<'a> {
    sandbox: &'a Sandbox,
    port: u16,
}

struct RunningNginx<'a> {
    sandbox: &'a Sandbox,
    port: u16,
    process: Process,
}

impl<'a> Nginx<'a> {
    fn profile(sandbox: &'a Sandbox) -> Result<Self> {
        let path = |name: &str| sandbox.path("nginx").join(name);
        let spec = json!({
            "signerName": "kubernetes.io/kubelet-serving",
            "subject": {"commonName": "system:node:{node}", "organizations": ["system:nodes"]},
            "dnsNames": ["{node}"],
            "ipAddresses": ["127.0.0.1"],
            "usages": ["digital signature", "server auth"],
            "expirationSeconds": 600,
            "outputs": [{
                "certificate": path("tls.crt"), "key": path("tls.key"), "ca": path("ca.crt"),
                "mode": "0640",
            }],
            "afterRenewal": {"signal": "HUP", "pidFile": path("nginx.pid"), "processName": "nginx"},
        });
        profile(sandbox, "nginx", &spec)?;
        let port = free_port()?;
        Ok(Self { sandbox, port })
    }

    fn start(self, program: &Path) -> Result<RunningNginx<'a>> {
        let Self { sandbox, port } = self;
        let names = ["nginx/tls.crt", "nginx/tls.key", "nginx/ca.crt"];
        written(sandbox, &names)?;
        let text = format!(
            "daemon off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  client_body_temp_path t;\n  \
             proxy_temp_path t;\n  fastcgi_temp_path t;\n  uwsgi_temp_path t;\n  scgi_temp_path t;\n  server {{\n    \
             listen 127.0.0.1:{port} ssl;\n    ssl_certificate tls.crt;\n    ssl_certificate_key tls.key;\n    \
             location / {{ return 204; }}\n  }}\n}}\n"
        );
        sandbox.write("nginx/nginx.conf", &text)?;
        let prefix = format!("{}/", sandbox.path("nginx").display());
        let mut command = sandbox.command(program);
        command.args(["-p", &prefix, "-c", "nginx.conf", "-e", "stderr"]);
        let process = sandbox.start("nginx", &mut command)?;
        let nginx = RunningNginx {
            sandbox,
            port,
            process,
        };
        eventually("nginx answers", 10, || nginx.shows().map(drop))?;
        Ok(nginx)
    }
}

impl RunningNginx<'_> {
    fn shows(&self) -> Result<Certificate> {
        shown(self.sandbox, self.port, &[])
    }
}

/// Two members of an etcd, which authenticate each other and their clients.
struct Etcd<'a> {
    sandbox: &'a Sandbox,
    /// Of each member: for clients, for the other.
    ports: [(u16, u16); 2],
}

struct RunningEtcd<'a> {
    sandbox: &'a Sandbox,
    ports: [(u16, u16); 2],
    _members: Vec<Process>,
}

impl<'a> Etcd<'a> {
    fn profiles(sandbox: &'a Sandbox) -> Result<Self> {
        fs::create_dir(sandbox.path("etcd"))?;
        let path = |name: &str| sandbox.path("etcd").join(name);
        let (authority, key) = (path("ca.crt"), path("ca.key"));
        let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt"];
        args.extend(["ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        args.extend([
            "-subj",
            "/CN=etcd",
            "-keyout",
            arg(&key),
            "-out",
            arg(&authority),
        ]);
        sandbox.openssl(&args)?.ok()?;
        let home = sandbox.path("etcd").display().to_string();
        let config = format!(
            "[ca]\ndefault_ca = c\n[c]\ndatabase = {home}/index\nrand_serial = yes\nnew_certs_dir = {home}\n\
             certificate = {home}/ca.crt\nprivate_key = {home}/ca.key\ndefault_md = sha256\npolicy = p\n\
             copy_extensions = copy\nunique_subject = no\nx509_extensions = x\n[p]\ncommonName = supplied\n[x]\n\
             keyUsage = critical, digitalSignature\nextendedKeyUsage = serverAuth, clientAuth\n"
        );
        sandbox.write("etcd/ca.cnf", &config)?;
        sandbox.write("etcd/index", "")?;
        for (name, usages) in [
            (
                "etcd-peer",
                vec!["digital signature", "server auth", "client auth"],
            ),
            ("etcd-client", vec!["digital signature", "client auth"]),
        ] {
            let spec = json!({
                "signerName": ETCD_SIGNER,
                "subject": {"commonName": format!("{name}-{{node}}")},
                "dnsNames": ["localhost"],
                "ipAddresses": ["127.0.0.1"],
                "usages": usages,
                "authoritiesFile": authority,
                "outputs": [{
                    "certificate": path(&format!("{name}.crt")),
                    "key": path(&format!("{name}.key")),
                    "ca": path(&format!("{name}-ca.crt")),
                }],
            });
            profile(sandbox, name, &spec)?;
        }
        let ports = [(free_port()?, free_port()?), (free_port()?, free_port()?)];
        Ok(Self { sandbox, ports })
    }

    fn start(self, program: &Path) -> Result<RunningEtcd<'a>> {
        let Self { sandbox, ports } = self;
        written(sandbox, &["etcd/etcd-peer.crt", "etcd/etcd-client.crt"])?;
        let path = |name: &str| sandbox.path("etcd").join(name).display().to_string();
        let url = |port: u16| format!("https://127.0.0.1:{port}");
        let members: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(at, (_, peer))| format!("m{at}={}", url(*peer)))
            .collect();
        let mut running = Vec::new();
        for (at, (client, peer)) in ports.into_iter().enumerate() {
            let mut command = sandbox.command(program);
            command.args([
                "--name",
                &format!("m{at}"),
                "--data-dir",
                &path(&format!("m{at}")),
            ]);
            for side in ["", "peer-"] {
                for (flag, file) in [
                    ("cert-file", "etcd-peer.crt"),
                    ("key-file", "etcd-peer.key"),
                    ("trusted-ca-file", "etcd-peer-ca.crt"),
                ] {
                    command.arg(format!("--{side}{flag}={}", path(file)));
                }
                command.arg(format!("--{side}client-cert-auth"));
            }
            command.args(["--listen-client-urls", &url(client)]);
            command.args(["--advertise-client-urls", &url(client)]);
            command.args(["--listen-peer-urls", &url(peer)]);
            command.args(["--initial-advertise-peer-urls", &url(peer)]);
            command.args(["--initial-cluster", &members.join(",")]);
            running.push(sandbox.start(&format!("etcd-{at}"), &mut command)?);
        }
        Ok(RunningEtcd {
            sandbox,
            ports,
            _members: running,
        })
    }
}

impl RunningEtcd<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path("etcd").join(name)
    }

    /// What the first member shows the other.
    fn shows(&self) -> Result<Certificate> {
        let (certificate, key) = (self.path("etcd-client.crt"), self.path("etcd-client.key"));
        let more = ["-cert", arg(&certificate), "-key", arg(&key)];
        shown(self.sandbox, self.ports[0].1, &more)
    }

    /// Both members agree that there is a leader, asked with the client's files.
    fn is_healthy(&self, program: &Path) -> Result<()> {
        let endpoints: Vec<String> = self
            .ports
            .iter()
            .map(|(client, _)| format!("https://127.0.0.1:{client}"))
            .collect();
        eventually("etcd is healthy", 20, || {
            let mut command = self.sandbox.command(program);
            command.env("ETCDCTL_API", "3");
            command.arg(format!("--endpoints={}", endpoints.join(",")));
            command.arg(format!(
                "--cacert={}",
                self.path("etcd-client-ca.crt").display()
            ));
            command.arg(format!("--cert={}", self.path("etcd-client.crt").display()));
            command.arg(format!("--key={}", self.path("etcd-client.key").display()));
            run(command.args(["endpoint", "health"]))?.ok().map(drop)
        })
    }
}

/// Prometheus, which asks the API server for its metrics by a client certificate.
struct Prometheus<'a> {
    sandbox: &'a Sandbox,
    port: u16,
    target: String,
}

struct RunningPrometheus {
    port: u16,
    _process: Process,
}

impl<'a> Prometheus<'a> {
    fn profile(sandbox: &'a Sandbox, up: &Up<'_>) -> Result<Self> {
        let path = |name: &str| sandbox.path("prometheus").join(name);
        let spec = json!({
            "signerName": "kubernetes.io/kube-apiserver-client",
            "subject": {"commonName": "prometheus"},
            "usages": ["digital signature", "client auth"],
            "expirationSeconds": 600,
            "outputs": [
                {"certificate": path("tls.crt"), "key": path("tls.key"), "ca": path("ca.crt")},
                {"kubeconfig": path("kubeconfig")},
                {"pkcs12": path("tls.p12"), "passwordFile": path("password")},
            ],
        });
        profile(sandbox, "prometheus", &spec)?;
        sandbox.write("prometheus/password", "open sesame\n")?;
        let admin = up.admin();
        admin.quiet(&[
            "create",
            "clusterrole",
            "scrape",
            "--verb=get",
            "--non-resource-url=/metrics",
        ])?;
        let mut bind = vec!["create", "clusterrolebinding", "scrape"];
        bind.extend(["--clusterrole=scrape", "--user=prometheus"]);
        admin.quiet(&bind)?;
        let config = admin.json(&["config", "view"])?;
        let server = config["clusters"][0]["cluster"]["server"].as_str();
        let target = server.context("no server")?.trim_start_matches("https://");
        Ok(Self {
            sandbox,
            port: free_port()?,
            target: target.to_owned(),
        })
    }

    fn start(self, program: &Path) -> Result<RunningPrometheus> {
        let Self {
            sandbox,
            port,
            target,
        } = self;
        written(sandbox, &["prometheus/tls.crt", "prometheus/kubeconfig"])?;
        let by_file = Kubectl::new(sandbox, sandbox.path("prometheus/kubeconfig"));
        let whoami = by_file.json(&["auth", "whoami"])?;
        let user = whoami["status"]["userInfo"]["username"].as_str();
        same("who the kubeconfig is", user, Some("prometheus"))?;
        let text = format!(
            "scrape_configs:\n- job_name: apiserver\n  scheme: https\n  scrape_interval: 1s\n  tls_config:\n    cert_file: tls.crt\n    \
             key_file: tls.key\n    ca_file: ca.crt\n  static_configs:\n  - targets: [\"{target}\"]\n"
        );
        sandbox.write("prometheus/prometheus.yml", &text)?;
        let data = sandbox.path("prometheus/data");
        let config = sandbox.path("prometheus/prometheus.yml");
        let mut command = sandbox.command(program);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = sandbox.start("prometheus", &mut command)?;
        Ok(RunningPrometheus {
            port,
            _process: process,
        })
    }
}

impl RunningPrometheus {
    /// The API server has answered the last scrape.
    fn scrapes(&self) -> Result<()> {
        eventually("a scrape", 20, || {
            let address = format!("127.0.0.1:{}", self.port);
            let answer = http_get(&address, "/api/v1/query?query=up")?;
            if !answer.contains("\"1\"]") {
                bail!("Prometheus says {answer}");
            }
            Ok(())
        })
    }
}

impl RunningPrometheus {
    /// Once its files hold another certificate, this one is of no use any more.
    fn goes_on_without(&self, sandbox: &Sandbox, up: &Up<'_>, old: &Certificate) -> Result<()> {
        eventually("Prometheus' next certificate", 20, || {
            let on_disk = Certificate::read(sandbox, &sandbox.path("prometheus/tls.crt"))?;
            ensure_that!(on_disk.serial != old.serial, "still {}", old.serial);
            Ok(())
        })?;
        let admin = up.path("admin.conf");
        let mut revoke = sandbox.everleaf(&["ca", "revoke", "--serial", &old.serial]);
        run(revoke.args(["--reason", "superseded", "--kubeconfig", arg(&admin)]))?.ok()?;
        // It scrapes each second.
        std::thread::sleep(std::time::Duration::from_secs(3));
        self.scrapes()
    }
}

fn checked(sandbox: &Sandbox) -> Result<Verdict> {
    let spec = json!({
        "signerName": "example.com/web",
        "dnsNames": ["{node}.example.com"],
        "usages": ["digital signature", "server auth"],
        "outputs": [{"pem": "/etc/web/tls.pem"}],
        "afterRenewal": {"reloadUnit": "web.service"},
    });
    profile(sandbox, "web", &spec)?;
    let directory = sandbox.path("profiles");
    let check = |more: &[&str]| {
        let mut command = sandbox.everleaf(&["agent", "--check-profiles"]);
        command.args(["--hostname-override", "n1"]).args(more);
        run(&mut command)
    };
    let told = check(&["--profile-dir", arg(&directory)])?.ok()?;
    let expected = "web: from example.com/web\n  for    n1.example.com\n  usages digital signature, server auth; key ECDSA P-256\n  \
                    file   /etc/web/tls.pem\n  then   systemctl reload -- web.service\n";
    same("what the profile means", told.as_str(), expected)?;
    let mut wrong = spec;
    wrong["dnsName"] = json!(["x"]);
    profile(sandbox, "wrong", &wrong)?;
    let told = check(&["--profile-dir", arg(&directory)])?.failed_with(2)?;
    ensure_that!(
        told.contains("spec.dnsName: there is no such field; did you mean dnsNames?"),
        "{told}"
    );
    let mut agent = sandbox.everleaf(&["agent", "--kubeconfig", "k", "--profile-dir"]);
    let told = run(agent.arg(&directory))?.failed_with(2)?;
    ensure_that!(told.contains("did you mean dnsNames?"), "{told}");
    let told = check(&[])?.failed_with(2)?;
    ensure_that!(told.contains("needs --profile FILE"), "{told}");
    let told = check(&["--profile", "nowhere.yaml"])?.failed_with(1)?;
    ensure_that!(told.contains("cannot read the profile"), "{told}");
    Ok(Verdict::Passed)
}
