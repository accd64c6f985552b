//! An empty directory becomes an authority with a first certificate, in a moment; a second start
//! goes on with it.

use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict, now};
use everleaf_stage::{Certificate, HOST, Kubectl, Sandbox, Up, eventually, run};
use everleaf_stage::{ensure_that, same};
use jiff::SignedDuration;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "an_empty_directory_has_an_issued_request_within_two_seconds",
        long: false,
        run: two_seconds,
    },
    Test {
        name: "files_are_named_as_kubeadm_names_them_and_private",
        long: false,
        run: files,
    },
    Test {
        name: "a_second_start_goes_on_with_what_is_there",
        long: false,
        run: second_start,
    },
    Test {
        name: "ten_years_under_both_flag_names",
        long: false,
        run: ten_years,
    },
    Test {
        name: "another_san_reissues_the_server_certificate",
        long: false,
        run: sans,
    },
    Test {
        name: "without_a_node_nothing_is_requested",
        long: false,
        run: no_node,
    },
    Test {
        name: "a_controller_that_nobody_wants_does_not_run",
        long: false,
        run: left_out,
    },
    Test {
        name: "one_address_tells_what_every_part_counts",
        long: false,
        run: metrics,
    },
    Test {
        name: "a_killed_first_start_is_completed_by_the_next",
        long: false,
        run: killed_first_start,
    },
    Test {
        name: "a_store_that_is_gone_is_not_replaced_by_an_empty_one",
        long: false,
        run: lost_store,
    },
    Test {
        name: "what_a_start_can_make_again_it_makes_again",
        long: false,
        run: junk,
    },
    Test {
        name: "a_node_that_cannot_start_does_not_end_the_server",
        long: false,
        run: node_in_trouble,
    },
];

fn two_seconds(sandbox: &Sandbox) -> Result<Verdict> {
    let started = now();
    let up = Up::launch(sandbox, &[])?;
    let row = eventually("a row Approved,Issued", 5, || {
        ensure_that!(up.path("admin.conf").exists(), "no admin.conf yet");
        let table = up.admin().quiet(&["get", "csr"])?;
        let row = table.lines().nth(1).unwrap_or_default().to_owned();
        ensure_that!(row.ends_with("Approved,Issued"), "{table}");
        Ok((table, row))
    })?;
    let took = started.elapsed();
    ensure_that!(took < Duration::from_secs(2), "it took {took:?}");
    let heading: Vec<&str> = row
        .0
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let columns = [
        "NAME",
        "AGE",
        "SIGNERNAME",
        "REQUESTOR",
        "REQUESTEDDURATION",
        "CONDITION",
    ];
    same("columns", heading, columns.to_vec())?;
    let cells: Vec<&str> = row.1.split_whitespace().collect();
    ensure_that!(cells[0].starts_with("node-csr-"), "name {}", cells[0]);
    same(
        "signer",
        cells[2],
        "kubernetes.io/kube-apiserver-client-kubelet",
    )?;
    ensure_that!(
        cells[3].starts_with("system:bootstrap:"),
        "requestor {}",
        cells[3]
    );
    same("requested duration", cells[4], "<none>")?;
    Ok(Verdict::Passed)
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::symlink_metadata(path)?.mode() & 0o777)
}

fn files(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    up.node_certificate()?;
    same("mode of the data directory", mode(&up.path(""))?, 0o700)?;
    for name in [
        "admin.conf",
        "bootstrap-kubelet.conf",
        "kubelet.conf",
        "pki/ca.crt",
        "pki/ca.key",
        "pki/apiserver.crt",
        "pki/apiserver.key",
        "pki/front-proxy-ca.crt",
        "pki/sa.key",
        "pki/sa.pub",
    ] {
        same(name, mode(&up.path(name))?, 0o600)?;
    }
    ensure_that!(up.path("store").is_dir(), "no store");
    let current = up.path("node/pki/kubelet-client-current.pem");
    ensure_that!(
        fs::symlink_metadata(&current)?.is_symlink(),
        "current is no symlink"
    );
    let target = fs::read_link(&current)?;
    ensure_that!(
        target.is_absolute(),
        "the link's target {target:?} is not absolute"
    );
    same("mode of the certificate", mode(&target)?, 0o600)?;
    let lock = fs::read_to_string(up.path("lock"))?;
    same(
        "pid in the lock",
        lock.trim().parse::<u32>().ok(),
        Some(up.process.id()),
    )?;
    let kubelet = fs::read_to_string(up.path("kubelet.conf"))?;
    ensure_that!(
        kubelet.contains("kubelet-client-current.pem"),
        "kubelet.conf: {kubelet}"
    );
    for text in [up.process.stdout(), up.process.stderr()] {
        for token in tokens(&up.path("bootstrap-kubelet.conf"))? {
            ensure_that!(!text.contains(&token), "a token was printed");
        }
    }
    for words in ["admin.conf", "bootstrap-kubelet.conf", "kubectl"] {
        ensure_that!(
            up.process.stdout().contains(words),
            "stdout does not name {words}"
        );
    }
    Ok(Verdict::Passed)
}

