//! Sound chains of many kinds, made by `rcgen`.

use crate::case::{Case, KEYS, Member};
use crate::der::{Node, SEQUENCE, element};
use crate::extensions::{self, ALTERNATIVE_NAMES, NAME_CONSTRAINTS};
use rcgen::ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyUsagePurpose, NameConstraints,
    SanType, date_time_ymd,
};

/// 2027-01-15T08:00:00Z; all chains of the corpus hold then.
pub const NOW: u32 = 1_800_000_000;

/// A certificate to be: what it says, and the number of its key.
#[derive(Clone)]
struct Entity {
    params: CertificateParams,
    key: usize,
}

fn named(name: &str, key: usize) -> Entity {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "dev");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2044, 1, 1);
    params.serial_number = Some(vec![1, key as u8 + 1].into());
    Entity { params, key }
}

fn ca(name: &str, key: usize) -> Entity {
    let mut entity = named(name, key);
    entity.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    entity.params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    entity
}

fn leaf(key: usize) -> Entity {
    let mut entity = named("jane", key).usage(&[ClientAuth]);
    entity.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    entity.params.use_authority_key_identifier_extension = true;
    entity
}

impl Entity {
    fn change(mut self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        change(&mut self.params);
        self
    }

    fn usage(self, purposes: &[ExtendedKeyUsagePurpose]) -> Self {
        let purposes = purposes.to_vec();
        self.change(|params| params.extended_key_usages = purposes)
    }

    fn path_length(self, limit: u8) -> Self {
        self.change(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(limit)))
    }

    fn limits(self, permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>) -> Self {
        let limits = NameConstraints {
            permitted_subtrees: permitted,
            excluded_subtrees: excluded,
        };
        self.change(|params| params.name_constraints = Some(limits))
    }

    fn names(self, names: Vec<SanType>) -> Self {
        self.change(|params| params.subject_alt_names = names)
    }

    fn extension(self, id: &[u64], is_critical: bool, value: Vec<u8>) -> Self {
        let mut extension = CustomExtension::from_oid_content(id, value);
        extension.set_criticality(is_critical);
        self.change(|params| params.custom_extensions.push(extension))
    }

    /// In the bundle, signed by itself.
    fn anchor(&self) -> Member {
        let certificate = self.params.self_signed(&KEYS[self.key]).unwrap();
        Member::to_be_signed(true, certificate.der(), self.key)
    }

    /// Shown, signed by `issuer`.
    fn by(&self, issuer: &Self) -> Member {
        let signer = Issuer::from_params(&issuer.params, &KEYS[issuer.key]);
        let certificate = self.params.signed_by(&KEYS[self.key], &signer).unwrap();
        Member::to_be_signed(false, certificate.der(), issuer.key)
    }
}

fn chain(entities: &[Entity]) -> Case {
    let mut members = vec![entities[0].anchor()];
    members.extend(entities.windows(2).rev().map(|pair| pair[1].by(&pair[0])));
    Case { now: NOW, members }
}

/// All chains.
pub fn corpus() -> Vec<Case> {
    let (root, middle, lower) = (ca("root", 0), ca("middle", 1), ca("lower", 2));
    let pair = [root.clone(), leaf(3)];
    let three = [root.clone(), middle.clone(), leaf(3)];
    let mut cases = vec![
        chain(&pair),
        chain(&three),
        chain(&[root.clone(), middle.clone(), lower.clone(), leaf(3)]),
        chain(&[
            root.clone().path_length(2),
            middle.clone().path_length(1),
            lower.clone().path_length(0),
            leaf(3),
        ]),
        chain(&[
            root.clone().usage(&[ClientAuth, ServerAuth]),
            middle.clone().usage(&[Any]),
            leaf(3).usage(&[]),
        ]),
        // Without any usage.
        chain(&[
            root.clone().change(|params| params.key_usages.clear()),
            leaf(3).change(|params| params.key_usages.clear()),
        ]),
        chain(&[ca("p256", 8), ca("p384", 9), ca("p521", 10), leaf(11)]),
        chain(&[ca("rsa", 11), ca("p256", 8), leaf(8)]),
        until(&three, 2060),
    ];
    cases.extend(limited(&root, &middle));
    cases.extend(with_policies(&root, &middle));
    cases.extend(pinned(&root));
    cases.extend(crossed(&root, &middle));
    cases.extend([
        older(&chain(&pair), 0),
        older(&chain(&three), 0),
        older(&chain(&pair), 1),
    ]);
    cases
}

/// Every name of the pool below a CA that permits, or excludes, each base of the pool: pairs of one
/// form.
pub fn names_below_limits() -> impl Iterator<Item = Case> {
    let plain = chain(&[ca("root", 0), leaf(3)]);
    extensions::pairs().flat_map(move |(base, name)| {
        let plain = plain.clone();
        [0xa0, 0xa1].into_iter().map(move |list| {
            let limits = element(SEQUENCE, &element(list, &element(SEQUENCE, &base)));
            let mut case = plain.clone();
            put(&mut case.members[0], NAME_CONSTRAINTS, &limits);
            let names = element(SEQUENCE, &name);
            put(&mut case.members[1], ALTERNATIVE_NAMES, &names);
            case
        })
    })
}

/// Puts a critical extension into what will be signed.
fn put(member: &mut Member, id: &[u8], value: &[u8]) {
    let bytes = member.bytes_mut();
    let mut tbs = Node::read(bytes).unwrap();
    let extension = extensions::extension(id, true, value);
    extensions::put(extensions::list_of(&mut tbs).unwrap(), extension);
    *bytes = tbs.write();
}

