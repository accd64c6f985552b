//! Which test holds each case of a kubelet's own unit tests, and of those that they lack.
//!
//! The numbers are of a list of the cases of `certificate_manager_test.go` (1–54),
//! `certificate_store_test.go` (55–68) and `csr_test.go` (69–72) of client-go, of
//! `kubelet_test.go` (73–91), `transport_test.go` (92) and `bootstrap_test.go` (93–99) of
//! Kubernetes' `pkg/kubelet/certificate`, and of client-go's `connrotation`, `keyutil` and `cert`
//! (100–104); E1–E18 are what a node needs besides. A test that is renamed or deleted fails this
//! one, and so does a case without an entry.

use std::collections::BTreeSet;
use std::path::Path;

/// What holds a case.
enum Held {
    /// These tests.
    By(&'static [&'static str]),
    /// It cannot be had here.
    Not(&'static str),
}

use Held::{By, Not};

/// A first number and a last one, what they are about, and what holds them.
const UPSTREAM: &[(u32, u32, &str, Held)] = &[
    (
        1,
        1,
        "a pair and no client yet",
        By(&["a_serving_machine_waits_for_the_client_certificate"]),
    ),
    (2, 8, "deadlines", By(&["the_window_opens_at_seven_tenths"])),
    (
        9,
        9,
        "the deadline of a minute",
        By(&["thirty_seconds_on_either_side_are_due_in_twelve"]),
    ),
    (
        10,
        11,
        "no certificate satisfies nothing",
        By(&[
            "without_a_pending_request_the_standing_decides",
            "without_a_template_nothing_is_asked",
        ]),
    ),
    (
        12,
        20,
        "what satisfies a template",
        By(&["a_leaf_satisfies_a_template_when_it_holds_all_of_it"]),
    ),
    (
        21,
        21,
        "the create fails",
        By(&[
            "an_unreachable_server_gets_the_same_request_when_it_is_back",
            "waits_suit_the_refusal",
        ]),
    ),
    (
        22,
        22,
        "list and watch fail",
        By(&[
            "a_refused_list_is_tried_for_minutes",
            "a_disturbed_wait_goes_on",
        ]),
    ),
    (
        23,
        23,
        "an inline pair alone is renewed at once",
        By(&["an_inline_certificate_is_renewed_and_the_kubeconfig_follows"]),
    ),
    (
        24,
        24,
        "the store goes before an inline pair",
        By(&[
            "a_certificate_in_the_cert_dir_is_enough",
            "credentials_are_tried_in_order_and_only_a_401_moves_on",
        ]),
    ),
    (
        25,
        25,
        "a stored pair is used",
        By(&["a_fresh_certificate_is_confirmed_at_start_and_not_renewed"]),
    ),
    (
        26,
        27,
        "nothing anywhere",
        By(&["a_first_issuance", "the_first_certificate"]),
    ),
    (
        28,
        29,
        "one of two API versions",
        Not("certificates.k8s.io/v1 alone is spoken: every server from 1.19 on has it"),
    ),
    (
        30,
        30,
        "inline at start",
        By(&["an_inline_certificate_is_renewed_and_the_kubeconfig_follows"]),
    ),
    (
        31,
        32,
        "stored at start",
        By(&["a_restart_asks_for_nothing", "rows_of_the_start_up_table"]),
    ),
    (
        33,
        33,
        "expired at start",
        By(&[
            "an_expired_node_comes_back_with_its_bootstrap_credential",
            "a_day_after_expiry_by_our_clock_it_still_renews",
        ]),
    ),
    (34, 37, "no signer name", Not("v1 requires one")),
    (
        38,
        38,
        "success is healthy",
        By(&["a_success_makes_the_server_healthy_and_replaces_the_leaf"]),
    ),
    (
        39,
        43,
        "which failures speak of a healthy server",
        By(&[
            "health_follows_the_class_of_the_refusal",
            "failures_become_the_classes_that_rotation_acts_on",
            "an_answer_that_is_no_api_answer_is_told_apart",
        ]),
    ),
    (
        44,
        44,
        "the age at replacement",
        By(&["replaced_serving_certificates_are_aged"]),
    ),
    (
        45,
        46,
        "it stops when told to, and lines carry the manager's name",
        By(&[
            "the_first_certificate",
            "the_kubelets_search_words_are_there",
        ]),
    ),
    (47, 47, "the usual key", By(&["defaults_are_the_kubelets"])),
    (
        48,
        49,
        "configured keys",
        By(&[
            "key_algorithms_are_those_of_the_kubelet",
            "keys_of_a_kubelets_kind_are_kept_in_its_form",
        ]),
    ),
    (
        50,
        50,
        "no key can be made",
        Not("aws-lc fails to make a key for lack of memory only; what cannot be stored is E2"),
    ),
    (51, 51, "RSA-1024 is refused", By(&["weak_rsa_is_refused"])),
    (
        52,
        52,
        "P-224 is refused",
        By(&["p224_is_refused_with_the_way_out"]),
    ),
    (
        53,
        54,
        "RSA-2048 and P-256 are taken",
        By(&["keys_of_ours_are_strong"]),
    ),
    (
        55,
        55,
        "-current is a file",
        By(&["a_regular_file_at_current_is_never_overwritten"]),
    ),
    (
        56,
        56,
        "a link to nothing",
        By(&["linking_to_a_missing_file_is_refused_by_the_read_back"]),
    ),
    (
        57,
        58,
        "links made and replaced",
        By(&[
            "files_names_and_links_are_those_of_a_kubelet",
            "both_stores_conform",
        ]),
    ),
    (
        59,
        60,
        "either order in a pem",
        By(&["certificates_and_key_are_read_in_either_order"]),
    ),
    (
        61,
        62,
        "updates",
        By(&[
            "the_other_places_are_looked_up_in_order",
            "both_stores_conform",
        ]),
    ),
    (63, 63, "chains of two", By(&["intermediates_are_kept"])),
    (
        64,
        64,
        "garbage for a certificate",
        By(&[
            "nonsense_objects_are_waited_on",
            "a_certificate_for_another_key_or_name_is_not_installed",
        ]),
    ),
    (
        65,
        65,
        "-current is read",
        By(&["files_names_and_links_are_those_of_a_kubelet"]),
    ),
    (
        66,
        67,
        "configured files alone",
        By(&[
            "the_other_places_are_looked_up_in_order",
            "a_certificate_that_the_kubeconfig_names_is_used",
        ]),
    ),
    (
        68,
        68,
        "nothing at all",
        By(&[
            "a_corrupt_only_file_is_set_aside_and_nothing_is_current",
            "both_stores_conform",
        ]),
    ),
    (
        69,
        72,
        "which existing request is ours",
        By(&["the_facts_about_an_existing_request"]),
    ),
    (
        73,
        78,
        "names of addresses",
        By(&[
            "addresses_become_sorted_unique_names_and_ips",
            "the_order_is_textual_and_spellings_collapse",
            "sloppy_addresses_are_decimal_and_nonsense_is_not_an_address",
        ]),
    ),
    (
        79,
        86,
        "a serving request needs an address",
        By(&["a_serving_certificate_needs_an_ip"]),
    ),
    (
        87,
        88,
        "a static pair is followed",
        Not("the agent shows no static pair; the files of others are profiles'"),
    ),
    (
        89,
        89,
        "kinds of keys",
        By(&[
            "key_algorithms_are_those_of_the_kubelet",
            "serving_with_ml_dsa_needs_tls_13",
            "the_server_gate_is_needed_for_a_serving_certificate",
        ]),
    ),
    (
        90,
        91,
        "rotation with ML-DSA",
        By(&[
            "ml_dsa_from_the_authority_to_the_node",
            "a_node_moves_to_ml_dsa_and_back_at_its_renewals",
        ]),
    ),
    (
        92,
        92,
        "connections follow the certificate",
        By(&["a_swapped_certificate_means_a_new_connection"]),
    ),
    (
        93,
        93,
        "the current context",
        By(&["the_current_context_is_what_counts"]),
    ),
    (
        94,
        94,
        "an empty key",
        By(&["private_keys_that_cannot_be_used_say_why"]),
    ),
    (
        95,
        95,
        "the first create fails",
        By(&["an_unreachable_server_is_tried_again"]),
    ),
    (
        96,
        96,
        "the first certificate",
        By(&["the_first_certificate"]),
    ),
    (
        97,
        97,
        "no bootstrap kubeconfig",
        By(&["without_bootstrap_the_kubeconfig_is_used_as_it_is"]),
    ),
    (
        98,
        98,
        "a valid kubeconfig",
        By(&["a_valid_kubeconfig_wins"]),
    ),
    (
        99,
        99,
        "an expired kubeconfig",
        By(&[
            "a_useless_kubeconfig_is_replaced",
            "the_first_kubeconfig_is_written_before_any_certificate_exists",
        ]),
    ),
    (
        100,
        101,
        "all connections are closed",
        By(&[
            "a_swapped_certificate_means_a_new_connection",
            "identities_never_share_a_connection",
        ]),
    ),
    (
        102,
        102,
        "private keys of every form",
        By(&[
            "keys_are_read_and_written_as_go_does",
            "an_ec_parameters_block_before_the_key_is_skipped",
            "private_keys_that_cannot_be_used_say_why",
        ]),
    ),
    (
        103,
        103,
        "public keys of files",
        Not("those are a server's, for tokens of service accounts"),
    ),
    (
        104,
        104,
        "a request reads back",
        By(&["requests_are_written_as_go_does", "requests_read_back"]),
    ),
];

