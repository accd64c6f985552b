use super::*;
use crate::client::access::read_credential;
use crate::kubeconfig::{ClientCertificate, Cluster, ServerUrl};
use crate::secret::Secret;
use crate::testing::{Ca, now, with_file, with_inline};
use everleaf_pki::{Subject, Usage};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

const CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
                      rotateCertificates: true # renews\nstaticPodPath: /etc/kubernetes/manifests\n";

/// A node's files, as kubeadm and a kubelet lay them out.
struct Node {
    _root: tempfile::TempDir,
    ca: Ca,
    place: Place,
}

impl Node {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let place = Place {
            kubeconfig: path("kubelet.conf"),
            cert_dir: path("pki"),
            kubelet_config: path("config.yaml"),
        };
        fs::create_dir(&place.cert_dir).unwrap();
        fs::write(&place.kubelet_config, CONFIG).unwrap();
        fs::set_permissions(&place.kubelet_config, fs::Permissions::from_mode(0o644)).unwrap();
        Self {
            _root: root,
            ca: Ca::new("ca"),
            place,
        }
    }

    fn cluster(&self) -> Cluster {
        Cluster {
            server: ServerUrl::parse("https://10.0.0.1:6443").unwrap(),
            trust: self.ca.trust(),
            tls_server_name: None,
            proxy: None,
        }
    }

    fn write(&self, kubeconfig: &Kubeconfig) {
        let written = kubeconfig.write(&self.place.kubeconfig, &Names::BOOTSTRAP);
        written.unwrap();
    }

    /// The kubeconfig holds this one.
    fn embed(&self, credential: &Credential) {
        self.write(&with_inline(self.cluster(), credential));
    }

    /// A dated file, and the link to it.
    fn put(&self, credential: &Credential) {
        let dated = self
            .place
            .cert_dir
            .join("kubelet-client-2031-01-01-00-00-00.pem");
        fs::write(&dated, credential.to_pem().as_bytes()).unwrap();
        symlink(&dated, self.current()).unwrap();
    }

    fn name_current(&self) {
        self.write(&with_file(self.cluster(), &self.current()));
    }

    fn current(&self) -> PathBuf {
        client_current(&self.place.cert_dir)
    }

    fn config(&self) -> String {
        fs::read_to_string(&self.place.kubelet_config).unwrap()
    }

    fn user(&self) -> User {
        Kubeconfig::read(&self.place.kubeconfig).unwrap().user
    }

    /// Nothing but what a kubelet has; the lock's file stays.
    fn check_handed_back(&self, credential: &Credential) {
        assert_eq!(self.config(), CONFIG);
        assert!(!Record::path(&self.place.cert_dir).exists());
        let used = match read_current(&self.current()) {
            Ok(current) => current,
            Err(_) => read_credential(&self.user().client_certificate.unwrap()).unwrap(),
        };
        assert_eq!(used.leaf().serial(), credential.leaf().serial());
    }

    fn check_adopted(&self, credential: &Credential) {
        let read = read_current(&self.current()).unwrap();
        assert_eq!(read.leaf().serial(), credential.leaf().serial());
        assert!(self.current().is_symlink());
        assert!(names_current(&self.user(), &self.place.cert_dir));
        assert_eq!(self.config(), CONFIG.replace("true", "false"));
        let mode = fs::metadata(&self.place.kubelet_config)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(plan_adoption(&self.place, now()).unwrap().changes, []);
    }

    fn refusal(&self) -> String {
        let before = self.config();
        let refusal = adopt(&self.place, now()).unwrap_err().to_string();
        assert_eq!(self.config(), before, "{refusal}");
        assert!(!Record::path(&self.place.cert_dir).exists(), "{refusal}");
        refusal
    }
}

