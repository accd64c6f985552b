//! What a hostile node, or who poses as one, may ask for; none of it is issued.
//!
//! The cases A1 to A29 are those of the policy's threat model.

use super::second_node::{CLIENT, CLIENT_USAGES};
use super::serving_approval::{SERVING, conditions, items};
use anyhow::{Context, Result};
use everleaf_stage::runner::Verdict;
use everleaf_stage::{Kubectl, Sandbox, Up, arg, ensure_that, eventually, object, same};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// What a kubelet asks its serving certificate for.
const USAGES: &[&str] = &["digital signature", "server auth"];
/// The groups of nodes.
const GROUPS: &[&str] = &["system:nodes", "system:authenticated"];

/// Fewer than the server takes from one node while none of them is issued.
const ATTACKS_AT_ONCE: usize = 12;

/// A Node, and who speaks in its name.
pub(super) struct Node<'a> {
    sandbox: &'a Sandbox,
    admin: Kubectl<'a>,
    name: String,
}

impl<'a> Node<'a> {
    /// Makes the Node.
    pub(super) fn new(sandbox: &'a Sandbox, up: &Up<'a>, name: &str) -> Result<Self> {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        let file = sandbox.write(&format!("node-{name}.json"), &node.to_string())?;
        let admin = up.admin();
        admin.quiet(&["create", "--validate=false", "-f", arg(&file)])?;
        let name = name.to_owned();
        Ok(Self {
            sandbox,
            admin,
            name,
        })
    }

    /// Has it report these addresses, by type.
    pub(super) fn has(&self, addresses: &[(&str, &str)]) -> Result<()> {
        let addresses = addresses.iter();
        let addresses: Vec<Value> = addresses
            .map(|(kind, address)| json!({ "type": kind, "address": address }))
            .collect();
        let patch = json!({ "status": { "addresses": addresses } }).to_string();
        let status = ["patch", "node", &self.name, "--subresource=status"];
        let args = [&status[..], &["--type=merge", "-p", &patch]].concat();
        self.admin.quiet(&args).map(drop)
    }

    /// A serving request of this node; `names` is an extension as openssl writes it.
    pub(super) fn request(&self, name: &str, names: &str) -> Result<Value> {
        request(self.sandbox, name, &self.name, names)
    }

    /// Files requests as this node.
    pub(super) fn files(&self, requests: &[Value]) -> Result<()> {
        let user = format!("system:node:{}", self.name);
        file(self.sandbox, &self.admin, (&user, GROUPS), requests)
    }
}

/// A request for a serving certificate; `names` is an extension as openssl writes it.
pub(super) fn request(sandbox: &Sandbox, name: &str, node: &str, names: &str) -> Result<Value> {
    let subject = format!("/O=system:nodes/CN=system:node:{node}");
    let pem = pem(sandbox, name, &subject, names, &[])?;
    Ok(object(name, &pem, SERVING, USAGES))
}

/// A PKCS#10 request, by openssl.
fn pem(
    sandbox: &Sandbox,
    name: &str,
    subject: &str,
    names: &str,
    further: &[&str],
) -> Result<Vec<u8>> {
    let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
    let mut args = vec!["req", "-new", "-nodes", "-keyout", &key, "-out", &request];
    args.extend(["-subj", subject, "-addext", names]);
    if !further.contains(&"-newkey") {
        args.extend(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    }
    args.extend(further);
    sandbox.openssl(&args)?.ok()?;
    fs::read(sandbox.path(&request)).context("openssl wrote no request")
}

/// Files requests in one go, in the name of somebody.
fn file(
    sandbox: &Sandbox,
    admin: &Kubectl<'_>,
    (user, groups): (&str, &[&str]),
    requests: &[Value],
) -> Result<()> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": requests });
    let list = sandbox.write("list.json", &list.to_string())?;
    let mut args = vec!["create", "--validate=false", "-f", arg(&list), "--as", user];
    for group in groups {
        args.extend(["--as-group", group]);
    }
    admin.quiet(&args).map(drop)
}

