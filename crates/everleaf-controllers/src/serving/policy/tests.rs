use super::*;

fn read(policy: &str) -> Result<PolicySet, PolicyError> {
    PolicySet::from_yaml(&format!("version: {VERSION}\npolicy:\n{policy}"))
}

fn check_refused(policy: &str, expected: &str) {
    let error = read(policy).unwrap_err().to_string();
    assert!(error.contains(expected), "{policy}: {error}");
    assert!(!error.contains('\n'), "{error}");
}

const WHOLE: &str = r#"
- name: workers
  signer: kubernetes.io/kubelet-serving
  mode: enforce
  on_violation: deny
  on_other_requestor: abstain
  wait_deadline: 5m
  match:
    node_name_regex: 'worker-[0-9]{1,4}'
    node_labels: { node-restriction.kubernetes.io/pool: general }
  san:
    require_node_addresses: true
    comparison: exact
    allow_node_name: false
    dns_regex: ['worker-[0-9]+\.example\.com']
    allowed_cidrs: ["10.20.0.0/16", "fd00:20::/48"]
    deny_cidrs: ["10.20.0.0/28", "10.20.1.1"]
    max_dns: 4
    max_ip: 8
    unique_across_nodes: true
    allow_link_local: false
    dns_resolution: { enabled: true, servers: [10.0.0.53, "[fd00::53]:5353"], timeout: 500ms }
  key: { algorithms: [ECDSA-P256, ECDSA-P384, Ed25519, RSA], rsa_min_bits: 3072 }
  lifetime: { max_expiration_seconds: 86400 }
  rate: { per_node_per_hour: 12 }
  inventory: { kind: file, ref: /etc/everleaf/inventory.yaml }
  renewal: { enabled: true, ca_file: /etc/everleaf/serving-ca.pem, ports: [10250, 10260] }
  cel:
    - expr: size(csr.san.dns) <= 2
      message: at most two names
  strict_usages: true
  allow_attestation_blocks: [ATTESTATION CERTIFICATE]
  require_permission: true
  unsafe_allow: [localhost]
  control_plane_addresses: [10.20.9.1]
  cluster_domains: [cluster.local, k8s.example.com]
"#;

#[test]
fn every_key_is_read() {
    let set = read(WHOLE).unwrap();
    assert_eq!(set.warnings, Vec::<String>::new());
    let policy = &set.policies[0];
    assert_eq!(policy.wait_deadline, Duration::from_secs(300));
    assert!(policy.node_name.as_ref().unwrap().is_match("worker-12"));
    assert!(!policy.node_name.as_ref().unwrap().is_match("xworker-12"));
    assert_eq!(policy.comparison, Comparison::Exact);
    assert!(!policy.allow_node_name);
    assert_eq!(policy.deny_cidrs[1].to_string(), "10.20.1.1/32");
    assert_eq!((policy.max_dns, policy.max_ip), (4, 8));
    assert_eq!(policy.rsa_min_bits, 3072);
    assert_eq!(policy.max_expiration_seconds, 86400);
    assert_eq!(policy.per_node_per_hour, Some(12));
    assert_eq!(
        policy.inventory,
        InventorySource::File("/etc/everleaf/inventory.yaml".into())
    );
    let dns = policy.dns_resolution.as_ref().unwrap();
    let servers: Vec<_> = dns.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.53:53", "[fd00::53]:5353"]);
    assert_eq!(dns.timeout, Duration::from_millis(500));
    let renewal = policy.renewal.as_ref().unwrap();
    assert_eq!(
        renewal.ca_file,
        PathBuf::from("/etc/everleaf/serving-ca.pem")
    );
    assert_eq!(renewal.ports, [10250, 10260]);
    assert_eq!(policy.on_other_requestor, OnViolation::Abstain);
    assert_eq!(policy.cel.len(), 1);
    assert!(policy.strict_usages && policy.require_permission);
}

#[test]
fn what_is_unknown_is_refused() {
    check_refused("- {name: a, nmae: b}\n", "nmae");
    check_refused("- {name: a, san: {alowed_cidrs: []}}\n", "alowed_cidrs");
    check_refused(
        "- {name: a, mode: on}\n",
        "expected one of abstain, dry-run, enforce",
    );
    check_refused("- {name: a, key: {algorithms: [DSA]}}\n", "DSA");
    check_refused("- {san: {}}\n", "name");
    let versions = ["everleaf.io/policy/v2", ""];
    for version in versions {
        let error = PolicySet::from_yaml(&format!("version: {version:?}\npolicy: [{{name: a}}]\n"));
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("everleaf.io/policy/v1")
        );
    }
    assert!(PolicySet::from_yaml("policy: [{name: a}]\n").is_err());
    assert!(PolicySet::from_yaml("version: everleaf.io/policy/v1\n").is_err());
    assert!(PolicySet::from_yaml("").is_err());
    assert!(PolicySet::from_yaml(&" ".repeat(FILE_BYTES_MAX + 1)).is_err());
}

