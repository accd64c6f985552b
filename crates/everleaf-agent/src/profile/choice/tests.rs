//! What was read and what runs in, what is kept out.

use super::*;
use crate::profile::{Form, Output};
use everleaf_pki::{KeyAlgorithm, SignerName, Template};
use everleaf_rotation::Timing;

/// A profile that writes one file; `kind` tells versions of it apart.
fn profile(name: &str, path: &str, kind: &str) -> Profile {
    Profile {
        name: name.to_owned(),
        signer_name: SignerName::new(format!("example.com/{kind}")),
        template: Template::default(),
        usages: Vec::new(),
        key: KeyAlgorithm::EcdsaP256,
        expiration_seconds: None,
        timing: Timing::default(),
        authorities: None,
        outputs: vec![Output {
            form: Form::Pem(path.into()),
            owner: None,
            group: None,
            mode: 0o600,
        }],
        after: None,
    }
}

fn reading(origin: &str, profiles: &[Profile], problems: &[&str]) -> Reading {
    Reading {
        profiles: profiles.to_vec(),
        problems: problems
            .iter()
            .map(|text| ProfileProblem((*text).to_owned()))
            .collect(),
        ..Reading::of(Path::new(origin))
    }
}

fn running(all: &[(&str, Profile)]) -> Vec<Kept> {
    let kept = all.iter().map(|(origin, profile)| Kept {
        origin: Path::new(origin).into(),
        profile: Arc::new(profile.clone()),
    });
    kept.collect()
}

/// `name kind` of each that is kept, sorted, and the problems.
#[track_caller]
fn check(readings: Vec<Reading>, running: &[Kept], kept: &[&str], problems: &[&str]) {
    let choice = choose(readings, running);
    let described = choice.kept.iter().map(|kept| {
        let signer = kept.profile.signer_name.as_str();
        let kind = signer.trim_start_matches("example.com/");
        format!("{} {kind}", kept.profile.name)
    });
    let mut described: Vec<String> = described.collect();
    described.sort();
    assert_eq!(described, kept);
    let told: Vec<String> = choice.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told, problems);
}

#[test]
fn what_is_wrong_is_left_out_and_everything_else_is_kept() {
    let good = reading("/p/a.yaml", &[profile("a", "/a", "1")], &[]);
    let half = reading("/p/b.yaml", &[profile("b", "/b", "1")], &["b is wrong"]);
    check(vec![half, good], &[], &["a 1", "b 1"], &["b is wrong"]);
}

#[test]
fn what_ran_of_a_file_that_is_wrong_now_goes_on() {
    let before = running(&[
        ("/p/a.yaml", profile("a", "/a", "1")),
        ("/p/a.yaml", profile("b", "/b", "1")),
        ("/p/c.yaml", profile("c", "/c", "1")),
    ]);
    // Of its two documents one is wrong; another file is gone, and so is its profile.
    let half = || reading("/p/a.yaml", &[profile("a", "/a", "2")], &["wrong"]);
    check(vec![half()], &before, &["a 2", "b 1"], &["wrong"]);
    // It stands in another file now.
    let moved = reading("/p/d.yaml", &[profile("b", "/b", "3")], &[]);
    check(vec![half(), moved], &before, &["a 2", "b 3"], &["wrong"]);
    // The directory cannot be listed.
    let unlisted = Reading {
        is_directory: true,
        ..reading("/p", &[], &["unlisted"])
    };
    check(
        vec![unlisted],
        &before,
        &["a 1", "b 1", "c 1"],
        &["unlisted"],
    );
    let other = Reading {
        is_directory: true,
        ..reading("/q", &[], &["unlisted"])
    };
    check(vec![other], &before, &[], &["unlisted"]);
    check(vec![], &before, &[], &[]);
}

#[test]
fn a_newcomer_takes_nothing_from_what_runs() {
    let before = running(&[("/p/b.yaml", profile("b", "/x", "1"))]);
    let same = || reading("/p/b.yaml", &[profile("b", "/x", "1")], &[]);
    let thief = reading("/p/a.yaml", &[profile("a", "/x", "1")], &[]);
    let told = "/x is written twice: by the profiles \"b\" and \"a\"";
    check(vec![thief, same()], &before, &["b 1"], &[told]);
    let twin = reading("/p/a.yaml", &[profile("b", "/y", "2")], &[]);
    let told = "two profiles have the name \"b\"";
    check(vec![twin, same()], &before, &["b 1"], &[told]);
    // At a start the order of the files decides.
    let twin = reading("/p/a.yaml", &[profile("b", "/y", "2")], &[]);
    check(vec![twin, same()], &[], &["b 2"], &[told]);
}

#[test]
fn a_change_that_takes_another_ones_file_leaves_both_as_they_were() {
    let before = running(&[
        ("/p/a.yaml", profile("a", "/a", "1")),
        ("/p/b.yaml", profile("b", "/b", "1")),
    ]);
    let changed = reading("/p/a.yaml", &[profile("a", "/b", "2")], &[]);
    let same = reading("/p/b.yaml", &[profile("b", "/b", "1")], &[]);
    let told = "/b is written twice: by the profiles \"b\" and \"a\"";
    check(vec![changed, same], &before, &["a 1", "b 1"], &[told]);
}

#[test]
fn a_thousand_are_kept() {
    let all: Vec<Profile> = (0..=PROFILES_MAX)
        .map(|number| profile(&format!("p{number}"), &format!("/{number}"), "1"))
        .collect();
    let choice = choose(vec![reading("/p/a.yaml", &all, &[])], &[]);
    assert_eq!(choice.kept.len(), PROFILES_MAX);
    let told = choice.problems[0].to_string();
    assert_eq!(
        told,
        "there are 1001 profiles; one agent keeps 1000 at most"
    );
    // What runs already is among them.
    let last = running(&[("/p/a.yaml", all[PROFILES_MAX].clone())]);
    let choice = choose(vec![reading("/p/a.yaml", &all, &[])], &last);
    assert_eq!(choice.kept[0], last[0]);
}
