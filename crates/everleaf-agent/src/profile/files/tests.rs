//! Files on a real disk.

use super::super::keeper::{Keeper, Looked};
use super::super::{Action, Kept, Output};
use super::*;
use crate::kubeconfig::ServerUrl;
use crate::testing::{Ca, hours, now};
use everleaf_pki::{KeyAlgorithm, SignerName, Template, Usage};
use everleaf_rotation::{Monotonic, Timing};
use std::time::Duration;

/// A directory, a CA, and a cluster whose kubeconfig names that.
struct World {
    home: tempfile::TempDir,
    ca: Ca,
    cluster: Arc<Cluster>,
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::default() + Duration::from_secs(seconds)
}

impl World {
    fn new() -> Self {
        let ca = Ca::new("cluster");
        let cluster = Cluster {
            server: ServerUrl::parse("https://127.0.0.1:6443").unwrap(),
            trust: Trust::Bundle(Source::Inline(Secret::new(ca.pem()))),
            tls_server_name: None,
            proxy: None,
        };
        Self {
            home: tempfile::tempdir().unwrap(),
            ca,
            cluster: Arc::new(cluster),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn credential(&self) -> Arc<Credential> {
        Arc::new(self.ca.server(now() - hours(1), now() + hours(1)))
    }

    fn output(&self, form: Form) -> Output {
        Output {
            form,
            owner: None,
            group: None,
            mode: 0o600,
        }
    }

    fn files(&self) -> Output {
        self.output(Form::Files {
            certificate: self.path("out/tls.crt"),
            key: self.path("out/tls.key"),
            ca: Some(self.path("out/ca.crt")),
        })
    }

    fn profile(&self, outputs: Vec<Output>) -> Profile {
        Profile {
            name: "web".to_owned(),
            signer_name: SignerName::new("example.com/web"),
            template: Template::default(),
            usages: vec![Usage::ServerAuth],
            key: KeyAlgorithm::EcdsaP256,
            expiration_seconds: None,
            timing: Timing::default(),
            authorities: None,
            outputs,
            after: Some(Action::Run {
                command: vec!["true".to_owned()],
                timeout: Duration::from_secs(1),
            }),
        }
    }

    fn keeper(&self, profile: Profile) -> Keeper {
        let profiles = self.home.path().join("pki/profiles");
        fs::create_dir_all(&profiles).unwrap();
        let kept = Kept {
            origin: Path::new("/p.yaml").into(),
            profile: Arc::new(profile),
        };
        let mut keeper = Keeper::new(kept, &profiles, at(0));
        keeper.certificate_changed(at(0));
        keeper
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & MODE_MASK
}

#[test]
fn each_form_has_what_its_readers_want() {
    let world = World::new();
    let credential = world.credential();
    let profile = world.profile(vec![
        world.files(),
        Output {
            mode: 0o640,
            ..world.output(Form::Pem(world.path("web.pem")))
        },
        world.output(Form::Kubeconfig(world.path("kubeconfig"))),
        world.output(Form::Pkcs12 {
            path: world.path("web.p12"),
            password_file: world.path("password"),
        }),
    ]);
    fs::write(world.path("password"), "secret\nsecond line\n").unwrap();
    let mut keeper = world.keeper(profile);
    let looked = keeper.look(at(0), &credential, &world.cluster);
    assert_eq!(looked, Looked::Written);
    assert_eq!(world.read("out/tls.crt"), credential.chain().to_pem());
    assert_eq!(world.read("out/tls.key"), *credential.key().to_pem());
    assert_eq!(world.read("out/ca.crt"), world.ca.pem());
    assert_eq!(world.read("web.pem"), *credential.to_pem());
    let kubeconfig = Kubeconfig::read(&world.path("kubeconfig")).unwrap();
    assert_eq!(kubeconfig.cluster, *world.cluster);
    assert!(kubeconfig.user.client_certificate.is_some());
    for (name, expected) in [
        ("out/tls.crt", 0o644),
        ("out/tls.key", 0o600),
        ("out/ca.crt", 0o644),
        ("web.pem", 0o640),
        ("kubeconfig", 0o600),
        ("web.p12", 0o600),
    ] {
        assert_eq!(mode(&world.path(name)), expected, "{name}");
    }
    let names = fs::read_dir(world.path("out")).unwrap();
    assert_eq!(names.count(), 3, "nothing is left over");
    // Made again, a PKCS#12 file is the same; by another password it is not.
    let (mut again, before) = (keeper, fs::read(world.path("web.p12")).unwrap());
    let looked = again.look(at(60), &credential, &world.cluster);
    assert_eq!(looked, Looked::Good);
    fs::write(world.path("password"), "other").unwrap();
    let looked = again.look(at(120), &credential, &world.cluster);
    assert_eq!(looked, Looked::Written);
    assert_ne!(fs::read(world.path("web.p12")).unwrap(), before);
    fs::write(world.path("password"), "\n").unwrap();
    let looked = again.look(at(180), &credential, &world.cluster);
    assert!(matches!(looked, Looked::Failed(error) if error.contains("printable ASCII")));
}

#[test]
fn what_was_changed_by_hand_is_put_right_and_told() {
    let world = World::new();
    let credential = world.credential();
    let mut keeper = world.keeper(world.profile(vec![world.files()]));
    let mut seconds = 0;
    let mut look = |keeper: &mut Keeper| {
        seconds += 60;
        keeper.look(at(seconds), &credential, &world.cluster)
    };
    assert_eq!(look(&mut keeper), Looked::Written);
    assert_eq!(look(&mut keeper), Looked::Good);
    assert_eq!(look(&mut keeper), Looked::Good);
    let key = world.path("out/tls.key");
    for change in [
        (|path| fs::remove_file(path).unwrap()) as fn(&Path),
        |path| fs::write(path, "x").unwrap(),
        |path| fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap(),
        |path| {
            // Somebody's own file, by a link with the file's name.
            let elsewhere = path.with_file_name("elsewhere");
            fs::rename(path, &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, path).unwrap();
        },
    ] {
        change(&key);
        assert_eq!(look(&mut keeper), Looked::Written);
        assert_eq!(world.read("out/tls.key"), *credential.key().to_pem());
        assert!(fs::symlink_metadata(&key).unwrap().is_file());
        assert_eq!(mode(&key), 0o600);
        assert_eq!(look(&mut keeper), Looked::Good);
    }
    // Touched and not changed.
    let text = world.read("out/tls.crt");
    fs::write(world.path("out/tls.crt"), text).unwrap();
    assert_eq!(look(&mut keeper), Looked::Good);
}

#[test]
fn a_link_is_replaced_and_what_it_leads_to_is_left_alone() {
    let world = World::new();
    fs::create_dir(world.path("out")).unwrap();
    fs::write(world.path("shadow"), "root").unwrap();
    for name in ["tls.key", ".tls.key.everleaf-tmp"] {
        let link = world.path("out").join(name);
        std::os::unix::fs::symlink(world.path("shadow"), link).unwrap();
    }
    let mut keeper = world.keeper(world.profile(vec![world.files()]));
    let looked = keeper.look(at(0), &world.credential(), &world.cluster);
    assert_eq!(looked, Looked::Written);
    assert_eq!(world.read("shadow"), "root");
    assert_eq!(mode(&world.path("shadow")) & 0o044, 0o044, "not ours");
}

#[test]
fn only_files_and_links_are_replaced() {
    let world = World::new();
    let first = world.credential();
    let mut keeper = world.keeper(world.profile(vec![world.files()]));
    keeper.look(at(0), &first, &world.cluster);
    let certificate = world.path("out/tls.crt");
    let fifo = |path: &Path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
    };
    let socket = |path: &Path| {
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    };
    let directory = |path: &Path| fs::create_dir(path).unwrap();
    type Make<'m> = &'m dyn Fn(&Path);
    let makers: [(&str, Make<'_>); 3] = [
        ("FIFO", &fifo),
        ("socket", &socket),
        ("directory", &directory),
    ];
    fs::remove_file(&certificate).unwrap();
    for (number, (what, make)) in makers.into_iter().enumerate() {
        make(&certificate);
        // With another key: that of the first one stays.
        let now = at(60 * (number as u64 + 1));
        let Looked::Failed(error) = keeper.look(now, &world.credential(), &world.cluster) else {
            panic!("{what}");
        };
        assert!(error.contains(&format!("it is a {what}")), "{error}");
        assert_eq!(world.read("out/tls.key"), *first.key().to_pem());
        let removed = fs::remove_file(&certificate);
        removed.or_else(|_| fs::remove_dir(&certificate)).unwrap();
    }
}

#[test]
fn the_agents_own_directory_is_no_place_for_them() {
    let world = World::new();
    std::os::unix::fs::symlink(world.path("pki"), world.path("out")).unwrap();
    let place = |name: &str| world.output(Form::Pem(world.path(name)));
    for name in [
        "pki/kubelet-client-current.pem",
        "pki/profiles/x.pem",
        "out/x.pem",
    ] {
        let mut keeper = world.keeper(world.profile(vec![place(name)]));
        let looked = keeper.look(at(0), &world.credential(), &world.cluster);
        assert!(
            matches!(&looked, Looked::Failed(error) if error.contains("own directory")),
            "{name}: {looked:?}"
        );
        assert!(!world.path(name).exists());
    }
}

#[test]
fn what_cannot_be_written_leaves_what_was_there() {
    let world = World::new();
    let first = world.credential();
    let mut keeper = world.keeper(world.profile(vec![world.files()]));
    keeper.look(at(0), &first, &world.cluster);
    // The last of the three cannot be replaced.
    fs::remove_file(world.path("out/tls.crt")).unwrap();
    fs::create_dir(world.path("out/tls.crt")).unwrap();
    let Looked::Failed(error) = keeper.look(at(60), &first, &world.cluster) else {
        panic!("it cannot be written");
    };
    assert!(error.contains("tls.crt cannot be written"), "{error}");
    assert!(!keeper.wants_action(at(60)), "nothing to tell anybody");
    fs::remove_dir(world.path("out/tls.crt")).unwrap();
    let looked = keeper.look(at(120), &first, &world.cluster);
    assert_eq!(looked, Looked::Written);
    let names = fs::read_dir(world.path("out")).unwrap();
    assert_eq!(names.count(), 3, "nothing is left over");
}

#[test]
fn a_crash_before_the_action_brings_it_at_the_next_start() {
    let world = World::new();
    let credential = world.credential();
    let profile = world.profile(vec![world.files()]);
    let mut keeper = world.keeper(profile.clone());
    keeper.look(at(0), &credential, &world.cluster);
    assert!(keeper.wants_action(at(0)));
    drop(keeper);
    let mut keeper = world.keeper(profile.clone());
    let looked = keeper.look(at(0), &credential, &world.cluster);
    assert_eq!(looked, Looked::Good, "the files are there");
    assert!(keeper.wants_action(at(0)), "and it was not told of them");
    drop(keeper.begin_action());
    keeper.action_ended(at(1), &Ok(()));
    drop(keeper);
    let mut keeper = world.keeper(profile);
    keeper.look(at(0), &credential, &world.cluster);
    assert!(!keeper.wants_action(at(0)) && keeper.is_settled());
}

#[test]
fn what_is_missing_for_the_files_is_said() {
    let world = World::new();
    let credential = world.credential();
    let look = |profile: Profile, cluster: &Arc<Cluster>| {
        let mut keeper = world.keeper(profile);
        match keeper.look(at(0), &credential, cluster) {
            Looked::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    };
    let mut of_nobody = world.profile(vec![world.files()]);
    of_nobody.outputs[0].owner = Some(Account::Name("no-such-user".to_owned()));
    let error = look(of_nobody, &world.cluster);
    assert!(
        error.contains("/etc/passwd has no user \"no-such-user\""),
        "{error}"
    );
    let system = Arc::new(Cluster {
        trust: Trust::System,
        ..(*world.cluster).clone()
    });
    let error = look(world.profile(vec![world.files()]), &system);
    assert!(error.contains("name one in authoritiesFile"), "{error}");
    let mut with_key = world.profile(vec![world.files()]);
    let text = format!("{}{}", world.ca.pem(), *credential.key().to_pem());
    fs::write(world.path("both.pem"), text).unwrap();
    with_key.authorities = Some(world.path("both.pem"));
    let error = look(with_key, &world.cluster);
    assert!(
        error.contains("something else than certificates"),
        "{error}"
    );
    assert!(!world.path("out").exists(), "nothing is half-written");
}

#[test]
fn accounts_are_known_by_name_and_number() {
    let name = |name: &str| Account::Name(name.to_owned());
    assert_eq!(id(Some(&name("root")), "/etc/passwd", "user"), Ok(Some(0)));
    assert_eq!(id(Some(&Account::Id(7)), "/nowhere", "user"), Ok(Some(7)));
    assert_eq!(id(None, "/nowhere", "user"), Ok(None));
}
