//! Every fault of the catalogue, brought about in a healthy cluster or on a healthy node, is found,
//! and nothing else is; where all is healthy nothing is found.

mod cases;
mod odd;
mod world;

use super::*;
use crate::why::Known;
use everleaf_pki::{KeyAlgorithm, MlDsa, PrivateKey, Template, Usage};
use std::collections::BTreeSet;
use world::World;

fn named(report: &Report) -> Vec<String> {
    let findings = report.findings();
    findings
        .map(|finding| format!("{}: {}", finding.fault, finding.evidence.join(" | ")))
        .collect()
}

#[test]
fn nothing_is_found_where_all_is_well() {
    let report = World::healthy().examine();
    assert_eq!(named(&report), Vec::<String>::new());
    assert!(report.is_complete());
    assert_eq!(report.sections.len(), Section::ALL.len());
    for part in &report.sections {
        assert!(!part.looked_at.is_empty(), "{}", part.section.name());
    }
}

#[test]
fn kinds_of_keys_are_told_with_their_strength() {
    use crate::fixture::now;
    use world::hours;
    let mut world = World::healthy();
    let key = PrivateKey::generate(KeyAlgorithm::MlDsa(MlDsa::MlDsa65)).unwrap();
    let template = Template {
        subject: crate::fixture::subject("system:node:n1", &["system:nodes"]),
        ..Template::default()
    };
    let (begin, end) = (now() - hours(1), now() + hours(24));
    let usages = [Usage::DigitalSignature, Usage::ClientAuth];
    let chain = world
        .ca
        .issue_own(&template, key.public_key(), &usages, [5; 16], begin, end)
        .unwrap();
    world.seen.host.credentials[0].chain = Known::Read(Ok(chain.clone()));
    let report = world.examine();
    let told = |section| {
        let mut parts = report.sections.iter();
        let part = parts.find(|part| part.section == section).unwrap();
        part.looked_at.clone()
    };
    let p256 = "ECDSA P-256 (128 bits)";
    let ml_dsa = "ML-DSA-65 (category 3, post-quantum)";
    assert!(told(Section::Ca).ends_with(&format!("; keys: 1 {p256}")));
    assert!(told(Section::Signers).ends_with(&format!("; keys: 2 {p256}")));
    assert!(told(Section::CertDir).contains(&format!(", key {ml_dsa}")));
    let ca = world.ca.certificate();
    let keys = kinds_of_keys([ca, chain.leaf(), ca]);
    assert_eq!(keys, format!("2 {p256}, 1 {ml_dsa}"));
}