#[test]
fn what_is_contradictory_or_unsafe_is_refused() {
    check_refused("  []\n", "empty");
    check_refused("- {name: ''}\n", "policy[0].name");
    check_refused("- {name: a}\n- {name: a}\n", "policy[1].name");
    check_refused(
        "- {name: a, signer: kubernetes.io/kube-apiserver-client}\n",
        "signer",
    );
    check_refused("- {name: a, wait_deadline: soon}\n", "wait_deadline");
    check_refused("- {name: a, wait_deadline: -5m}\n", "wait_deadline");
    check_refused(
        "- {name: a, match: {node_name_regex: '('}}\n",
        "node_name_regex",
    );
    check_refused(
        "- {name: a, san: {dns_regex: ['(a{1000}){1000}']}}\n",
        "too large",
    );
    check_refused(
        "- {name: a, san: {allowed_cidrs: [10.0.0.0/33]}}\n",
        "allowed_cidrs",
    );
    check_refused(
        "- {name: a, san: {allowed_cidrs: [10.0.0.1/8]}}\n",
        "10.0.0.0/8 was meant",
    );
    check_refused(
        "- {name: a, san: {allowed_cidrs: ['::ffff:10.0.0.0/104']}}\n",
        "IPv4 range",
    );
    check_refused(
        "- {name: a, san: {require_node_addresses: false}}\n",
        "nothing says which",
    );
    check_refused("- {name: a, key: {rsa_min_bits: 1024}}\n", "rsa_min_bits");
    check_refused(
        "- {name: a, lifetime: {max_expiration_seconds: 60}}\n",
        "max_expiration",
    );
    check_refused(
        "- {name: a, cel: [{expr: 'crs.name == 1'}]}\n",
        "cel[0].expr",
    );
}

#[test]
fn looks_and_inventories_that_lead_nowhere_are_refused() {
    check_refused("- {name: a, inventory: {kind: file}}\n", "inventory.ref");
    check_refused("- {name: a, inventory: {ref: x}}\n", "inventory.ref");
    for reference in ["inventory", "/inventory", "kube-system/", "a/b/c", "A/b"] {
        check_refused(
            &format!("- {{name: a, inventory: {{kind: configmap, ref: {reference}}}}}\n"),
            "write NAMESPACE/NAME",
        );
    }
    let set = read("- {name: a, inventory: {kind: configmap, ref: kube-system/x}}\n").unwrap();
    let source = set.policies[0].inventory.to_string();
    assert_eq!(source, "ConfigMap kube-system/x");
    let dns = |section: &str| format!("- {{name: a, san: {{dns_resolution: {{{section}}}}}}}\n");
    check_refused(&dns("servers: [dns.example.com]"), "dns_resolution.servers");
    check_refused(&dns("enabled: true, timeout: 4s"), "at most 3s");
    check_refused(&dns("timeout: 0s"), "more than 0");
    let renewal = |section: &str| {
        format!("- {{name: a, inventory: {{kind: file, ref: x}}, renewal: {{{section}}}}}\n")
    };
    check_refused(&renewal("enabled: true"), "renewal.ca_file");
    check_refused(
        &renewal("enabled: true, ca_file: x, ports: []"),
        "renewal.ports",
    );
    check_refused(
        &renewal("enabled: true, ca_file: x, ports: [0]"),
        "renewal.ports",
    );
    check_refused(
        "- {name: a, renewal: {enabled: true, ca_file: x}}\n",
        "there is none",
    );
}

#[test]
fn values_that_defeat_a_rule_are_refused() {
    check_refused(
        "- {name: a, match: {node_name_regex: 'a)|(.*'}}\n",
        "node_name_regex",
    );
    check_refused("- {name: a, unsafe_allow: ['*']}\n", "wildcard");
    check_refused("- {name: a, cluster_domains: ['.']}\n", "cluster_domains");
    check_refused("- {name: a, key: {algorithms: []}}\n", "key.algorithms");
    check_refused(
        "- {name: a, rate: {per_node_per_hour: 0}}\n",
        "per_node_per_hour",
    );
    let two = "- {name: a, allow_attestation_blocks: [CERTIFICATE REQUEST]}\n";
    check_refused(two, "allow_attestation_blocks");
}

#[test]
fn all_faults_are_told_at_once() {
    let error = read("- {name: '', wait_deadline: x, san: {allowed_cidrs: [y, z]}}\n").unwrap_err();
    assert_eq!(error.0.len(), 4, "{error}");
}