/// An attack that one name or address makes: the case, what is asked for, the rule that stops it.
const NAMES: &[(&str, &str, &str)] = &[
    ("a3-service", "DNS:kubernetes.default.svc", "S11"),
    ("a3-short", "DNS:kubernetes", "S11"),
    (
        "a3-domain",
        "DNS:kubernetes.default.svc.cluster.local",
        "S11",
    ),
    ("a3-other", "DNS:webhook.system.svc", "S11"),
    ("a3-pod", "DNS:10-1-0-9.default.pod.cluster.local", "S11"),
    ("a3-localhost", "DNS:localhost", "S11"),
    (
        "a3-beside-own",
        "DNS:n1,DNS:kubernetes.default,IP:10.1.0.1",
        "S11",
    ),
    ("a3-api-name", "DNS:api.example.org", "S11"),
    ("a4-api-address", "IP:10.9.9.9", "S12"),
    ("a4-mapped", "IP:::ffff:10.9.9.9", "S12"),
    ("a4-nat64", "IP:64:ff9b::10.9.9.9", "S12"),
    ("a4-6to4", "IP:2002:a09:909::1", "S12"),
    ("a4-compatible", "IP:::10.9.9.9", "S12"),
    ("a5-address", "IP:10.1.0.2", "S16"),
    ("a5-mapped", "IP:::ffff:10.1.0.2", "S16"),
    ("a5-nat64", "IP:64:ff9b::10.1.0.2", "S16"),
    ("a5-6to4", "IP:2002:a01:2::1", "S16"),
    ("a5-name", "DNS:n2.example.org", "S16"),
    ("a5-node-name", "DNS:n3", "S16"),
    ("a7-prefix", "DNS:n1.evil.example.org", "S14"),
    ("a7-infix", "DNS:xn1", "S14"),
    ("a8-wildcard", "DNS:*.example.org", "S11"),
    ("a8-inner", "DNS:n1.*.org", "S11"),
    ("a9-address", "DNS:10.1.0.1", "S11"),
    ("a9-upper", "DNS:N1", "S11"),
    ("a9-dot", "DNS:n1.", "S11"),
    ("a9-underscore", "DNS:n_1", "S11"),
    // The dNSName "n1", a zero byte, "evil".
    ("a9-nul", "DER:30:09:82:07:6e:31:00:65:76:69:6c", "S11"),
    ("a9-empty", "DER:30:02:82:00", "S11"),
    ("a10-foreign", "IP:::ffff:10.1.0.77", "S15"),
    ("a11-uri", "URI:spiffe://x/y,DNS:n1", "S9"),
    ("a11-email", "email:a@example.org,DNS:n1", "S9"),
    (
        "a11-other",
        "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:x,DNS:n1",
        "S9",
    ),
    ("a11-rid", "RID:1.2.3.4,DNS:n1", "S9"),
    ("a29-metadata", "IP:169.254.169.254", "S12"),
    ("a29-mapped", "IP:::ffff:169.254.169.254", "S12"),
    ("a29-link-local", "IP:fe80::1", "S12"),
    ("loopback", "IP:127.0.0.1", "S12"),
    ("loopback-6", "IP:::1", "S12"),
    ("loopback-nat64", "IP:64:ff9b::7f00:1", "S12"),
    ("unspecified", "IP:0.0.0.0", "S12"),
    ("multicast", "IP:224.0.0.1", "S12"),
    ("broadcast", "IP:255.255.255.255", "S12"),
];