fn tokens(kubeconfig: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(kubeconfig)?;
    let tokens: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("token:"))
        .map(|token| token.trim().trim_matches('"').to_owned())
        .collect();
    ensure_that!(
        tokens.len() == 1,
        "{} tokens in {}",
        tokens.len(),
        kubeconfig.display()
    );
    let secret = tokens[0]
        .split('.')
        .next_back()
        .unwrap_or_default()
        .to_owned();
    Ok(vec![secret])
}

fn second_start(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &[])?;
    let before = up.node_certificate()?;
    let ca = fs::read(up.path("pki/ca.crt"))?;
    let names = up.admin().quiet(&["get", "csr", "-o", "name"])?;
    let revision = resource_version(&up.admin())?;
    same("exit code on SIGTERM", up.process.stop()?, 0)?;
    up.restart()?;
    same(
        "the host's certificate",
        up.node_certificate()?.serial,
        before.serial,
    )?;
    ensure_that!(fs::read(up.path("pki/ca.crt"))? == ca, "another authority");
    same(
        "requests",
        up.admin().quiet(&["get", "csr", "-o", "name"])?,
        names,
    )?;
    let after = resource_version(&up.admin())?;
    ensure_that!(
        after >= revision,
        "resource version {after} after {revision}"
    );
    Ok(Verdict::Passed)
}

/// `metadata.resourceVersion` of the list of requests.
pub(super) fn resource_version(kubectl: &Kubectl<'_>) -> Result<u64> {
    let list = kubectl.quiet(&["get", "--raw", super::second_node::REQUESTS])?;
    let list: serde_json::Value = serde_json::from_str(&list)?;
    Ok(list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .parse()?)
}

fn ten_years(sandbox: &Sandbox) -> Result<Verdict> {
    let ten_years = SignedDuration::from_hours(87_600);
    for (flags, wanted, deprecations) in [
        (
            vec!["--cluster-signing-duration", "87600h0m0s"],
            ten_years,
            0,
        ),
        (
            vec!["--experimental-cluster-signing-duration=87600h0m0s"],
            ten_years,
            1,
        ),
        (
            vec![
                "--experimental-cluster-signing-duration=1h",
                "--cluster-signing-duration=87600h",
            ],
            ten_years,
            1,
        ),
        (
            vec![
                "--cluster-signing-duration=87600h",
                "--experimental-cluster-signing-duration=2h",
            ],
            // Below eight hours a signer's backdating does not count against the lifetime.
            SignedDuration::from_mins(2 * 60 + 5),
            1,
        ),
    ] {
        let mut up = Up::start(sandbox, &flags)?;
        let certificate = up.node_certificate()?;
        same("lifetime", certificate.lifetime(), wanted)?;
        same(
            "subject",
            certificate.subject,
            format!("O = system:nodes, CN = system:node:{HOST}"),
        )?;
        let (ca, leaf) = (
            up.path("pki/ca.crt"),
            up.path("node/pki/kubelet-client-current.pem"),
        );
        let (ca_arg, leaf) = (ca.to_string_lossy(), leaf.to_string_lossy());
        let verified =
            sandbox.openssl(&["verify", "-purpose", "sslclient", "-CAfile", &ca_arg, &leaf])?;
        ensure_that!(
            verified.ok()?.trim().ends_with(": OK"),
            "openssl does not verify it"
        );
        let ca = Certificate::read(sandbox, &ca)?;
        ensure_that!(
            ca.not_after > certificate.not_after,
            "the authority ends first"
        );
        let said = up.process.stderr().matches("has been deprecated").count();
        same("deprecation lines", said, deprecations)?;
        same("exit code", up.process.stop()?, 0)?;
        fs::remove_dir_all(up.path(""))?;
    }
    Ok(Verdict::Passed)
}

