//! kubectl with the token of an issuer of its own: openssl signs, a small HTTPS server of openssl's
//! publishes the key.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, Process, Sandbox, Up, arg, ensure_that, eventually, same};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_token_of_a_configured_issuer_is_believed_and_its_issuer_may_be_away",
        long: false,
        run: structured,
    },
    Test {
        name: "a_token_is_believed_by_the_older_flags",
        long: false,
        run: flags,
    },
];

/// An issuer: its key, its certificate, and its server while that runs.
struct Issuer<'a> {
    sandbox: &'a Sandbox,
    port: u16,
}

impl<'a> Issuer<'a> {
    fn new(sandbox: &'a Sandbox) -> Result<Self> {
        let port = everleaf_stage::free_port()?;
        let issuer = Self { sandbox, port };
        fs::create_dir_all(sandbox.path("site/.well-known"))?;
        let openssl = |args: &[&str]| sandbox.openssl(args).and_then(|answer| answer.ok());
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "tls.key",
            "-out",
            "tls.crt",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])?;
        issuer.publish("one")?;
        let url = issuer.url();
        let document = format!(r#"{{"issuer":"{url}","jwks_uri":"{url}/keys"}}"#);
        sandbox.write("site/.well-known/openid-configuration", &document)?;
        Ok(issuer)
    }

    /// Makes a key of this name, and publishes it alone.
    fn publish(&self, kid: &str) -> Result<()> {
        let file = format!("{kid}.key");
        let openssl = |args: &[&str]| self.sandbox.openssl(args).and_then(|answer| answer.ok());
        openssl(&["genrsa", "-out", &file, "2048"])?;
        let modulus = openssl(&["rsa", "-in", &file, "-noout", "-modulus"])?;
        let modulus = modulus
            .trim()
            .strip_prefix("Modulus=")
            .context("no modulus")?;
        let n = URL_SAFE_NO_PAD.encode(from_hex(modulus)?);
        let keys = format!(
            r#"{{"keys":[{{"kty":"RSA","kid":"{kid}","alg":"RS256","use":"sig","n":"{n}","e":"AQAB"}}]}}"#
        );
        self.sandbox.write("site/keys", &keys)?;
        Ok(())
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Serves what it publishes.
    fn serve(&self) -> Result<Process> {
        let mut command = self.sandbox.command(&self.sandbox.tools.openssl);
        let port = self.port.to_string();
        command.args([
            "s_server",
            "-quiet",
            "-WWW",
            "-cert",
            "../tls.crt",
            "-key",
            "../tls.key",
        ]);
        command.args(["-accept", &port]);
        command.current_dir(self.sandbox.path("site"));
        self.sandbox.start("issuer", &mut command)
    }

    /// A token with these claims beside `iss` and `exp`.
    fn token(&self, claims: &str) -> Result<String> {
        self.token_by("one", claims)
    }

    /// One that the key of this name signs.
    fn token_by(&self, kid: &str, claims: &str) -> Result<String> {
        let end = now() + 600;
        let claims = format!(r#"{{"iss":"{}","exp":{end},{claims}}}"#, self.url());
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#));
        let text = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let input = self.sandbox.write("signed", &text)?;
        let output = self.sandbox.path("signature");
        let args = [
            "dgst",
            "-sha256",
            "-sign",
            &format!("{kid}.key"),
            "-out",
            arg(&output),
            arg(&input),
        ];
        self.sandbox.openssl(&args)?.ok()?;
        Ok(format!(
            "{text}.{}",
            URL_SAFE_NO_PAD.encode(fs::read(&output)?)
        ))
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "tokens end by the real clock")]
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let pairs = (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16));
    Ok(pairs.collect::<Result<_, _>>()?)
}

