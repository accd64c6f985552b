use super::*;
use everleaf_pki::{Credential, Issuer, KeyAlgorithm, Leaf, PrivateKey, Subject, Template, Usage};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

fn authority(name: &str) -> Issuer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let (from, to) = ("2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z");
    Issuer::self_signed(
        name,
        key,
        [1; 16],
        from.parse().unwrap(),
        to.parse().unwrap(),
    )
    .unwrap()
}

/// A credential of `issuer` for `name`, at 127.0.0.1 if it is a server's.
fn credential(issuer: &Issuer, name: &str, usage: Usage, serial: u8) -> Credential {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let template = Template {
        subject: Subject {
            common_name: name.into(),
            organizations: vec![],
        },
        ip_addresses: vec!["127.0.0.1".parse().unwrap()],
        ..Template::default()
    };
    let (from, to) = ("2021-01-01T00:00:00Z", "2089-01-01T00:00:00Z");
    let chain = issuer
        .issue_own(
            &template,
            key.public_key(),
            &[usage],
            [serial; 16],
            from.parse().unwrap(),
            to.parse().unwrap(),
        )
        .unwrap();
    Credential::new(chain, key).unwrap()
}

/// A server of `issuer` that answers every request with the token, and the name in the client
/// certificate, that it got. One connection, one request.
fn serve(issuer: &Issuer) -> u16 {
    let shown = credential(issuer, "server", Usage::ServerAuth, 2);
    let (chain, key) = (shown.chain(), shown.key());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let possession = everleaf_tls::PossessionOnly::new(vec![], &provider);
    let _ = provider.install_default();
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(key.to_pkcs8_der().unwrap().to_vec());
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(Arc::new(possession))
        .with_single_cert(
            vec![CertificateDer::from(chain.leaf().der().to_vec())],
            der.into(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let token = head
                .lines()
                .find_map(|line| line.strip_prefix("authorization: "));
            let leaf = stream
                .conn
                .peer_certificates()
                .and_then(|chain| chain.first());
            let name = leaf.map(|der| Leaf::from_der(der).unwrap().subject().common_name.clone());
            let name = name.unwrap_or_default();
            let token = match head.split(' ').nth(1) {
                Some(path) if path.starts_with("/echo") => path.to_owned(),
                Some("/head") => head.clone(),
                _ => format!("{}{name}", token.unwrap_or_default()),
            };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{token}",
                token.len()
            );
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    port
}

use rustls::pki_types::CertificateDer;

fn client(dir: &Path, port: u16, user: &str) -> Result<kube::Client> {
    let text = format!(
        "clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: ca.crt}}}}]\n\
         users: [{{name: u, user: {{{user}}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
         current-context: x\n"
    );
    let path = dir.join("k.conf");
    std::fs::write(&path, text).unwrap();
    let connected = connect(&path)?;
    assert_eq!(connected.host, format!("127.0.0.1:{port}"));
    Ok(connected.client)
}

async fn ask(client: &kube::Client) -> Result<String, String> {
    let request = Request::get("/").body(Vec::new()).unwrap();
    let answer = client.request_text(request).await;
    answer.map_err(|error| crate::failure::chain(&error.into()))
}

#[tokio::test]
async fn files_are_read_again_and_a_refusal_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (right, wrong) = (authority("right"), authority("wrong"));
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("token", "one\n");
    write("ca.crt", &right.certificate_pem());
    let client = client(dir.path(), serve(&right), "tokenFile: token").unwrap();
    assert_eq!(ask(&client).await.unwrap(), "Bearer one");
    write("token", " two \n\n");
    assert_eq!(ask(&client).await.unwrap(), "Bearer two");
    std::fs::remove_file(dir.path().join("token")).unwrap();
    assert_eq!(ask(&client).await.unwrap(), "Bearer two");
    write("ca.crt", &wrong.certificate_pem());
    let refused = ask(&client).await.unwrap_err();
    assert!(
        refused.contains("not signed by an authority of this kubeconfig"),
        "{refused}"
    );
    write("ca.crt", &right.certificate_pem());
    assert_eq!(ask(&client).await.unwrap(), "Bearer two");
    // Half written: what it held before is still believed.
    write("ca.crt", "");
    assert_eq!(ask(&client).await.unwrap(), "Bearer two");
}