fn sans(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &[])?;
    let path = up.path("pki/apiserver.crt");
    let before = Certificate::read(sandbox, &path)?;
    for name in ["DNS:localhost", "IP Address:127.0.0.1", "DNS:kubernetes"] {
        ensure_that!(before.names.contains(name), "no {name} in {}", before.names);
    }
    up.process.stop()?;
    up.restart()?;
    same(
        "the server's certificate",
        Certificate::read(sandbox, &path)?.serial,
        before.serial,
    )?;
    up.process.stop()?;
    up.restart_with(&["--tls-san", "ca.example.org,192.0.2.7"])?;
    let after = Certificate::read(sandbox, &path)?;
    for name in ["DNS:ca.example.org", "IP Address:192.0.2.7"] {
        ensure_that!(after.names.contains(name), "no {name} in {}", after.names);
    }
    Ok(Verdict::Passed)
}

fn metrics(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let node = up.node_certificate()?;
    let text = up.admin().quiet(&["get", "--raw", "/metrics"])?;
    let mut families: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let all = families.len();
    families.sort_unstable();
    families.dedup();
    same("families that are there once", families.len(), all)?;
    let end = |file: &str| Certificate::read(sandbox, &up.path(file));
    let (ca, server) = (end("pki/ca.crt")?, end("pki/apiserver.crt")?);
    let client = "kubernetes.io/kube-apiserver-client-kubelet";
    for (series, value) in [
        (
            "everleaf_up_certificate_expiry_timestamp_seconds{certificate=\"ca\"}".to_owned(),
            ca.not_after.as_second(),
        ),
        (
            "everleaf_up_certificate_expiry_timestamp_seconds{certificate=\"apiserver\"}"
                .to_owned(),
            server.not_after.as_second(),
        ),
        (
            format!("everleaf_ca_expiry_timestamp_seconds{{signer=\"{client}\"}}"),
            ca.not_after.as_second(),
        ),
        (
            "everleaf_agent_certificate_expiry_timestamp_seconds{kind=\"client\"}".to_owned(),
            node.not_after.as_second(),
        ),
        (
            format!("everleaf_csr_issued_total{{signer=\"{client}\"}}"),
            1,
        ),
        (format!("everleaf_csr_pending{{signer=\"{client}\"}}"), 0),
    ] {
        let line = format!("{series} {value}");
        ensure_that!(
            text.lines().any(|told| told == line),
            "no {line} in\n{text}"
        );
    }
    // Each of the runs of `up`'s controllers would overwrite this one with its own.
    for queue in ["certificate", "token_cleaner", "root_ca_cert_publisher"] {
        let depth = format!("workqueue_depth{{name=\"{queue}\"}} ");
        ensure_that!(text.contains(&depth), "no {depth} in\n{text}");
    }
    Ok(Verdict::Passed)
}

fn no_node(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    same(
        "requests",
        up.admin().run(&["get", "csr"])?.stderr.trim(),
        "No resources found",
    )?;
    ensure_that!(!up.path("node").exists(), "there is a node directory");
    same("exit code", up.process.stop()?, 0)?;
    Ok(Verdict::Passed)
}

fn left_out(sandbox: &Sandbox) -> Result<Verdict> {
    let flag = "--controllers=*,-root-ca-certificate-publisher-controller";
    let mut up = Up::start(sandbox, &["--no-node", flag])?;
    let admin = up.admin();
    let map = ["get", "configmap", "kube-root-ca.crt"];
    let role = ["get", "clusterrole", "everleaf:root-ca-cert-publisher"];
    ensure_that!(admin.quiet(&role).is_err(), "its rights are there");
    ensure_that!(admin.quiet(&map).is_err(), "the CA is published");
    up.process.stop()?;
    // The others run, and so does this one when nobody says anything.
    let mut up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.admin();
    admin.quiet(&role)?;
    eventually("the CA is published", 10, || admin.quiet(&map).map(drop))?;
    up.process.stop()?;
    for (name, why) in [
        (
            "kube-apiserver-serving-clustertrustbundle-publisher-controller",
            "is no part of `everleaf up`",
        ),
        ("nonsense", "not in the list of known controllers"),
    ] {
        let flag = format!("--controllers={name}");
        let answer = run(&mut sandbox.everleaf(&["up", "--data-dir", "data", &flag]))?;
        ensure_that!(
            answer.code == Some(2) && answer.stderr.contains(why),
            "{name}: {answer:?}"
        );
    }
    Ok(Verdict::Passed)
}