#[test]
fn each_fault_is_found_and_nothing_else() {
    let mut wrong = Vec::new();
    for (fault, world) in cases::all() {
        let report = world.examine();
        // Who is not let in sees nothing else.
        let is_out = [Fault::ServerUnreachable, Fault::CredentialRefused].contains(&fault);
        let found = report.findings().map(|finding| finding.fault);
        let found: Vec<Fault> = found
            .filter(|one| !(is_out && *one == Fault::NotSeen))
            .collect();
        if found != [fault] {
            wrong.push(format!("{fault}: {:?}", named(&report)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_fault_of_the_catalogue_has_its_case() {
    let tried: BTreeSet<Fault> = cases::all().iter().map(|(fault, _)| *fault).collect();
    let told_elsewhere = [Fault::NotSeen];
    let missing = Fault::ALL.iter().filter(|fault| !tried.contains(fault));
    let missing: Vec<&Fault> = missing
        .filter(|fault| !told_elsewhere.contains(fault))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(tried.len() >= 40);
}

#[test]
fn names_are_unique_and_no_placeholder_is_left() {
    let ids: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.entry().id).collect();
    assert_eq!(ids.len(), Fault::ALL.len());
    for (fault, world) in cases::all() {
        for finding in world.examine().findings() {
            for command in &finding.commands {
                let is_shell = command.contains("jsonpath");
                assert!(
                    is_shell || !command.contains(['{', '}']),
                    "{fault}: {command}"
                );
                assert!(!command.contains("csr/CSR"), "{fault}: {command}");
                assert!(!command.contains("node/NODE"), "{fault}: {command}");
            }
        }
    }
}

/// Whoever may read nothing is told so of each thing, and is never told that all is well.
#[test]
fn what_may_not_be_read_is_told() {
    let hidden = || "no rights".to_owned();
    let world = World::healthy().edit(|seen, _| {
        let cluster = &mut seen.cluster;
        cluster.requests = Known::Hidden(hidden());
        cluster.nodes = Known::Hidden(hidden());
        cluster.leases = Known::Hidden(hidden());
        cluster.pods = Known::Hidden(hidden());
        cluster.bindings = Known::Hidden(hidden());
        cluster.roles = Known::Hidden(hidden());
        cluster.client_ca = Known::Hidden(hidden());
        for bundle in &mut seen.bundles {
            bundle.pem = Known::Hidden(hidden());
        }
        for answer in seen.rights.values_mut() {
            *answer = Known::Hidden(hidden());
        }
        seen.without_root_ca = Known::Hidden(hidden());
        seen.node_leases = Known::Hidden(hidden());
        seen.tokens = Known::Hidden(hidden());
        seen.cluster_info = Known::Hidden(hidden());
        seen.revocations = Known::Hidden(hidden());
        seen.revocation_list = Known::Hidden(hidden());
    });
    let of_cluster: Vec<Section> = Section::of_cluster().collect();
    let report = examine(&world.seen, &of_cluster);
    assert!(!report.is_complete());
    assert_eq!(report.worst(), None, "{:?}", named(&report));
    for part in &report.sections {
        let is_told = part.findings.iter().any(|one| one.fault == Fault::NotSeen);
        assert_eq!(
            is_told,
            part.section != Section::Server,
            "{}",
            part.section.name()
        );
    }
}

#[test]
fn a_server_that_is_away_is_told_once_and_the_rest_was_not_looked_at() {
    let world = World::healthy().edit(|seen, _| {
        *seen = Seen {
            server: Server {
                answer: Answer::None("connection refused".to_owned()),
                shown: Known::Absent,
                ..seen.server.clone()
            },
            host: seen.host.clone(),
            bundles: seen.bundles.clone(),
            ..Seen::default()
        };
        seen.cluster.local = crate::fixture::now();
        seen.without_root_ca = Known::Absent;
    });
    let report = world.examine();
    let worse = report.findings().filter(|one| one.fault != Fault::NotSeen);
    let worse: Vec<Fault> = worse.map(|one| one.fault).collect();
    assert_eq!(worse, [Fault::ServerUnreachable]);
    assert!(!report.is_complete());
}

fn unseen(report: &Report, section: Section) -> Vec<&Finding> {
    let parts = report
        .sections
        .iter()
        .filter(|part| part.section == section);
    let findings = parts.flat_map(|part| &part.findings);
    findings.filter(|one| one.fault == Fault::NotSeen).collect()
}

/// Each section says once that it was not looked at, and says the true reason, not one of rights.
#[test]
fn who_cannot_be_asked_is_the_reason_of_each_section() {
    let away = || {
        World::healthy().edit(|seen, _| {
            seen.server.answer = Answer::None("connection refused".to_owned());
            seen.server.shown = Known::Absent;
            seen.cluster = crate::why::Evidence {
                local: crate::fixture::now() + SignedDuration::from_millis(250),
                ..crate::why::Evidence::default()
            };
            seen.without_root_ca = Known::default();
        })
    };
    let of_cluster: Vec<Section> = Section::of_cluster().collect();
    let report = examine(&away().seen, &of_cluster);
    assert_eq!(
        (&*report.at, report.clock),
        ("2026-11-20T12:00:00Z", "this-machine")
    );
    for section in of_cluster.into_iter().filter(|one| *one != Section::Server) {
        let told = unseen(&report, section);
        assert_eq!((told.len(), told[0].count), (1, 1), "{}", section.name());
        let line = &told[0].evidence[0];
        assert!(
            line.contains("cannot be asked: connection refused"),
            "{line}"
        );
        assert!(told[0].commands.is_empty());
        assert!(!told[0].consequence.contains("may not read"));
    }
    // A part of it, asked for alone, is not fine either.
    let report = examine(&away().seen, &[Section::Ca]);
    assert_eq!(unseen(&report, Section::Ca).len(), 1);
    assert!(!report.is_complete());
    assert_eq!(
        examine(&World::healthy().seen, &[Section::Ca]).clock,
        "api-server"
    );
}

#[test]
fn nothing_is_counted_where_nothing_was_seen() {
    let world = World::healthy().edit(|seen, _| {
        seen.cluster.nodes = Known::Hidden("forbidden".to_owned());
        seen.revocations = Known::Hidden("forbidden".to_owned());
    });
    let report = examine(&world.seen, &[Section::Nodes, Section::Revocations]);
    for part in &report.sections {
        assert_eq!(part.looked_at, "", "{}", part.section.name());
    }
}

#[test]
fn a_file_that_may_not_be_read_needs_another_user_and_no_kubectl() {
    let denied = || Known::Hidden("Permission denied (os error 13)".to_owned());
    let world = World::healthy().edit(|seen, _| {
        seen.host.kubeconfig.content = Known::Hidden("Permission denied".to_owned());
        seen.host.credentials[0].chain = denied();
        seen.server = Server {
            answer: Answer::NotAsked,
            ..Server::default()
        };
        seen.bundles.clear();
        seen.without_root_ca = Known::Absent;
    });
    let report = examine(&world.seen, &Section::OF_NODE);
    assert_eq!((report.worst(), report.is_complete()), (None, false));
    for section in [Section::CertDir, Section::Kubeconfig] {
        let told = unseen(&report, section);
        assert!(told[0].remedy.contains("as root"), "{}", told[0].remedy);
        assert!(told[0].commands.is_empty());
    }
    for section in [Section::Server, Section::Ca] {
        let line = &unseen(&report, section)[0].evidence[0];
        assert!(line.contains("may not read the kubeconfig"), "{line}");
    }
    // A kubeconfig that is there is not said to be missing.
    let torn = World::healthy().edit(|seen, _| {
        seen.host.kubeconfig.content = Known::Read(Err("no certificate in it".to_owned()));
        seen.server.answer = Answer::NotAsked;
    });
    let report = examine(&torn.seen, &Section::OF_NODE);
    let line = &unseen(&report, Section::Server)[0].evidence[0];
    assert!(line.contains("the kubeconfig cannot be used"), "{line}");
}

/// Whoever stands in between mostly has another name, too.
#[test]
fn a_certificate_of_nobodys_comes_before_its_names() {
    let (begin, end) = (
        crate::fixture::now() - world::hours(1),
        crate::fixture::now() + world::hours(9000),
    );
    let world = World::healthy().edit(|seen, _| {
        let server = world::server_by(&world::stranger(), "other.test", begin, end);
        seen.server.shown = world::ders(&server);
    });
    let report = examine(&world.seen, &[Section::Server]);
    let found: Vec<Fault> = report.findings().map(|one| one.fault).collect();
    assert_eq!(
        found,
        [
            Fault::ServerCertificateUntrusted,
            Fault::ServerCertificateName
        ]
    );
    // Its own certificate is of the same authorities: the way back is to join again.
    let finding = report.findings().next().unwrap();
    let shown = finding.evidence.join(" | ");
    assert!(
        shown.contains("have signed its client certificate"),
        "{shown}"
    );
    assert!(finding.commands.join(" ").contains("--replace"));
}

#[test]
fn commands_about_a_file_that_was_named_name_it() {
    let leaf = world::server_by(
        &world::stranger(),
        "leaf",
        crate::fixture::now() - world::hours(1),
        crate::fixture::now() + world::hours(90_000),
    );
    let world = World::healthy().with_bundle(&leaf.to_pem());
    let report = examine(&world.seen, &[Section::Ca]);
    let finding = report.findings().next().unwrap();
    assert_eq!(finding.fault, Fault::CaNotAnAuthority);
    assert_eq!(
        finding.commands,
        ["openssl x509 -in other.crt -noout -issuer -ext basicConstraints"]
    );
}

#[test]
fn what_many_things_show_is_one_finding() {
    let mut world = World::healthy();
    for index in 0..60 {
        let object = crate::fixture::kubelet_client(&format!("m{index}")).object();
        let object = world::at(object, "2026-11-20T11:30:00Z");
        world = world.filed(world::named(object, &format!("csr-{index}")));
    }
    let report = world.examine();
    let finding = report.findings().next().unwrap();
    assert_eq!((finding.fault, finding.count), (Fault::RequestsWaiting, 60));
    assert_eq!(finding.evidence.len(), 50);
    assert_eq!(finding.commands, ["everleaf why csr/csr-0"]);
}

#[test]
fn the_worst_comes_first() {
    let world = World::healthy().edit(|seen, _| {
        seen.tokens = Known::Read(vec![
            world::token("abcdef", None),
            world::token("ghijkl", Some(crate::fixture::now() + world::hours(20))),
        ]);
        seen.cluster_info = Known::Absent;
    });
    let report = world.examine();
    let found: Vec<Fault> = report.findings().map(|one| one.fault).collect();
    assert_eq!(found, [Fault::TokenForEver, Fault::ClusterInfoAbsent]);
    assert_eq!(report.worst(), Some(Severity::Warning));
}

/// Certificates begin five minutes before they are issued.
#[test]
fn a_certificate_may_begin_before_its_young_authority() {
    let now = crate::fixture::now();
    let young = world::another("young", now - world::hours(1), now + world::hours(90_000));
    let world = World::healthy().edit(|seen, _| {
        let pem = Known::Read(world::pem_of(&young));
        for bundle in &mut seen.bundles {
            bundle.pem = pem.clone();
        }
        seen.cluster.client_ca = pem;
        let (begin, end) = (now - world::hours(2), now + world::hours(200));
        let server = world::server_by(&young, "api.test", begin, end);
        seen.server.shown = world::ders(&server);
        let life = std::time::Duration::from_secs(86_400);
        let request = crate::fixture::kubelet_client("n1");
        let issued = world::issued(&young, request, life, world::hours(-1));
        seen.cluster.requests = Known::Read(vec![issued]);
        let client = world::client_by(&young, begin, end);
        seen.host.credentials[0].chain = Known::Read(Ok(client));
    });
    assert_eq!(named(&world.examine()), Vec::<String>::new());
}

/// After a CA was replaced, requests of the one before are still stored for an hour.
#[test]
fn only_the_newest_certificate_counts() {
    let other = world::stranger();
    let by_other = |request: crate::fixture::Fixture, name: &str, time: &str| {
        let object = world::issued(&other, request, world::DAY, SignedDuration::ZERO);
        world::named(world::at(object, time), name)
    };
    let client = || crate::fixture::kubelet_client("n1");
    let serving = || crate::fixture::kubelet_serving("n1").ip("10.0.0.1");
    let (before, after) = ("2026-11-20T11:30:00Z", "2026-11-20T11:59:45Z");
    let world = World::healthy()
        .filed(by_other(client(), "old-client", before))
        .filed(by_other(serving(), "old-serving", before));
    assert_eq!(named(&world.examine()), Vec::<String>::new());
    let world = World::healthy()
        .filed(by_other(client(), "new-client", after))
        .filed(by_other(serving(), "new-serving", after));
    let report = world.examine();
    let found: Vec<Fault> = report.findings().map(|one| one.fault).collect();
    assert_eq!(found, [Fault::IssuedOtherCa, Fault::ServingOtherCa]);
    let shown = report.findings().flat_map(|one| &one.evidence);
    assert!(shown.into_iter().all(|line| line.contains("csr/new-")));
}

/// Its certificate ends after ten minutes, and nobody minds.
#[test]
fn a_rehearsal_says_nothing_about_a_node() {
    let other = world::stranger();
    let lapsed = |name: &str| {
        let life = std::time::Duration::from_secs(600);
        let begun = -SignedDuration::from_mins(20);
        let object = world::issued(&other, crate::fixture::kubelet_client("n1"), life, begun);
        let object = world::named(world::at(object, "2026-11-20T11:59:45Z"), name);
        let report = World::healthy().filed(object).examine();
        let mut findings = report.findings();
        findings.any(|one| one.fault == Fault::NodeLapsed)
    };
    assert!(lapsed("node-csr-x"));
    assert!(!lapsed("everleaf-rehearsal-x"));
}

#[test]
fn the_groups_of_a_token_are_asked_about_together() {
    let of = |groups: &[&str]| groups.iter().map(|one| (*one).to_owned()).collect();
    let all = Right::all(&[
        of(&["system:bootstrappers:a", "system:bootstrappers:b"]),
        of(&[]),
    ]);
    let joins = all.iter().filter(|right| matches!(right, Right::Join(_)));
    let groups: Vec<String> = joins
        .map(|right| right.body()["spec"]["groups"].to_string())
        .collect();
    assert_eq!(
        groups,
        [
            r#"["system:bootstrappers","system:authenticated"]"#,
            r#"["system:bootstrappers","system:bootstrappers:a","system:bootstrappers:b","system:authenticated"]"#,
        ]
    );
    assert_eq!(Right::all(&[]).len(), 4);
}

#[test]
fn nothing_secret_of_a_token_is_kept() {
    let facts = world::token("abcdef", None);
    assert!(!format!("{facts:?}").contains("0123456789abcdef"));
}