/// A renewed certificate is used without a restart; half of one is not.
#[tokio::test]
async fn a_replaced_client_certificate_is_the_next_one_shown() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = authority("ca");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let show = |name: &str, serial| {
        let credential = credential(&issuer, name, Usage::ClientAuth, serial);
        write("tls.key", &credential.key().to_pem());
        write("tls.crt", &credential.chain().to_pem());
    };
    write("ca.crt", &issuer.certificate_pem());
    show("one", 3);
    let user = "client-certificate: tls.crt, client-key: tls.key";
    let client = client(dir.path(), serve(&issuer), user).unwrap();
    assert_eq!(ask(&client).await.unwrap(), "one");
    show("two", 4);
    assert_eq!(ask(&client).await.unwrap(), "two");
    write("tls.crt", "");
    assert_eq!(ask(&client).await.unwrap(), "two");
    show("three", 5);
    assert_eq!(ask(&client).await.unwrap(), "three");
}

#[test]
fn what_cannot_be_used_at_start_names_its_file() {
    let dir = tempfile::tempdir().unwrap();
    for (user, expected) in [
        ("tokenFile: token", "token: No such file"),
        ("client-certificate: a, client-key: b", "a: No such file"),
        ("exec: {}", "k.conf"),
    ] {
        let error = client(dir.path(), 1, user).err().unwrap();
        let text = crate::failure::chain(&error);
        assert!(text.contains(expected) && text.contains("k.conf"), "{text}");
    }
    let error = connect(Path::new("/nonexistent/k.conf")).err().unwrap();
    let text = crate::failure::chain(&error);
    assert!(
        text.contains("give one that names the API server (--kubeconfig): No such file"),
        "{text}"
    );
}

/// Over a connection that cannot be asked whether it lives, the server is to end watches soon.
#[tokio::test]
async fn a_watch_over_http1_is_short() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = authority("ca");
    std::fs::write(dir.path().join("ca.crt"), issuer.certificate_pem()).unwrap();
    let client = client(dir.path(), serve(&issuer), "token: t").unwrap();
    let path = "/echo?watch=true&timeoutSeconds=300&resourceVersion=7";
    let request = Request::get(path).body(Vec::new()).unwrap();
    let asked = client.request_text(request).await.unwrap();
    assert_eq!(
        asked,
        "/echo?watch=true&resourceVersion=7&timeoutSeconds=30"
    );
}

#[tokio::test]
async fn a_command_gives_out_the_credential_of_the_controllers_too() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let ca = authority("ca");
    std::fs::write(dir.path().join("ca.crt"), ca.certificate_pem()).unwrap();
    let command = dir.path().join("give");
    let script = "#!/bin/sh\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\
                  \"status\":{\"token\":\"given-out\"}}'\n";
    std::fs::write(&command, script).unwrap();
    std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();
    let user = "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./give, interactiveMode: Never}";
    let client = client(dir.path(), serve(&ca), user).unwrap();
    assert_eq!(ask(&client).await.unwrap(), "Bearer given-out");
}

/// What client-go sends for these members (`kubectl get --raw / -v=9` shows the names).
#[tokio::test]
async fn it_acts_as_somebody_else_and_with_a_password() {
    let issuer = authority("ca");
    let port = serve(&issuer);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.crt"), issuer.certificate_pem()).unwrap();
    let user = "username: u, password: 'p:w', as: jane, as-uid: '7', as-groups: [a, 'b c'], \
                as-user-extra: {'example.org/reason%': [one, two]}";
    let client = client(dir.path(), port, user).unwrap();
    let request = Request::get("/head").body(Vec::new()).unwrap();
    let head = client.request_text(request).await.unwrap();
    for line in [
        "authorization: Basic dTpwOnc=",
        "impersonate-user: jane",
        "impersonate-uid: 7",
        "impersonate-group: a",
        "impersonate-group: b c",
        "impersonate-extra-example.org%2freason%25: one",
        "impersonate-extra-example.org%2freason%25: two",
    ] {
        assert!(head.lines().any(|found| found == line), "{line}\n{head}");
    }
}
