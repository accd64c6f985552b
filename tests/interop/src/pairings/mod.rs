//! The pairings, one file each, named by who meets whom.

mod agent_on_kubernetes;
mod audit_beside_kube_apiserver;
mod ca_roll_on_kube_apiserver;
mod chart_on_kubernetes;
mod client_certificates_on_everleaf;
mod client_go_on_everleaf;
mod controllers_beside_kcm;
mod controllers_on_kube_apiserver;
mod doctor_on_kubernetes;
mod etcd_encrypted_with_kubernetes;
mod etcd_moved_into;
mod etcd_shared_with_kubernetes;
mod fleet_on_kubernetes;
mod join_on_kubernetes;
mod kcm_on_everleaf_apiserver;
mod kube_rs_on_everleaf;
mod kubectl_on_everleaf;
mod kubelet_hands_over;
mod kubelet_mounts_pod_certificates;
mod kubelet_on_everleaf_up;
mod kubernetes_own_tests;
mod owners_beside_kube_apiserver;
mod parity_with_kcm;
mod pod_signer_on_kube_apiserver;
mod post_quantum;
mod prometheus_on_everleaf;
mod python_client_on_everleaf;
mod recordings_of_kubernetes;
mod requests;
mod rights;
mod server;
mod serving_policy;
mod steps;
mod ten_years_on_kubernetes;
mod three_ups_on_one_etcd;
mod tlog_of_go;
mod upkeep;
mod why_on_kubernetes;

use everleaf_stage::runner::Test;

/// One pairing: a test, and how docs/compatibility.md speaks of it.
pub(crate) struct Pairing {
    /// Real programs, with versions: "kube-apiserver 1.37, kube-controller-manager 1.37".
    pub(crate) real: &'static str,
    /// Our parts: "`everleaf agent`".
    pub(crate) ours: &'static str,
    /// The test.
    pub(crate) test: Test,
}

/// All of them, in the order of the document.
pub(crate) fn all() -> &'static [&'static Pairing] {
    &[
        &ten_years_on_kubernetes::PAIRING,
        &ten_years_on_kubernetes::KUBELET,
        &kubelet_on_everleaf_up::PAIRING,
        &kubelet_on_everleaf_up::OLDER,
        &kubelet_on_everleaf_up::OLD,
        &kubelet_hands_over::PAIRING,
        &kcm_on_everleaf_apiserver::PAIRING,
        &kcm_on_everleaf_apiserver::OLD,
        &controllers_on_kube_apiserver::PAIRING,
        &controllers_on_kube_apiserver::OLD,
        &pod_signer_on_kube_apiserver::PAIRING,
        &kubelet_mounts_pod_certificates::PAIRING,
        &kubelet_on_everleaf_up::OLD_CONTROL_PLANE,
        &parity_with_kcm::PAIRING,
        &controllers_beside_kcm::PAIRING,
        &serving_policy::PAIRING,
        &serving_policy::OLD,
        &chart_on_kubernetes::PAIRING,
        &chart_on_kubernetes::OLD,
        &rights::PAIRING,
        &rights::OLD,
        &why_on_kubernetes::PAIRING,
        &why_on_kubernetes::OLD,
        &fleet_on_kubernetes::PAIRING,
        &fleet_on_kubernetes::OLD,
        &doctor_on_kubernetes::PAIRING,
        &doctor_on_kubernetes::OLD,
        &join_on_kubernetes::PAIRING,
        &join_on_kubernetes::OLD,
        &ca_roll_on_kube_apiserver::PAIRING,
        &ca_roll_on_kube_apiserver::TAKEN_BACK,
        &agent_on_kubernetes::PAIRING,
        &agent_on_kubernetes::OLD,
        &recordings_of_kubernetes::PAIRING,
        &owners_beside_kube_apiserver::PAIRING,
        &audit_beside_kube_apiserver::PAIRING,
        &etcd_shared_with_kubernetes::PAIRING,
        &three_ups_on_one_etcd::PAIRING,
        &etcd_encrypted_with_kubernetes::PAIRING,
        &etcd_moved_into::PAIRING,
        &client_certificates_on_everleaf::PAIRING,
        &kubernetes_own_tests::PAIRING,
        &kubernetes_own_tests::CONTROL,
        &kubectl_on_everleaf::NEWEST,
        &kubectl_on_everleaf::OLDER,
        &kubectl_on_everleaf::OLD,
        &kubectl_on_everleaf::OLDEST,
        &client_go_on_everleaf::PAIRING,
        &client_go_on_everleaf::CONTROL,
        &python_client_on_everleaf::PAIRING,
        &python_client_on_everleaf::CONTROL,
        &kube_rs_on_everleaf::PAIRING,
        &tlog_of_go::PAIRING,
        &prometheus_on_everleaf::PAIRING,
        &post_quantum::PAIRING,
    ]
}

/// The clients' pairings played on real Kubernetes, in place of all others, with `--controls`: a
/// step that fails there is wrong.
pub(crate) fn controls() -> Vec<&'static Test> {
    let mut tests: Vec<&'static Test> = kubectl_on_everleaf::CONTROLS.iter().collect();
    tests.push(&client_go_on_everleaf::CONTROL.test);
    tests.push(&python_client_on_everleaf::CONTROL.test);
    tests.push(&kube_rs_on_everleaf::CONTROL);
    tests
}
