//! What other TLS libraries make of the certificates: docs/tls-stacks.md.

use super::authority::renew;
use anyhow::{Context, Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Answer, Sandbox, Up, arg, ensure_that, eventually, host_address, run};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};

pub(super) const TESTS: &[Test] = &[Test {
    name: "every_tls_library_takes_the_certificates",
    long: true,
    run: all,
}];

const NAME: &str = "n2";

/// A certificate, what it is for, and the CA files below each of which it has to be good.
struct Case<'a> {
    sandbox: &'a Sandbox,
    purpose: &'static str,
    leaf: PathBuf,
    address: String,
    authorities: Vec<PathBuf>,
}

fn all(sandbox: &Sandbox) -> Result<Verdict> {
    let (Some(stacks), Some(leafcheck)) = (&sandbox.tools.tls_stacks, &sandbox.tools.leafcheck)
    else {
        let why = "Debian's packages could not be unpacked, or there is no Go";
        return Ok(Verdict::Skipped(why.to_owned()));
    };
    let up = Up::start(sandbox, &[])?;
    let cases = certificates(sandbox, &up)?;
    let claim = |name: &str, verify: &dyn Fn(&Case<'_>, &Path) -> Result<()>| {
        sandbox.point(name, || {
            for case in &cases {
                for authority in &case.authorities {
                    verify(case, authority)
                        .with_context(|| format!("{}, {}", case.purpose, authority.display()))?;
                }
            }
            Ok(())
        })
    };
    claim(
        "OpenSSL takes client and serving certificate, also below a renewed CA",
        &openssl,
    )?;
    claim("Go does", &|case, authority| go(leafcheck, case, authority))?;
    claim("rustls (webpki) does", &rustls)?;
    claim("GnuTLS does", &|case, authority| {
        gnutls(stacks, case, authority)
    })?;
    claim("NSS does", &|case, authority| nss(stacks, case, authority))?;
    match run(sandbox.command(Path::new("javac")).arg("-version")) {
        Ok(_) => claim("Java does", &java)?,
        Err(_) => sandbox.point("Java was not tried: there is no JDK here", || Ok(()))?,
    }
    sandbox.point(
        "zlint has no complaint about any certificate of the cluster",
        || zlint(sandbox, &up, leafcheck, &cases),
    )?;
    Ok(Verdict::Passed)
}

/// A node's certificates, the CA, and the same renewed with its key by the documented command: each
/// alone, and both in either order.
fn certificates<'a>(sandbox: &'a Sandbox, up: &Up<'_>) -> Result<Vec<Case<'a>>> {
    let address = host_address()?.to_string();
    let mut agent = Agent::new(sandbox, up, NAME);
    for flag in ["--rotate-server-certificates", "--node-ip", &address] {
        agent.args.push(flag.to_owned());
    }
    agent.start()?;
    agent.certificate()?;
    let serving = agent.path("pki/kubelet-server-current.pem");
    eventually("the serving certificate", 15, || {
        ensure_that!(serving.is_file(), "not yet");
        Ok(())
    })?;
    fs::create_dir(sandbox.path("renewed"))?;
    for name in ["ca.crt", "ca.key"] {
        fs::copy(
            up.path("pki").join(name),
            sandbox.path("renewed").join(name),
        )?;
    }
    renew(sandbox, &sandbox.path("renewed"))?;
    let old = fs::read_to_string(up.path("pki/ca.crt"))?;
    let new = fs::read_to_string(sandbox.path("renewed/ca.crt"))?;
    ensure_that!(old != new, "nothing was renewed");
    let authorities = vec![
        up.path("pki/ca.crt"),
        sandbox.path("renewed/ca.crt"),
        sandbox.write("old-new.crt", &format!("{old}{new}"))?,
        sandbox.write("new-old.crt", &format!("{new}{old}"))?,
    ];
    let client = agent.path("pki/kubelet-client-current.pem");
    let mut cases = Vec::new();
    for (purpose, from) in [("client", client), ("server", serving)] {
        // Without the key that stands beside it.
        let leaf = sandbox.path(&format!("{purpose}.crt"));
        let args = ["x509", "-in", arg(&from), "-out", arg(&leaf)];
        sandbox.openssl(&args)?.ok()?;
        cases.push(Case {
            sandbox,
            purpose,
            leaf,
            address: address.clone(),
            authorities: authorities.clone(),
        });
    }
    agent.stop()?;
    Ok(cases)
}

fn openssl(case: &Case<'_>, authority: &Path) -> Result<()> {
    let purpose = format!("ssl{}", case.purpose);
    let mut args = vec![
        "verify",
        "-x509_strict",
        "-purpose",
        &purpose,
        "-CAfile",
        arg(authority),
    ];
    if case.purpose == "server" {
        args.extend(["-verify_hostname", NAME, "-verify_ip", &case.address]);
    }
    args.push(arg(&case.leaf));
    case.sandbox.openssl(&args)?.ok()?;
    Ok(())
}

