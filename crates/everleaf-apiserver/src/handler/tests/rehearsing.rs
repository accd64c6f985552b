//! What would become of a request is what becomes of it.

use super::fixture::{CSRS, World};
use crate::authn::{InProcessIdentity, Peer};
use crate::handler::{Credential, NotAdmitted};
use crate::user::User;
use futures_util::FutureExt as _;

fn rehearsed(world: &World, credential: &Credential, uris: &[&str]) -> Result<User, NotAdmitted> {
    let rehearsal = world.server.rehearse(credential, uris, world.now);
    rehearsal.now_or_never().expect("no webhook is asked")
}

fn of(token: &str) -> Credential {
    Credential::of_token(&Peer::default(), token).expect("a token")
}

#[test]
fn who_may_is_told_and_who_may_not_with_the_reason() {
    let mut world = World::new();
    let watch = format!("{CSRS}?watch=true");
    let uris = [CSRS, &*watch];
    let admin = rehearsed(&world, &of("t-admin"), &uris).unwrap();
    assert_eq!(admin.name, "admin");
    let node = rehearsed(&world, &of("t-node"), &uris).unwrap();
    assert_eq!(node.name, "system:node:n1");
    let Err(NotAdmitted::Forbidden(eve, status)) = rehearsed(&world, &of("t-eve"), &uris) else {
        panic!("eve is let in");
    };
    assert_eq!(eve.name, "eve");
    world.be("eve");
    assert_eq!(status.message, world.get(CSRS).expect(403).message());
    // The second of two counts as well.
    let uris = ["/version", CSRS];
    let refused = rehearsed(&world, &of("t-eve"), &uris);
    assert!(
        matches!(refused, Err(NotAdmitted::Forbidden(..))),
        "{refused:?}"
    );
    assert!(rehearsed(&world, &of("t-eve"), &["/version"]).is_ok());
}

#[test]
fn nobody_is_no_one() {
    let world = World::new();
    let nobody = Credential::of(&Peer::default());
    // Even what anybody may read.
    let refused = rehearsed(&world, &nobody, &["/version"]);
    assert_eq!(refused, Err(NotAdmitted::Stranger));
    assert_eq!(
        rehearsed(&world, &of("t-admin"), &[]),
        Err(NotAdmitted::Stranger)
    );
    let refused = rehearsed(&world, &of("t-nobody"), &[CSRS]);
    assert_eq!(refused, Err(NotAdmitted::Unproven));
    let given = Peer {
        in_process: Some(InProcessIdentity::new(User::service_account("a", "b"))),
        ..Peer::default()
    };
    let refused = rehearsed(&world, &Credential::of(&given), &["/version"]);
    assert_eq!(
        refused,
        Err(NotAdmitted::Stranger),
        "an identity that was given"
    );
}

#[test]
fn what_no_header_can_hold_is_no_token() {
    for token in ["", "a b", "a\r\nX: y", "a\u{e9}", "\t"] {
        let credential = Credential::of_token(&Peer::default(), token);
        assert!(credential.is_none(), "{token:?}");
    }
    let shown = format!("{:?}", of("hush"));
    assert!(!shown.contains("hush"), "{shown}");
}