/// Kills the first start after 0, 10, 20 … ms; the next start must always come up and issue.
fn killed_first_start(sandbox: &Sandbox) -> Result<Verdict> {
    for delay in (0..300).step_by(15) {
        let mut up = Up::launch(sandbox, &[])?;
        std::thread::sleep(Duration::from_millis(delay));
        up.process.kill();
        up.restart()?;
        up.node_certificate()?;
        up.process.kill();
        fs::set_permissions(up.path(""), fs::Permissions::from_mode(0o700))?;
        fs::remove_dir_all(up.path(""))?;
    }
    run(&mut sandbox.everleaf(&["version"]))?.ok()?;
    Ok(Verdict::Passed)
}

/// Emptied or gone, with the journal or without: refused, and nothing that is left is touched.
fn lost_store(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    up.admin().quiet(&["create", "namespace", "keep"])?;
    up.process.kill();
    let store = up.path("store/log.db");
    let copy = sandbox.path("copy");
    let whole = fs::read(&store)?;
    fs::create_dir(&copy)?;
    for entry in fs::read_dir(up.path("store"))? {
        let entry = entry?;
        fs::copy(entry.path(), copy.join(entry.file_name()))?;
    }
    let files = || -> Result<Vec<(String, u64)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(up.path("store"))? {
            let entry = entry?;
            all.push((
                entry.file_name().to_string_lossy().into_owned(),
                entry.metadata()?.len(),
            ));
        }
        all.sort();
        Ok(all)
    };
    for (empty, word) in [(true, "empty"), (false, "missing")] {
        if empty {
            fs::write(&store, "")?;
        } else {
            fs::remove_file(&store)?;
        }
        let before = files()?;
        let refusal = run(&mut sandbox.everleaf(&["up", "--data-dir", "data", "--no-node"]))?;
        let words = refusal.failed_with(1)?;
        for part in ["log.db is ", word, "admin.conf is there", "put a copy"] {
            ensure_that!(words.contains(part), "no {part:?} in {words}");
        }
        same("files of the store", files()?, before)?;
    }
    ensure_that!(!whole.is_empty(), "the store had nothing");
    for entry in fs::read_dir(&copy)? {
        let entry = entry?;
        fs::copy(entry.path(), up.path("store").join(entry.file_name()))?;
    }
    up.restart()?;
    up.admin().quiet(&["get", "namespace", "keep"])?;
    Ok(Verdict::Passed)
}

fn junk(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &[])?;
    up.node_certificate()?;
    for name in [
        "admin.conf",
        "bootstrap-kubelet.conf",
        "kubelet.conf",
        "pki/apiserver.crt",
        "pki/apiserver.key",
        "pki/front-proxy-ca.crt",
        "pki/sa.pub",
    ] {
        up.process.stop()?;
        let whole = fs::read(up.path(name))?;
        fs::write(up.path(name), b"\xff\xfe\x00junk")?;
        up.restart()?;
        let made = fs::read(up.path(name))?;
        ensure_that!(
            made.len() * 2 > whole.len() && std::str::from_utf8(&made).is_ok(),
            "{name} is not made again"
        );
    }
    Ok(Verdict::Passed)
}

fn node_in_trouble(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    up.process.stop()?;
    // A file where the directory of its certificates belongs.
    fs::write(up.path("node"), "")?;
    up.args_mut().retain(|arg| arg != "--no-node");
    up.restart()?;
    let log = eventually("it says so", 10, || {
        let log = up.process.stderr();
        ensure_that!(log.contains("this host's node has no agent"), "{log}");
        Ok(log)
    })?;
    ensure_that!(log.contains("trying again every"), "{log}");
    up.admin().quiet(&["get", "namespaces"])?;
    fs::remove_file(up.path("node"))?;
    eventually("its certificate", 20, || up.node_certificate())?;
    Ok(Verdict::Passed)
}