/// What a kubelet's tests lack, E1 first.
const BESIDES: &[(&str, &[&str])] = &[
    (
        "an end after each step of a write",
        &[
            "stopped_at_any_file_operation_it_comes_back_whole",
            "power_lost_after_any_operation_leaves_a_usable_credential_on_disk",
            "kill_9_of_an_agent_leaves_a_usable_credential",
        ],
    ),
    (
        "a full, read-only or foreign disk",
        &[
            "any_file_operation_may_fail_once",
            "the_disk_may_fail_for_a_time_from_any_operation_on",
            "a_refusing_disk_is_explained_and_changes_nothing",
        ],
    ),
    (
        "a -current that is wrong",
        &[
            "a_corrupt_current_is_set_aside_and_an_older_one_takes_its_place",
            "a_mismatched_key_counts_as_corrupt",
            "a_dangling_current_is_pointed_at_the_newest_valid_file",
            "an_interrupted_swap_is_finished",
            "a_regular_file_at_current_is_never_overwritten",
        ],
    ),
    (
        "two updates in one second",
        &["two_updates_in_one_second_get_two_files"],
    ),
    (
        "clocks that are set, and suspend",
        &[
            "renewals_go_on_when_both_wall_clocks_are_moved_on_and_on",
            "a_clock_before_not_before_is_noted_once_and_renews_nothing",
            "thirty_days_of_suspend_are_noticed",
        ],
    ),
    (
        "a restart in each state",
        &[
            "a_first_issuance_interrupted_anywhere_makes_one_request",
            "stopped_before_or_after_any_effect_it_comes_back_whole",
            "an_undecided_request_survives_a_restart",
        ],
    ),
    (
        "a request that comes to nothing",
        &[
            "a_denied_request_is_followed_by_ever_rarer_ones",
            "a_deleted_or_recreated_request_is_replaced",
            "an_unapproved_request_is_waited_for_and_renewed_after_a_day",
            "an_object_says_one_thing",
        ],
    ),
    (
        "a wait that is disturbed",
        &[
            "a_disturbed_wait_goes_on",
            "a_refused_list_is_tried_for_minutes",
            "a_swallowed_watch_costs_at_most_45_seconds",
        ],
    ),
    (
        "a wrong certificate",
        &[
            "a_certificate_for_another_key_or_name_is_not_installed",
            "a_certificate_that_ended_before_the_servers_date_is_not_installed",
        ],
    ),
    (
        "addresses that flap",
        &["flapping_addresses_abandon_nothing_and_settled_ones_make_one_request"],
    ),
    (
        "401 for a good certificate",
        &["a_refused_unexpired_certificate_falls_back_to_the_bootstrap_credential"],
    ),
    (
        "a new bootstrap token",
        &[
            "a_new_bootstrap_token_is_picked_up",
            "a_replaced_bootstrap_kubeconfig_is_tried_at_once",
        ],
    ),
    (
        "the TTL around the end",
        &["the_ttl_is_infinite_then_counts_down_and_goes_on"],
    ),
    (
        "deadlines of a fleet",
        &[
            "every_deadline_lies_in_the_window",
            "a_fleet_spreads_evenly",
            "real_leaves_of_a_fleet_differ_and_each_stays_the_same",
        ],
    ),
    (
        "two minutes, back-dated by five",
        &["a_back_dated_certificate_of_two_minutes_does_not_spin"],
    ),
    (
        "renewal under load",
        &["five_minute_certificates_renew_in_real_time_without_a_failed_request"],
    ),
    (
        "modes under any umask",
        &[
            "nothing_is_readable_by_others_under_any_umask",
            "files_are_named_as_kubeadm_names_them_and_private",
        ],
    ),
    ("names by digest", &["digest_names_are_client_gos"]),
];

