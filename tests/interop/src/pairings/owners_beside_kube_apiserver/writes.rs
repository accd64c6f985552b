//! Random writes to one object, as a list of requests.

use everleaf_recordings::Scenario;
use everleaf_recordings::scenario::{Ask, Reading};
use serde_json::{Map, Value, json};

/// Writes of one sequence.
const WRITES: u64 = 8;
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON: &str = "application/json";
/// What kubectl leaves where it applies by itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Objects of one resource.
pub(super) struct Sort {
    pub(super) resource: &'static str,
    api_version: &'static str,
    kind: &'static str,
    namespaced: bool,
    /// Below the object.
    endpoints: &'static [&'static str],
    /// What is in it besides metadata, for the endpoint.
    content: fn(&mut Dice, &str) -> Value,
}

/// All sorts.
pub(super) const SORTS: &[Sort] = &[
    Sort {
        endpoints: &["status", "approval"],
        ..Sort::new(
            "certificatesigningrequests",
            "certificates.k8s.io/v1",
            "CertificateSigningRequest",
            csr,
        )
    },
    Sort {
        namespaced: true,
        ..Sort::new("configmaps", "v1", "ConfigMap", config_map)
    },
    Sort {
        namespaced: true,
        ..Sort::new("secrets", "v1", "Secret", secret)
    },
    Sort {
        endpoints: &["status"],
        ..Sort::new("nodes", "v1", "Node", node)
    },
    Sort {
        endpoints: &["status"],
        ..Sort::new("namespaces", "v1", "Namespace", namespace)
    },
    Sort {
        namespaced: true,
        ..Sort::new("leases", "coordination.k8s.io/v1", "Lease", lease)
    },
    Sort {
        namespaced: true,
        ..Sort::new("serviceaccounts", "v1", "ServiceAccount", account)
    },
    Sort {
        namespaced: true,
        ..Sort::new("roles", "rbac.authorization.k8s.io/v1", "Role", rules)
    },
    Sort::new(
        "clusterroles",
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        rules,
    ),
    Sort {
        namespaced: true,
        ..Sort::new(
            "rolebindings",
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            binding,
        )
    },
];

impl Sort {
    const fn new(
        resource: &'static str,
        api_version: &'static str,
        kind: &'static str,
        content: fn(&mut Dice, &str) -> Value,
    ) -> Self {
        Self {
            resource,
            api_version,
            kind,
            namespaced: false,
            endpoints: &[],
            content,
        }
    }

    fn path(&self) -> String {
        let root = if self.api_version == "v1" {
            "/api"
        } else {
            "/apis"
        };
        let namespace = if self.namespaced {
            "/namespaces/default"
        } else {
            ""
        };
        format!("{root}/{}{namespace}/{}", self.api_version, self.resource)
    }
}

/// Numbers that follow from a seed (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len() as u64) as usize]
    }

    /// Some of these, in any order.
    fn some<'t>(&mut self, of: &[&'t str]) -> Vec<&'t str> {
        let mut left = of.to_vec();
        let count = self.below(of.len() as u64 + 1);
        (0..count)
            .map(|_| left.swap_remove(self.below(left.len() as u64) as usize))
            .collect()
    }

    fn map(&mut self, keys: &[&str], values: &[&str]) -> Value {
        let keys = self.some(keys);
        let entries = keys
            .into_iter()
            .map(|key| (key.to_owned(), self.one(values).into()));
        Value::Object(entries.collect())
    }

    /// Each member by chance.
    fn members(&mut self, percent: u64, members: Vec<(&str, Value)>) -> Value {
        let kept = members.into_iter().filter(|_| self.chance(percent));
        let kept: Map<String, Value> = kept.map(|(key, value)| (key.to_owned(), value)).collect();
        Value::Object(kept)
    }
}