/// The Node lies about all that it can: what it asks for stands in its status.
const LIES: &[(&str, &str)] = &[
    ("InternalIP", "10.1.0.1"),
    ("Hostname", "n1"),
    ("InternalIP", "10.1.0.2"),
    ("InternalDNS", "n2.example.org"),
    ("InternalDNS", "n3"),
    ("ExternalIP", "10.9.9.9"),
    ("ExternalIP", "64:ff9b::a09:909"),
    ("ExternalIP", "2002:a09:909::1"),
    ("ExternalIP", "::a09:909"),
    ("InternalIP", "64:ff9b::a01:2"),
    ("InternalIP", "2002:a01:2::1"),
    ("InternalIP", "127.0.0.1"),
    ("InternalIP", "169.254.169.254"),
    ("InternalDNS", "kubernetes.default.svc"),
    ("InternalDNS", "kubernetes"),
    ("InternalDNS", "webhook.system.svc"),
    ("InternalDNS", "localhost"),
    ("ExternalDNS", "api.example.org"),
    ("ExternalDNS", "*.example.org"),
    ("ExternalDNS", "10-1-0-9.default.pod.cluster.local"),
];

pub(super) fn run(sandbox: &Sandbox) -> Result<Verdict> {
    // What is only missing is denied soon, so that its rule can be seen, too.
    let patient = "version: everleaf.io/policy/v1\npolicy:\n- {name: p, wait_deadline: 2s}\n";
    let file = sandbox.write("policy.yaml", patient)?;
    let up = Up::start(
        sandbox,
        &[
            "--no-node",
            "--tls-san=api.example.org",
            "--tls-san=10.9.9.9",
            "--serving-approval-policy",
            arg(&file),
        ],
    )?;
    let scene = Scene {
        sandbox,
        admin: up.admin(),
        node: Node::new(sandbox, &up, "n1")?,
    };
    scene.set(&up)?;
    sandbox.point("what is the node's own is approved and issued", || {
        scene.benign()
    })?;
    scene.node.has(LIES)?;
    sandbox.point(
        "names and addresses of others are denied, whatever its Node says",
        || {
            let mut attacks = Vec::new();
            for (name, names, rule) in NAMES {
                let names = format!("subjectAltName={names}");
                attacks.push((scene.node.request(name, &names)?, *rule));
            }
            scene.denies(attacks)
        },
    )?;
    sandbox.point("so are requests of any other odd kind", || scene.odd())?;
    sandbox.point("and of whoever only poses as a node", || scene.posers())?;
    sandbox.point("another signer's request is left alone (A16)", || {
        scene.other_signer()
    })?;
    sandbox.point(
        "what cannot be read, or is for another node, is refused when it is filed",
        || scene.unfit(),
    )?;
    sandbox.point("nothing of it was issued", || scene.nothing_issued())?;
    Ok(Verdict::Passed)
}

struct Scene<'a> {
    sandbox: &'a Sandbox,
    admin: Kubectl<'a>,
    node: Node<'a>,
}