/// The number of the last upstream case, and of the last of ours.
const LAST: (u32, usize) = (104, 18);

#[test]
fn each_case_is_held_by_a_test_that_exists() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut tests = BTreeSet::new();
    for directory in ["crates", "tests/e2e/src"] {
        collect(&root.join(directory), &mut tests);
    }
    let mut next = 1;
    for (first, last, what, held) in UPSTREAM {
        assert_eq!(*first, next, "{what}");
        assert!(last >= first, "{what}");
        next = last + 1;
        match held {
            By(names) => check(what, names, &tests),
            Not(why) => assert!(!why.is_empty(), "{what}"),
        }
    }
    assert_eq!(next, LAST.0 + 1);
    assert_eq!(BESIDES.len(), LAST.1);
    for (what, names) in BESIDES {
        check(what, names, &tests);
    }
}

#[track_caller]
fn check(what: &str, names: &[&str], tests: &BTreeSet<String>) {
    assert!(!names.is_empty(), "{what}: no test");
    for name in names {
        assert!(tests.contains(*name), "{what}: there is no test {name}");
    }
}

/// The names of all tests below a directory: functions, and entries of the end-to-end suite.
fn collect(directory: &Path, tests: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
                let name = line
                    .strip_prefix("name: \"")
                    .and_then(|rest| rest.strip_suffix("\","));
                tests.extend(name.map(str::to_owned));
                let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) else {
                    continue;
                };
                is_test = false;
                let name = rest.split('(').next().unwrap_or_default();
                tests.insert(name.to_owned());
            }
        }
    }
}
