//! What a certificate of the client CA bundle can vouch for.

use super::*;

/// What is changed in a root that would be sound.
type Change<'a> = &'a dyn Fn(&mut CertificateParams);

/// What a certificate of the bundle must be to vouch for others; kube-apiserver 1.37.2 refuses each
/// of these.
#[test]
fn a_root_is_judged_like_any_other_member() {
    let masters = [
        (DnType::OrganizationName, "system:masters"),
        (DnType::CommonName, "mallory"),
    ];
    let key = || KeyPair::generate().expect("a key");
    let extension = |oid: &[u64], content: &[u8]| {
        let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
        extension.set_criticality(true);
        extension
    };
    let check = |edit: Change<'_>| {
        let root = Authority::root_edited("root", key(), edit);
        let leaf = root.leaf(&masters, |_| ());
        name(ask(&trusting(&root.pem()), &[&leaf], None, MIDYEAR))
    };
    assert_eq!(check(&|_| ()), Ok("mallory".to_owned()));
    let bad: [(&str, Change<'_>); 7] = [
        ("a leaf", &|p| p.is_ca = IsCa::ExplicitNoCa),
        ("no basic constraints", &|p| p.is_ca = IsCa::NoCa),
        ("no keyCertSign", &|p| {
            p.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        }),
        ("serving only", &|p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
        ("unknown critical extension", &|p| {
            p.custom_extensions.push(extension(&[1, 2, 3, 4], &[5, 0]));
        }),
        ("critical constraint of another form", &|p| {
            let other_name = [0x30, 9, 0xa1, 7, 0x30, 5, 0xa0, 3, 6, 1, 0x2a];
            p.custom_extensions
                .push(extension(&[2, 5, 29, 30], &other_name));
        }),
        ("not begun", &|p| p.not_before = date_time_ymd(2035, 1, 1)),
    ];
    for (what, edit) in bad {
        assert_eq!(check(edit), Err(401), "{what}");
    }
}

#[test]
fn the_length_that_a_root_allows_is_kept() {
    let limited: Edit = |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root = Authority::root_with_key("root", KeyPair::generate().expect("a key"), limited);
    let authenticator = trusting(&root.pem());
    let direct = root.leaf(BOB, |_| ());
    let bob = Ok("bob".to_owned());
    assert_eq!(name(ask(&authenticator, &[&direct], None, MIDYEAR)), bob);
    let between = root.intermediate("between", |_| ());
    let below = between.leaf(BOB, |_| ());
    let chain: [&[u8]; 2] = [&below, &between.der];
    assert_eq!(name(ask(&authenticator, &chain, None, MIDYEAR)), Err(401));
    // And an intermediate is an authority in full, too.
    let root = Authority::root("root");
    let authenticator = trusting(&root.pem());
    let unsigning = root.intermediate("between", |p| {
        p.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    });
    let below = unsigning.leaf(BOB, |_| ());
    let chain: [&[u8]; 2] = [&below, &unsigning.der];
    assert_eq!(name(ask(&authenticator, &chain, None, MIDYEAR)), Err(401));
}

/// A leaf in the bundle vouches for itself alone: not for what its key signs, whatever else the
/// bundle holds.
#[test]
fn a_pinned_leaf_vouches_for_itself_alone() {
    let ca = Authority::root("ca");
    let pinned = ca.intermediate("pinned", |p| p.is_ca = IsCa::NoCa);
    let forged = pinned.leaf(BOB, |_| ());
    let both = trusting(&(ca.pem() + &pinned.pem()));
    let own: [&[u8]; 1] = [&pinned.der];
    assert_eq!(
        name(ask(&both, &own, None, MIDYEAR)),
        Ok("pinned".to_owned())
    );
    assert_eq!(name(ask(&both, &[&forged], None, MIDYEAR)), Err(401));
    let chain: [&[u8]; 2] = [&forged, &pinned.der];
    assert_eq!(name(ask(&both, &chain, None, MIDYEAR)), Err(401));
    // A self-signed one, CA or not, is what small installations pin.
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let mut params = params(BOB);
        params.is_ca = is_ca;
        let key = KeyPair::generate().expect("a key");
        let der = params.self_signed(&key).expect("signed").der().to_vec();
        let pem = everleaf_pki::pem::encode("CERTIFICATE", &der);
        let answer = name(ask(&trusting(&pem), &[&der], None, MIDYEAR));
        assert_eq!(answer, Ok("bob".to_owned()));
    }
}

#[test]
fn names_of_other_forms_and_types() {
    let ca = Authority::root("ca");
    let authenticator = trusting(&ca.pem());
    let leaf = ca.leaf(BOB, |p| {
        let mut names = CustomExtension::from_oid_content(
            &[2, 5, 29, 17],
            vec![0x30, 7, 0xa0, 5, 6, 1, 0x2a, 0xa0, 0],
        );
        names.set_criticality(true);
        p.custom_extensions.push(names);
    });
    let answer = name(ask(&authenticator, &[&leaf], None, MIDYEAR));
    assert_eq!(answer, Err(401), "a critical SAN that nobody reads");
    let nameless = ca.leaf(&[(DnType::CommonName, "system:anonymous")], |_| ());
    let user = ask(&authenticator, &[&nameless], None, MIDYEAR).expect("good");
    assert_eq!(user.groups, [""; 0], "anonymous proves nothing");
}
