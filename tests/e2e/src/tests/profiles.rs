//! Certificates of other programs: the worked examples of docs/profiles.md, with those programs.

mod changes;
mod etcd;
mod nginx;
mod prometheus;

use anyhow::{Context, Result};
use etcd::Etcd;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Certificate, FakeClock, Kubectl, Sandbox, Up, arg, ensure_that, eventually, free_port,
    http_get, run, same,
};
use jiff::{SignedDuration, Timestamp};
use nginx::{Nginx, RunningNginx};
use prometheus::Prometheus;
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
    Test {
        name: "profiles_are_taken_up_while_the_agent_runs",
        long: false,
        run: changes::followed,
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
    opens(sandbox, &first.2)?;
    told_later(sandbox, &metrics)?;
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
    follows(sandbox, &mut nginx, &first.0)?;
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

/// nginx came after its files: the first signal found nobody.
fn told_later(sandbox: &Sandbox, metrics: &str) -> Result<()> {
    sandbox.point("a program that was not running yet is told later", || {
        eventually("nginx is told", 15, || {
            let text = http_get(metrics, "/metrics")?;
            let name = "everleaf_agent_profile_actions_total{kind=\"nginx\",result=";
            ensure_that!(!text.contains(&format!("{name}\"failed\"}} 0")), "{text}");
            ensure_that!(text.contains(&format!("{name}\"done\"}} 1")), "{text}");
            let owed = "everleaf_agent_profile_action_owed{kind=\"nginx\"} 0";
            ensure_that!(text.contains(owed), "{text}");
            Ok(())
        })
    })
}

/// nginx shows another certificate than its first, which is the one of its files.
fn follows(sandbox: &Sandbox, nginx: &mut RunningNginx<'_>, first: &Certificate) -> Result<()> {
    let pid = nginx.process.id();
    sandbox.point("openssl s_client sees nginx change its certificate", || {
        eventually("nginx' next certificate", 20, || {
            let shown = nginx.shows()?;
            ensure_that!(shown.serial != first.serial, "still {}", shown.serial);
            let on_disk = Certificate::read(sandbox, &sandbox.path("nginx/tls.crt"))?;
            same("serial", shown.serial, on_disk.serial)
        })?;
        same("nginx' process", nginx.process.id(), pid)?;
        ensure_that!(nginx.process.is_running(), "nginx has ended");
        Ok(())
    })
}

/// The PKCS#12 file holds this certificate, and the key of the other files.
fn opens(sandbox: &Sandbox, certificate: &Certificate) -> Result<()> {
    let claim = "openssl opens the PKCS#12 file with its password and no other";
    sandbox.point(claim, || {
        let file = sandbox.path("prometheus/tls.p12");
        let open = |password: &str| {
            let password = format!("pass:{password}");
            let args = ["pkcs12", "-in", arg(&file), "-nodes", "-passin", &password];
            sandbox.openssl(&args)
        };
        let text = open("open sesame")?.ok()?;
        let opened = sandbox.write("opened.pem", &text)?;
        let inside = Certificate::read(sandbox, &opened)?;
        same("serial", &inside.serial, &certificate.serial)?;
        ensure_that!(text.contains("friendlyName: prometheus"), "{text}");
        let public = |file: &Path| {
            let args = ["pkey", "-in", arg(file), "-pubout"];
            sandbox.openssl(&args)?.ok()
        };
        let key = sandbox.path("prometheus/tls.key");
        same("its key", public(&opened)?, public(&key)?)?;
        ensure_that!(open("sesame")?.code != Some(0), "any password opens it");
        Ok(())
    })
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
#[expect(clippy::disallowed_methods, reason = "openssl is given the real time")]
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
    let examples = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/profiles"
    ));
    let told = check(&["--profile-dir", arg(examples)])?.ok()?;
    for name in ["nginx", "etcd-peer", "etcd-client", "prometheus"] {
        ensure_that!(told.contains(&format!("{name}: from ")), "{told}");
    }
    let mut wrong = spec;
    wrong["dnsName"] = json!(["x"]);
    profile(sandbox, "wrong", &wrong)?;
    let told = check(&["--profile-dir", arg(&directory)])?.failed_with(2)?;
    ensure_that!(
        told.contains("spec.dnsName: there is no such field; did you mean dnsNames?"),
        "{told}"
    );
    let told = check(&[])?.failed_with(2)?;
    ensure_that!(told.contains("needs --profile FILE"), "{told}");
    let told = check(&["--profile", "nowhere.yaml"])?.failed_with(1)?;
    ensure_that!(told.contains("cannot read the profile"), "{told}");
    Ok(Verdict::Passed)
}