fn go(leafcheck: &Path, case: &Case<'_>, authority: &Path) -> Result<()> {
    let mut command = case.sandbox.command(leafcheck);
    command
        .arg("verify")
        .arg(authority)
        .arg(case.purpose)
        .arg(&case.leaf);
    if case.purpose == "server" {
        command.args([NAME, &case.address]);
    }
    run(&mut command)?.ok()?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "what real programs made is judged by the present"
)]
fn rustls(case: &Case<'_>, authority: &Path) -> Result<()> {
    let roots: Vec<CertificateDer<'_>> =
        CertificateDer::pem_file_iter(authority)?.collect::<Result<_, _>>()?;
    let anchors = roots
        .iter()
        .map(webpki::anchor_from_trusted_cert)
        .collect::<Result<Vec<_>, _>>()?;
    let leaf = CertificateDer::from_pem_file(&case.leaf)?;
    let leaf = EndEntityCert::try_from(&leaf)?;
    let usage = match case.purpose {
        "server" => KeyUsage::server_auth(),
        _ => KeyUsage::client_auth(),
    };
    let seconds = u64::try_from(jiff::Timestamp::now().as_second())?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    leaf.verify_for_usage(algorithms, &anchors, &[], now, usage, None, None)?;
    if case.purpose == "server" {
        for name in [NAME, &case.address] {
            leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name)?)?;
        }
    }
    Ok(())
}

fn gnutls(stacks: &Path, case: &Case<'_>, authority: &Path) -> Result<()> {
    let purpose = match case.purpose {
        "server" => "1.3.6.1.5.5.7.3.1",
        _ => "1.3.6.1.5.5.7.3.2",
    };
    let mut command = case.sandbox.unpacked(stacks, "certtool");
    command
        .arg("--verify")
        .arg("--load-ca-certificate")
        .arg(authority);
    command.arg("--infile").arg(&case.leaf);
    command.args(["--verify-purpose", purpose]);
    if case.purpose == "server" {
        command.args(["--verify-hostname", NAME]);
    }
    says(run(&mut command)?, "The certificate is trusted")
}

fn nss(stacks: &Path, case: &Case<'_>, authority: &Path) -> Result<()> {
    let sandbox = case.sandbox;
    let number = fs::read_dir(sandbox.path(""))?.count();
    let directory = sandbox.path(&format!("nss-{number}"));
    fs::create_dir(&directory)?;
    let database = format!("sql:{}", directory.display());
    let certutil = |args: &[&str]| {
        let mut command = sandbox.unpacked(stacks, "certutil");
        run(command.args(args).args(["-d", &database]))
    };
    certutil(&["-N", "--empty-password"])?.ok()?;
    // It reads one certificate of a file.
    let text = fs::read_to_string(authority)?;
    for (index, block) in text
        .split_inclusive("-----END CERTIFICATE-----\n")
        .enumerate()
    {
        let file = sandbox.write(&format!("nss-{number}/{index}.crt"), block)?;
        let name = format!("ca{index}");
        certutil(&["-A", "-n", &name, "-t", "CT,C,C", "-i", arg(&file)])?.ok()?;
    }
    certutil(&["-A", "-n", "leaf", "-t", ",,", "-i", arg(&case.leaf)])?.ok()?;
    let usage = match case.purpose {
        "server" => "V",
        _ => "C",
    };
    let answer = certutil(&["-V", "-n", "leaf", "-u", usage, "-e"])?;
    says(answer, "certificate is valid")
}

fn java(case: &Case<'_>, authority: &Path) -> Result<()> {
    const SOURCE: &str = include_str!("verify.java");
    let sandbox = case.sandbox;
    if !sandbox.path("Verify.class").is_file() {
        let source = sandbox.write("Verify.java", SOURCE)?;
        run(sandbox.command(Path::new("javac")).arg(source))?.ok()?;
    }
    let mut command = sandbox.command(Path::new("java"));
    command
        .arg("Verify")
        .arg(authority)
        .arg(case.purpose)
        .arg(&case.leaf);
    says(run(&mut command)?, "Java ")
}

fn says(answer: Answer, words: &str) -> Result<()> {
    let text = answer.ok()?;
    if !text.contains(words) {
        bail!("it says {text}");
    }
    Ok(())
}

/// What the nodes got, and what `up` made for itself.
fn zlint(sandbox: &Sandbox, up: &Up<'_>, leafcheck: &Path, cases: &[Case<'_>]) -> Result<()> {
    let mut command = sandbox.command(leafcheck);
    command
        .arg("lint")
        .args(cases.iter().map(|case| &case.leaf));
    let mut own = 0;
    for entry in fs::read_dir(up.path("pki"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "crt") {
            command.arg(path);
            own += 1;
        }
    }
    ensure_that!(own >= 3, "only {own} certificates in pki");
    command.arg(up.path("node/pki/kubelet-client-current.pem"));
    run(&mut command)?.ok()?;
    Ok(())
}