/// Generalized dates.
fn until(entities: &[Entity], year: i32) -> Case {
    let entities: Vec<Entity> = entities
        .iter()
        .cloned()
        .map(|entity| entity.change(|params| params.not_after = date_time_ymd(year, 1, 1)))
        .collect();
    chain(&entities)
}

fn dns(name: &str) -> GeneralSubtree {
    GeneralSubtree::DnsName(name.into())
}

fn many_names() -> Vec<SanType> {
    vec![
        SanType::DnsName("www.example.com".try_into().unwrap()),
        SanType::DnsName("*.example.com".try_into().unwrap()),
        SanType::Rfc822Name("jane@example.com".try_into().unwrap()),
        SanType::URI("spiffe://example.com/jane".try_into().unwrap()),
        SanType::IpAddress("10.1.2.3".parse().unwrap()),
        SanType::IpAddress("fd00::1".parse().unwrap()),
    ]
}

fn limited(root: &Entity, middle: &Entity) -> Vec<Case> {
    let jane = leaf(3).names(many_names());
    let everything = vec![
        dns("example.com"),
        GeneralSubtree::Rfc822Name("example.com".into()),
        GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8)),
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix("fd00::".parse().unwrap(), 8)),
    ];
    let nothing = vec![
        dns("example.net"),
        GeneralSubtree::Rfc822Name("joe@example.com".into()),
        GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 2, 0, 0], 16)),
    ];
    let subtree = |base: &[u8]| element(SEQUENCE, &element(0x86, base));
    let uris = [
        element(0xa0, &subtree(b"example.com")),
        element(0xa1, &subtree(b".example.com")),
    ]
    .concat();
    let uris = element(SEQUENCE, &uris);
    let by_uri = middle.clone().extension(&[2, 5, 29, 30], true, uris);
    let below = middle.clone().limits(everything.clone(), nothing.clone());
    vec![
        chain(&[root.clone(), below, jane.clone()]),
        chain(&[
            root.clone().limits(everything, nothing),
            middle.clone(),
            jane.clone(),
        ]),
        chain(&[root.clone(), by_uri, jane.clone()]),
        chain(&[
            root.clone().limits(vec![dns(".example.com")], vec![]),
            jane.clone(),
        ]),
        chain(&[
            root.clone().limits(vec![], vec![dns("other.org")]),
            middle.clone(),
            jane,
        ]),
        // No names, so that nothing is limited; and an empty subject with a critical name.
        chain(&[
            root.clone().limits(vec![dns("example.com")], vec![]),
            leaf(3),
        ]),
        nameless(root),
    ]
}

fn nameless(root: &Entity) -> Case {
    let mut case = chain(&[root.clone(), leaf(3)]);
    let name = element(SEQUENCE, &element(0x82, b"n1"));
    put(&mut case.members[1], ALTERNATIVE_NAMES, &name);
    let bytes = case.members[1].bytes_mut();
    let mut tbs = Node::read(bytes).unwrap();
    tbs.children_mut().unwrap()[5] = Node::nodes(SEQUENCE, Vec::new());
    *bytes = tbs.write();
    case
}

fn with_policies(root: &Entity, middle: &Entity) -> Vec<Case> {
    let policy = |id: &[u8]| element(SEQUENCE, &element(SEQUENCE, &element(0x06, id)));
    let (ours, any) = (policy(&[0x2a, 1]), policy(&[0x55, 0x1d, 32, 0]));
    let required = element(SEQUENCE, &[0x80, 1, 0]);
    vec![
        chain(&[
            root.clone(),
            middle
                .clone()
                .extension(&[2, 5, 29, 36], true, required)
                .extension(&[2, 5, 29, 32], false, any),
            leaf(3).extension(&[2, 5, 29, 32], false, ours),
        ]),
        // An extension that nobody knows and nobody has to.
        chain(&[
            root.clone(),
            leaf(3).extension(&[1, 2, 3, 4], false, vec![5, 0]),
        ]),
    ]
}

/// Certificates that stand in the bundle themselves.
fn pinned(root: &Entity) -> Vec<Case> {
    let own = Member {
        is_anchor: false,
        ..leaf(3).anchor()
    };
    let issued = leaf(3).by(root);
    [own, issued]
        .into_iter()
        .map(|shown| {
            let pin = Member {
                is_anchor: true,
                ..shown.clone()
            };
            Case {
                now: NOW,
                members: vec![ca("other", 4).anchor(), pin, shown],
            }
        })
        .collect()
}

/// Two roots of one name, a root that another signed, and certificates that nobody needs.
fn crossed(root: &Entity, middle: &Entity) -> Vec<Case> {
    let renewed = Entity {
        key: 5,
        ..root.clone()
    };
    let mut twins = chain(&[root.clone(), middle.clone(), leaf(3)]);
    twins.members.insert(0, renewed.anchor());
    let newcomer = ca("newcomer", 6);
    let mut bridged = chain(&[newcomer.clone(), leaf(3)]);
    bridged.members[0] = root.anchor();
    bridged.members.push(newcomer.by(root));
    bridged.members.push(newcomer.by(&renewed));
    let mut crowded = chain(&[root.clone(), middle.clone(), leaf(3)]);
    crowded.members.push(leaf(7).by(middle));
    crowded.members.push(ca("other", 4).anchor());
    crowded.members.push(ca("other", 4).by(root));
    vec![twins, bridged, crowded]
}

/// The member as version 1: what `openssl x509 -req` made of it for decades.
fn older(case: &Case, index: usize) -> Case {
    let mut case = case.clone();
    let bytes = case.members[index].bytes_mut();
    let mut tbs = Node::read(bytes).unwrap();
    let fields = tbs.children_mut().unwrap();
    fields.retain(|field| !matches!(field.tag, 0xa0 | 0xa3));
    *bytes = tbs.write();
    case
}
