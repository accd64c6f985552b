//! The behaviours, one file per part of the story.

mod adoption;
mod after_a_storm;
mod auditing;
mod authority;
mod authorization_webhook;
mod bad_input;
mod bench;
mod ca_roll;
mod change_of_leader;
mod client_certificates;
mod clock;
mod crash;
mod credential_plugin;
mod dashboard;
mod demo;
mod doctor;
mod documentation;
mod encryption;
mod faults;
mod first_start;
mod fleet;
mod for_kubelets;
mod foreign_tokens;
mod hardware_keys;
mod kubectl_verbs;
mod kubelet_config;
mod late_reissue;
mod ml_dsa;
mod network;
mod no_room;
mod odd_files;
mod pages;
mod pods;
mod profiles;
mod rehearsal;
mod renewal;
mod revocation;
mod second_node;
mod service;
mod serving_approval;
mod serving_attacks;
mod serving_files;
mod serving_looks;
mod serving_requests;
mod small_agent;
mod store_commands;
mod tls_endpoint;
mod tls_stacks;
mod tokens;
mod ui;
mod why;

use everleaf_stage::runner::Test;

/// All tests in the order of the story.
pub(crate) fn all() -> Vec<&'static Test> {
    [
        first_start::TESTS,
        second_node::TESTS,
        tokens::TESTS,
        service::TESTS,
        network::TESTS,
        clock::TESTS,
        late_reissue::TESTS,
        demo::TESTS,
        renewal::TESTS,
        rehearsal::TESTS,
        adoption::TESTS,
        revocation::TESTS,
        fleet::TESTS,
        dashboard::TESTS,
        ui::TESTS,
        kubectl_verbs::TESTS,
        documentation::TESTS,
        faults::TESTS,
        pages::TESTS,
        for_kubelets::TESTS,
        client_certificates::TESTS,
        crash::TESTS,
        credential_plugin::TESTS,
        bad_input::TESTS,
        no_room::TESTS,
        encryption::TESTS,
        serving_approval::TESTS,
        serving_looks::TESTS,
        serving_files::TESTS,
        odd_files::TESTS,
        serving_requests::TESTS,
        authority::TESTS,
        pods::TESTS,
        profiles::TESTS,
        after_a_storm::TESTS,
        auditing::TESTS,
        foreign_tokens::TESTS,
        authorization_webhook::TESTS,
        ca_roll::TESTS,
        change_of_leader::TESTS,
        small_agent::TESTS,
        kubelet_config::TESTS,
        store_commands::TESTS,
        tls_endpoint::TESTS,
        hardware_keys::TESTS,
        tls_stacks::TESTS,
        ml_dsa::TESTS,
        why::TESTS,
        doctor::TESTS,
        bench::TESTS,
    ]
    .into_iter()
    .flatten()
    .collect()
}