/// A kubeconfig that brings this token and nothing else.
fn kubeconfig(sandbox: &Sandbox, up: &Up<'_>, token: &str) -> Result<std::path::PathBuf> {
    let admin = up.admin();
    let server = admin.quiet(&[
        "config",
        "view",
        "-o",
        "jsonpath={.clusters[0].cluster.server}",
    ])?;
    let ca = up.path("pki/ca.crt");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: {{server: \"{}\", certificate-authority: \"{}\"}}}}]\nusers: [{{name: u, user: {{token: \"{token}\"}}}}]\n",
        server.trim(),
        ca.display()
    );
    sandbox.write("token.conf", &text)
}

/// What `kubectl auth whoami` says: the name, and the groups.
fn whoami(sandbox: &Sandbox, up: &Up<'_>, token: &str) -> Result<String> {
    let kubectl = Kubectl::new(sandbox, kubeconfig(sandbox, up, token)?);
    let form = "jsonpath={.status.userInfo.username} {.status.userInfo.groups}";
    Ok(kubectl
        .quiet(&["auth", "whoami", "-o", form])?
        .trim()
        .to_owned())
}

fn structured(sandbox: &Sandbox) -> Result<Verdict> {
    let issuer = Issuer::new(sandbox)?;
    let ca = fs::read_to_string(sandbox.path("tls.crt"))?.replace('\n', "\n      ");
    let config = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: {}\n    audiences: [everleaf]\n    certificateAuthority: |\n      {ca}\n  claimMappings:\n    username: {{expression: \"'sso:' + claims.sub\"}}\n    groups: {{claim: groups, prefix: \"sso:\"}}\n  userValidationRules:\n  - {{expression: \"!user.username.endsWith('eve')\", message: not her}}\n",
        issuer.url()
    );
    let file = sandbox.write("authentication.yaml", &config)?;
    // The issuer is away: its tokens are refused, and everything else goes on.
    let up = Up::start(
        sandbox,
        &["--no-node", "--authentication-config", arg(&file)],
    )?;
    let jane = issuer.token(r#""aud":"everleaf","sub":"jane","groups":["dev"]"#)?;
    ensure_that!(
        whoami(sandbox, &up, &jane).is_err(),
        "believed without keys"
    );
    up.admin().quiet(&["get", "namespaces"])?;
    let mut server = issuer.serve()?;
    let wanted = r#"sso:jane ["sso:dev","system:authenticated"]"#;
    eventually("the token is believed", 40, || {
        same("who", whoami(sandbox, &up, &jane)?, wanted.to_owned())
    })?;
    server.kill();
    same(
        "who, while the issuer is away",
        whoami(sandbox, &up, &jane)?,
        wanted.to_owned(),
    )?;
    for claims in [
        r#""aud":"other","sub":"jane""#,
        r#""aud":"everleaf","sub":"eve""#,
        r#""aud":"everleaf","sub":"jane","exp":1"#,
    ] {
        let refused = whoami(sandbox, &up, &issuer.token(claims)?);
        ensure_that!(refused.is_err(), "{claims} is believed");
    }
    // Who is named is told, and by whom; what the token is, is not.
    let log = up.process.stderr();
    ensure_that!(log.contains("not her"), "nothing of why is told: {log}");
    ensure_that!(!log.contains(&jane), "a token is told");
    // Rights come with the name.
    let admin = up.admin();
    admin.quiet(&[
        "create",
        "clusterrolebinding",
        "dev",
        "--clusterrole=view",
        "--group=sso:dev",
    ])?;
    let kubectl = Kubectl::new(sandbox, kubeconfig(sandbox, &up, &jane)?);
    ensure_that!(
        kubectl.can_i(&["list", "configmaps"])?,
        "no rights come with the group"
    );
    // The file is read again.
    fs::write(&file, config.replace("'sso:'", "'new:'"))?;
    let wanted = r#"new:jane ["sso:dev","system:authenticated"]"#;
    eventually("the file is read again", 30, || {
        same("who", whoami(sandbox, &up, &jane)?, wanted.to_owned())
    })?;
    Ok(Verdict::Passed)
}

fn flags(sandbox: &Sandbox) -> Result<Verdict> {
    let issuer = Issuer::new(sandbox)?;
    let _server = issuer.serve()?;
    let ca = sandbox.path("tls.crt");
    let url = issuer.url();
    let flags = [
        "--no-node",
        "--oidc-issuer-url",
        &url,
        "--oidc-client-id",
        "everleaf",
        "--oidc-ca-file",
        arg(&ca),
        "--oidc-groups-claim",
        "groups",
        "--oidc-required-claim",
        "hd=example.com",
    ];
    let up = Up::start(sandbox, &flags)?;
    let jane =
        issuer.token(r#""aud":["x","everleaf"],"sub":"jane","groups":"dev","hd":"example.com""#)?;
    let wanted = format!(r#"{url}#jane ["dev","system:authenticated"]"#);
    eventually("the token is believed", 20, || {
        same("who", whoami(sandbox, &up, &jane)?, wanted.clone())
    })?;
    let other = issuer.token(r#""aud":"everleaf","sub":"jane","hd":"example.org""#)?;
    ensure_that!(whoami(sandbox, &up, &other).is_err(), "without its claim");
    // Its issuer has a new key. Whoever asks about a token is told what its holder would be.
    issuer.publish("two")?;
    let joe = issuer.token_by("two", r#""aud":"everleaf","sub":"joe","hd":"example.com""#)?;
    // Keys are not fetched twice within five seconds.
    sleep(Duration::from_secs(6));
    let review = format!(
        r#"{{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{{"token":"{joe}"}}}}"#
    );
    let review = sandbox.write("review.json", &review)?;
    let form = "jsonpath={.status.authenticated} {.status.user.username}";
    let admin = up.admin();
    let said = admin.quiet(&["create", "-f", arg(&review), "-o", form])?;
    same("the review", said.trim(), &format!("true {url}#joe"))?;
    Ok(Verdict::Passed)
}