#[test]
fn a_kubeadm_node_is_adopted_and_handed_back() {
    let node = Node::new();
    let credential = node.ca.node("n1", 100);
    node.put(&credential);
    node.name_current();
    let plan = plan_adoption(&node.place, now()).unwrap();
    assert_eq!(node.config(), CONFIG);
    assert_eq!(adopt(&node.place, now()).unwrap(), plan);
    assert_eq!((plan.node.as_str(), plan.changes.len()), ("n1", 2));
    node.check_adopted(&credential);
    let plan = plan_hand_back(&node.place, now()).unwrap();
    assert_eq!(hand_back(&node.place, now()).unwrap(), plan);
    node.check_handed_back(&credential);
    let again = hand_back(&node.place, now()).unwrap_err().to_string();
    assert!(again.contains("was not adopted"), "{again}");
}

#[test]
fn interrupted_anywhere_it_is_finished_or_undone() {
    let steps = 4;
    for done in 0..=steps {
        for is_finished in [true, false] {
            let node = Node::new();
            let credential = node.ca.node("n1", 100);
            node.embed(&credential);
            let survey = survey(&node.place, now()).unwrap();
            assert_eq!(survey.plan.changes.len(), steps);
            let cert_dir = CertDir::open(&node.place.cert_dir).unwrap();
            for change in survey.plan.changes.iter().take(done) {
                carry_out(&node.place, &survey, &cert_dir, change.step, now()).unwrap();
            }
            drop(cert_dir);
            if is_finished {
                adopt(&node.place, now()).unwrap();
                node.check_adopted(&credential);
            } else if done == 0 {
                assert!(hand_back(&node.place, now()).is_err());
                continue;
            }
            hand_back(&node.place, now()).unwrap();
            node.check_handed_back(&credential);
        }
    }
}

#[test]
fn what_the_kubeconfig_held_is_kept() {
    let node = Node::new();
    node.embed(&node.ca.node("n1", 100));
    let before = fs::read(&node.place.kubeconfig).unwrap();
    adopt(&node.place, now()).unwrap();
    let copy = node.place.kubeconfig.with_file_name("kubelet.conf.bak");
    assert_eq!(fs::read(copy).unwrap(), before);
}

#[test]
fn of_two_good_certificates_the_later_one_goes_on() {
    for (in_dir, held) in [(100, 50), (50, 100), (-1, 100), (100, -1)] {
        let node = Node::new();
        let (in_dir, held) = (node.ca.node("n1", in_dir), node.ca.node("n1", held));
        node.put(&in_dir);
        node.embed(&held);
        let ends = |credential: &Credential| credential.leaf().not_after();
        let later = if ends(&in_dir) > ends(&held) {
            in_dir
        } else {
            held
        };
        assert_eq!(adopt(&node.place, now()).unwrap().not_after, ends(&later));
        node.check_adopted(&later);
    }
}

#[test]
fn a_key_beside_the_current_certificate_is_not_used_any_more() {
    let node = Node::new();
    let credential = node.ca.node("n1", 100);
    node.put(&credential);
    let mut mixed = with_file(node.cluster(), &node.current());
    if let Some(pair) = &mut mixed.user.client_certificate {
        pair.key = Source::File(node.place.cert_dir.join("old.key"));
    }
    node.write(&mixed);
    adopt(&node.place, now()).unwrap();
    node.check_adopted(&credential);
    let pair = node.user().client_certificate.unwrap();
    assert_eq!(pair.key, pair.certificate);
}

#[test]
fn renewal_that_was_off_stays_off() {
    let node = Node::new();
    node.put(&node.ca.node("n1", 100));
    node.name_current();
    let off = CONFIG.replace("true", "false");
    fs::write(&node.place.kubelet_config, &off).unwrap();
    adopt(&node.place, now()).unwrap();
    hand_back(&node.place, now()).unwrap();
    assert_eq!(node.config(), off);
}