/// The writes of one object.
pub(super) fn sequence(sort: &Sort, seed: u64) -> Scenario {
    let salt = sort
        .resource
        .bytes()
        .fold(7u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    let mut dice = Dice(salt.wrapping_add(seed << 32));
    let name = format!("owners-{seed}");
    let mut asks: Vec<Ask> = (0..WRITES)
        .map(|step| write(sort, &mut dice, &name, step))
        .collect();
    let object = format!("{}/{name}", sort.path());
    let free = json!({"metadata": {"finalizers": null}});
    asks.push(ask("free", "PATCH", object.clone(), MERGE, Some(free)));
    asks.push(ask("delete", "DELETE", object, "application/json", None));
    Scenario {
        name: format!("{} OWNERS_SEED={seed}", sort.resource),
        runtime_config: String::new(),
        lets: Map::new(),
        asks,
    }
}

fn write(sort: &Sort, dice: &mut Dice, name: &str, step: u64) -> Ask {
    let endpoint = match sort.endpoints {
        [] => "",
        some if dice.chance(60) => dice.one(some),
        _ => "",
    };
    let mut body = (sort.content)(dice, endpoint);
    body["apiVersion"] = sort.api_version.into();
    body["kind"] = sort.kind.into();
    body["metadata"] = metadata(dice);
    body["metadata"]["name"] = name.into();
    let collection = sort.path();
    let mut object = format!("{collection}/{name}");
    if !endpoint.is_empty() {
        object = format!("{object}/{endpoint}");
    }
    let manager = dice.one(&["one", "two", "three", "kubectl"]);
    let named = format!("fieldManager={manager}");
    let maybe = if dice.chance(70) { named.as_str() } else { "" };
    let patched = |media_type| ("PATCH", format!("{object}?{maybe}"), media_type);
    let (method, path, media_type) = match dice.below(if step == 0 { 10 } else { 12 }) {
        0..=4 => {
            let force = if dice.chance(40) { "&force=true" } else { "" };
            let dry = if dice.chance(5) { "&dryRun=All" } else { "" };
            ("PATCH", format!("{object}?{named}{force}{dry}"), APPLY)
        }
        5 | 6 if step > 0 => patched(MERGE),
        7 if step > 0 => patched(STRATEGIC),
        8 | 11 if step > 0 => ("PUT", format!("{object}?{maybe}"), JSON),
        10 => {
            let none = if dice.chance(50) {
                json!([])
            } else {
                json!([{}])
            };
            body = json!({"metadata": {"managedFields": none}});
            patched(MERGE)
        }
        _ => {
            if dice.chance(20) {
                let mut last = body.clone();
                last["metadata"] = json!({"name": name, "labels": body["metadata"]["labels"]});
                body["metadata"]["annotations"][LAST_APPLIED] = last.to_string().into();
            }
            ("POST", format!("{collection}?{maybe}"), JSON)
        }
    };
    let mut made = ask(&step.to_string(), method, path, media_type, Some(body));
    let agent = dice.one(&["kubectl/v1.37.1 (linux/amd64)", "x y/z", "plain"]);
    made.headers
        .push(("User-Agent".to_owned(), agent.to_owned()));
    made
}

fn ask(id: &str, method: &str, path: String, media_type: &str, body: Option<Value>) -> Ask {
    Ask {
        id: format!("{id} {method} {path}"),
        method: method.to_owned(),
        path,
        subject: "admin".to_owned(),
        headers: vec![("Content-Type".to_owned(), media_type.to_owned())],
        body,
        merge: None,
        protobuf: false,
        settle: false,
        reading: Reading {
            fields: true,
            // By managers, in no order.
            sorted: vec!["causes".to_owned()],
            ..Reading::default()
        },
    }
}

fn metadata(dice: &mut Dice) -> Value {
    let finalizers = dice.some(&["ex.io/a", "ex.io/b", "ex.io/c"]);
    let owners: Vec<Value> = dice
        .some(&["a", "b"])
        .into_iter()
        .map(|owner| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": format!("uid-{owner}")}))
        .collect();
    let labels = dice.map(&["a", "b", "c"], &["1", "2"]);
    let annotations = dice.map(&["a", "b"], &["1", "2"]);
    dice.members(
        40,
        vec![
            ("labels", labels),
            ("annotations", annotations),
            ("finalizers", json!(finalizers)),
            ("ownerReferences", json!(owners)),
        ],
    )
}

fn conditions(dice: &mut Dice, types: &[&str], times: &[&str]) -> Value {
    let types = dice.some(types);
    let conditions = types.into_iter().map(|sort| {
        let mut members = vec![("reason", dice.one(&["x", "y"]).into())];
        members.push(("message", dice.one(&["x", "y"]).into()));
        for time in times {
            let at = dice.one(&["2020-01-01T00:00:00Z", "2020-01-01T00:00:01Z"]);
            members.push((time, at.into()));
        }
        let mut condition = dice.members(40, members);
        condition["type"] = sort.into();
        condition["status"] = "True".into();
        condition
    });
    conditions.collect()
}

fn csr(dice: &mut Dice, endpoint: &str) -> Value {
    let times = &["lastUpdateTime", "lastTransitionTime"];
    let types: &[&str] = match endpoint {
        "approval" => &["Approved", "Other"],
        _ => &["Other", "Third", "Failed"],
    };
    let conditions = conditions(dice, types, times);
    let spec =
        json!({"request": "${base64:user}", "signerName": "ex.io/s", "usages": ["client auth"]});
    let mut body = dice.members(60, vec![("status", json!({"conditions": conditions}))]);
    if endpoint.is_empty() || dice.chance(30) {
        body["spec"] = spec;
    }
    body
}

fn config_map(dice: &mut Dice, _: &str) -> Value {
    let data = dice.map(&["a", "b", "c", "d"], &["1", "2"]);
    let binary = dice.map(&["x", "y"], &["YQ==", "Yg=="]);
    dice.members(60, vec![("data", data), ("binaryData", binary)])
}

fn secret(dice: &mut Dice, _: &str) -> Value {
    let data = dice.map(&["a", "b", "c"], &["YQ==", "Yg=="]);
    let text = dice.map(&["a", "b"], &["1", "2"]);
    let members = vec![
        ("data", data),
        ("stringData", text),
        ("type", "Opaque".into()),
    ];
    dice.members(50, members)
}

fn node(dice: &mut Dice, _: &str) -> Value {
    let taints: Vec<Value> = dice
        .some(&["a", "b"])
        .into_iter()
        .map(|key| json!({"key": key, "effect": "NoSchedule"}))
        .collect();
    let unschedulable = dice.chance(50);
    let spec = dice.members(
        40,
        vec![
            ("taints", json!(taints)),
            ("unschedulable", unschedulable.into()),
            ("providerID", "p".into()),
        ],
    );
    let addresses: Vec<Value> = dice
        .some(&["InternalIP", "Hostname"])
        .into_iter()
        .map(|sort| json!({"type": sort, "address": dice.one(&["1.1.1.1", "2.2.2.2"])}))
        .collect();
    let times = &["lastHeartbeatTime", "lastTransitionTime"];
    let conditions = conditions(dice, &["Ready", "MemoryPressure", "X"], times);
    let capacity = dice.map(&["cpu", "memory", "pods"], &["1", "2"]);
    let allocatable = dice.map(&["cpu", "memory"], &["1", "2"]);
    let version = dice.one(&["v1", "v2"]);
    let volumes = dice.some(&["a", "b"]);
    let status = dice.members(
        40,
        vec![
            ("capacity", capacity),
            ("allocatable", allocatable),
            ("conditions", conditions),
            ("addresses", json!(addresses)),
            ("images", json!([{"names": ["a"], "sizeBytes": 1}])),
            ("volumesInUse", json!(volumes)),
            ("nodeInfo", json!({"kubeletVersion": version})),
            ("daemonEndpoints", json!({"kubeletEndpoint": {"Port": 1}})),
        ],
    );
    dice.members(60, vec![("spec", spec), ("status", status)])
}

fn namespace(dice: &mut Dice, _: &str) -> Value {
    let conditions = conditions(dice, &["A", "B"], &["lastTransitionTime"]);
    let status = json!({"phase": "Active", "conditions": conditions});
    let spec = json!({"finalizers": ["kubernetes"]});
    dice.members(40, vec![("spec", spec), ("status", status)])
}

fn lease(dice: &mut Dice, _: &str) -> Value {
    let time = dice.one(&["2020-01-01T00:00:00.000000Z", "2020-01-01T00:00:01.000000Z"]);
    let holder = dice.one(&["a", "b"]);
    let seconds = 10 + dice.below(2);
    let spec = dice.members(
        50,
        vec![
            ("holderIdentity", holder.into()),
            ("leaseDurationSeconds", seconds.into()),
            ("renewTime", time.into()),
            ("leaseTransitions", 0.into()),
        ],
    );
    dice.members(80, vec![("spec", spec)])
}

fn account(dice: &mut Dice, _: &str) -> Value {
    let named = |names: Vec<&str>| -> Value {
        names
            .into_iter()
            .map(|name| json!({"name": name}))
            .collect()
    };
    let secrets = named(dice.some(&["a", "b", "c"]));
    let pulls = named(dice.some(&["a", "b"]));
    let mounts = dice.chance(50);
    dice.members(
        60,
        vec![
            ("secrets", secrets),
            ("imagePullSecrets", pulls),
            ("automountServiceAccountToken", mounts.into()),
        ],
    )
}

fn rules(dice: &mut Dice, _: &str) -> Value {
    let rules: Vec<Value> = dice
        .some(&["pods", "secrets"])
        .into_iter()
        .chain(["nodes"])
        .map(|what| json!({"apiGroups": [""], "resources": [what], "verbs": ["get"]}))
        .collect();
    dice.members(80, vec![("rules", json!(rules))])
}

fn binding(dice: &mut Dice, _: &str) -> Value {
    let subjects: Vec<Value> = dice
        .some(&["a", "b"])
        .into_iter()
        .map(|name| json!({"kind": "User", "name": name}))
        .collect();
    let mut body = dice.members(80, vec![("subjects", json!(subjects))]);
    body["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"});
    body
}