impl Scene<'_> {
    /// Two other Nodes, and rights that let a stranger file requests.
    fn set(&self, up: &Up<'_>) -> Result<()> {
        self.node
            .has(&[("Hostname", "n1"), ("InternalIP", "10.1.0.1")])?;
        let other = Node::new(self.sandbox, up, "n2")?;
        other.has(&[("Hostname", "n2.example.org"), ("InternalIP", "10.1.0.2")])?;
        Node::new(self.sandbox, up, "n3")?;
        let binding = ["create", "clusterrolebinding", "strangers"];
        let role = "--clusterrole=system:node-bootstrapper";
        let whom = ["--user=system:node:n1", "--serviceaccount=default:robot"];
        self.admin
            .quiet(&[&binding[..], &[role], &whom[..]].concat())?;
        Ok(())
    }

    fn benign(&self) -> Result<()> {
        let requests = [
            self.node
                .request("own", "subjectAltName=DNS:n1,IP:10.1.0.1")?,
            self.node
                .request("own-mapped", "subjectAltName=IP:::ffff:10.1.0.1")?,
        ];
        self.node.files(&requests)?;
        eventually("both are issued", 15, || {
            for name in ["own", "own-mapped"] {
                let request = self.admin.json(&["get", "csr", name])?;
                let conditions = conditions(&request);
                let approved = "Approved/EverleafPolicyApproved: ";
                let is_approved = conditions.len() == 1 && conditions[0].starts_with(approved);
                ensure_that!(is_approved, "{name}: {conditions:?}");
                ensure_that!(
                    request["status"]["certificate"].is_string(),
                    "{name}: no certificate"
                );
            }
            Ok(())
        })
    }

    /// Files these requests as the node; each is denied in the end, by its rule. The server takes
    /// only so many from one node that are not issued, so they are deleted again.
    fn denies(&self, attacks: Vec<(Value, &str)>) -> Result<()> {
        for attacks in attacks.chunks(ATTACKS_AT_ONCE) {
            let requests: Vec<Value> = attacks.iter().map(|(request, _)| request.clone()).collect();
            self.node.files(&requests)?;
            let name = |request: &Value| request["metadata"]["name"].as_str().map(str::to_owned);
            let named = attacks.iter().map(|(request, rule)| (name(request), *rule));
            let expected: BTreeMap<String, &str> = named
                .map(|(name, rule)| (name.unwrap_or_default(), rule))
                .collect();
            self.are_denied(&expected)?;
            let names = expected.keys().map(String::as_str);
            let delete: Vec<&str> = ["delete", "csr"].into_iter().chain(names).collect();
            self.admin.quiet(&delete)?;
        }
        Ok(())
    }

    fn are_denied(&self, expected: &BTreeMap<String, &str>) -> Result<()> {
        eventually("all are denied", 30, || {
            std::thread::sleep(Duration::from_millis(300));
            let list = self.admin.json(&["get", "csr"])?;
            let mut wrong = Vec::new();
            for (name, rule) in expected {
                let mut requests = items(&list).iter();
                let request = requests.find(|one| one["metadata"]["name"] == name.as_str());
                let request = request.context("it is gone")?;
                let conditions = conditions(request);
                let denied = format!("Denied/EverleafPolicyDenied: policy \"p\", rule {rule} ");
                let is_issued = request["status"]["certificate"].is_string();
                if is_issued || conditions.len() != 1 || !conditions[0].starts_with(&denied) {
                    wrong.push(format!("{name} is not {denied}but {conditions:?}"));
                }
            }
            ensure_that!(wrong.is_empty(), "{}", wrong.join("\n"));
            Ok(())
        })
    }

    /// Subject, usages, key, lifetime and form.
    fn odd(&self) -> Result<()> {
        let own = "subjectAltName=DNS:n1,IP:10.1.0.1";
        let subject = "/O=system:nodes/CN=system:node:n1";
        let pem = |name: &str, subject: &str, names: &str, further: &[&str]| {
            pem(self.sandbox, name, subject, names, further)
        };
        let usual = |name: &str, pem: Vec<u8>| object(name, &pem, SERVING, USAGES);
        let usages = |name: &str, usages: &[&str]| -> Result<Value> {
            Ok(object(
                name,
                &pem(name, subject, own, &[])?,
                SERVING,
                usages,
            ))
        };
        let subjects = [
            (
                "a12-masters",
                "/O=system:nodes/O=system:masters/CN=system:node:n1",
            ),
            (
                "a13-two-names",
                "/O=system:nodes/CN=system:node:n2/CN=system:node:n1",
            ),
            ("no-organization", "/CN=system:node:n1"),
            ("unit", "/O=system:nodes/OU=x/CN=system:node:n1"),
        ];
        let mut attacks = Vec::new();
        let mut add = |request: Value, rule: &'static str| attacks.push((request, rule));
        for (name, subject) in subjects {
            add(usual(name, pem(name, subject, own, &[])?), "S7");
        }
        let client = ["digital signature", "server auth", "client auth"];
        add(usages("a14-client", &client)?, "S8");
        let sign = ["digital signature", "server auth", "cert sign"];
        add(usages("a15-cert-sign", &sign)?, "S8");
        add(usages("only-signature", &["digital signature"])?, "S8");
        let authority = ["-addext", "basicConstraints=critical,CA:TRUE"];
        add(
            usual("a15-ca", pem("a15-ca", subject, own, &authority)?),
            "S9",
        );
        let mut long = usages("a17-long", USAGES)?;
        long["spec"]["expirationSeconds"] = json!(i32::MAX);
        add(long, "S21");
        let weak = ["-newkey", "rsa:1024"];
        add(
            usual("a23-weak", pem("a23-weak", subject, own, &weak)?),
            "S4",
        );
        let mut two = pem("a24-first", subject, own, &[])?;
        two.extend(pem("a24-second", subject, "subjectAltName=DNS:n2", &[])?);
        add(usual("a24-two-blocks", two), "S3");
        let none = "keyUsage=digitalSignature";
        add(
            usual("no-names", pem("no-names", subject, none, &[])?),
            "S10",
        );
        let many: Vec<String> = (1..=17).map(|last| format!("IP:10.1.1.{last}")).collect();
        let many = format!("subjectAltName={}", many.join(","));
        add(usual("many", pem("many", subject, &many, &[])?), "S10");
        self.denies(attacks)
    }

    /// A service account, an administrator, and a node's name without a node's groups.
    fn posers(&self) -> Result<()> {
        let own = "subjectAltName=DNS:n1,IP:10.1.0.1";
        let robot = "system:serviceaccount:default:robot";
        let mut expected = BTreeMap::new();
        for (name, user, groups, rule) in [
            ("a2-robot", robot, &["system:authenticated"][..], "S5"),
            (
                "a2-masters",
                "root",
                &["system:masters", "system:authenticated"],
                "S5",
            ),
            (
                "a26-no-node",
                "system:node:n1",
                &["system:authenticated"],
                "S6",
            ),
        ] {
            let request = self.node.request(name, own)?;
            file(self.sandbox, &self.admin, (user, groups), &[request])?;
            expected.insert(name.to_owned(), rule);
        }
        self.are_denied(&expected)
    }

    fn other_signer(&self) -> Result<()> {
        let mut request = self.node.request("a16-signer", "subjectAltName=DNS:n1")?;
        request["spec"]["signerName"] = json!(CLIENT);
        request["spec"]["usages"] = json!(CLIENT_USAGES);
        self.node.files(&[request])?;
        std::thread::sleep(Duration::from_secs(3));
        let request = self.admin.json(&["get", "csr", "a16-signer"])?;
        same("conditions", conditions(&request), Vec::new())
    }

    /// Names that are not ASCII, addresses of three bytes, and what the NodeRestriction admission
    /// refuses: kube-apiserver answers the same.
    fn unfit(&self) -> Result<()> {
        let nodes = |user: &str| format!("/O=system:nodes/CN=system:node:{user}");
        let two = "/O=system:nodes/CN=system:node:n1/CN=system:node:n2".to_owned();
        for (name, subject, names) in [
            ("a1-other-node", nodes("n2"), "DNS:n1"),
            ("a13-first-name", two, "DNS:n1"),
            ("a9-latin", nodes("n1"), "DER:30:05:82:03:6e:31:e9"),
            ("short-address", nodes("n1"), "DER:30:05:87:03:0a:01:00"),
        ] {
            let names = format!("subjectAltName={names}");
            let pem = pem(self.sandbox, name, &subject, &names, &[])?;
            let filed = self.node.files(&[object(name, &pem, SERVING, USAGES)]);
            let error = filed.err().with_context(|| format!("{name} was filed"))?;
            let told = format!("{error:#}");
            ensure_that!(told.contains("is forbidden"), "{name}: {told}");
        }
        Ok(())
    }

    fn nothing_issued(&self) -> Result<()> {
        let list = self.admin.json(&["get", "csr"])?;
        let with_certificate = |one: &&Value| one["status"]["certificate"].is_string();
        let issued = items(&list).iter().filter(with_certificate);
        let mut issued: Vec<&str> = issued
            .filter_map(|one| one["metadata"]["name"].as_str())
            .collect();
        issued.sort_unstable();
        same("issued", issued, vec!["own", "own-mapped"])
    }
}