#[test]
fn a_certificate_that_is_of_no_use_is_refused() {
    let node = Node::new();
    let other = everleaf_pki::Template {
        subject: Subject {
            common_name: "admin".to_owned(),
            organizations: vec!["system:masters".to_owned()],
        },
        ..Default::default()
    };
    let hour = crate::testing::hours(1);
    let admin = node
        .ca
        .credential(&other, Usage::ClientAuth, now() - hour, now() + hour);
    let early = everleaf_pki::Template {
        subject: Subject::node("n1"),
        ..Default::default()
    };
    let early = node
        .ca
        .credential(&early, Usage::ClientAuth, now() + hour, now() + hour + hour);
    for (credential, wanted) in [
        (node.ca.node("n1", -1), "ended at"),
        (admin, "is no node"),
        (early, "begins at"),
    ] {
        node.embed(&credential);
        let refusal = node.refusal();
        assert!(refusal.contains(wanted), "{refusal}");
    }
    let pem =
        |credential: &Credential| Source::Inline(Secret::new(credential.to_pem().to_string()));
    let mut mixed = with_inline(node.cluster(), &node.ca.node("n1", 1));
    let key = pem(&node.ca.node("n1", 1));
    if let Some(ClientCertificate { key: of_other, .. }) = &mut mixed.user.client_certificate {
        *of_other = key;
    }
    node.write(&mixed);
    assert!(node.refusal().contains("client certificate and key"));
}

#[test]
fn what_stands_against_it_is_told_together_and_nothing_changes() {
    let node = Node::new();
    node.embed(&node.ca.node("n1", -1));
    let flags = node
        .place
        .kubelet_config
        .with_file_name("kubeadm-flags.env");
    fs::write(
        flags,
        "KUBELET_KUBEADM_ARGS=\"--rotate-certificates --v=2\"\n",
    )
    .unwrap();
    fs::write(&node.place.kubelet_config, "{\"rotateCertificates\": true}").unwrap();
    let refusal = node.refusal();
    for wanted in ["kubeadm-flags.env", "by hand", "ended at"] {
        assert!(refusal.contains(wanted), "{refusal}");
    }
    assert_eq!(refusal.lines().count(), 3, "{refusal}");
}

#[test]
fn never_beside_another_agent() {
    let node = Node::new();
    node.embed(&node.ca.node("n1", 100));
    let held = CertDir::open(&node.place.cert_dir).unwrap();
    for refusal in [
        node.refusal(),
        plan_adoption(&node.place, now()).unwrap_err().to_string(),
    ] {
        assert!(refusal.contains("in use by another process"), "{refusal}");
    }
    drop(held);
    adopt(&node.place, now()).unwrap();
    let _held = CertDir::open(&node.place.cert_dir).unwrap();
    assert!(hand_back(&node.place, now()).is_err());
    assert!(plan_hand_back(&node.place, now()).is_err());
}

#[test]
fn odd_layouts_are_refused() {
    let node = Node::new();
    let credential = node.ca.node("n1", 100);
    node.embed(&credential);
    fs::write(node.current(), credential.to_pem().as_bytes()).unwrap();
    assert!(node.refusal().contains("must be a link"));
    fs::remove_file(node.current()).unwrap();
    node.put(&node.ca.node("n2", 100));
    assert!(node.refusal().contains("is of node n1"));
    let k3s = node.place.cert_dir.join(K3S_CERTIFICATE);
    fs::write(&k3s, credential.to_pem().as_bytes()).unwrap();
    node.write(&with_file(node.cluster(), &k3s));
    assert!(node.refusal().contains("k3s"));
}

#[test]
fn a_node_is_handed_back_with_the_files_it_was_adopted_with() {
    let node = Node::new();
    node.embed(&node.ca.node("n1", 100));
    adopt(&node.place, now()).unwrap();
    let other = Place {
        kubeconfig: node.place.kubeconfig.with_file_name("other.conf"),
        ..node.place.clone()
    };
    let refusal = hand_back(&other, now()).unwrap_err().to_string();
    assert!(refusal.contains("give the same"), "{refusal}");
}
