//! Kinds of keys that a control plane does not take.

use super::failures::after_refusal;
use super::world::*;
use crate::event::RefusalClass;
use crate::notice::Notice;

/// A control plane that takes no ML-DSA key is asked with another one at once, and at the next
/// renewal once more with the first kind, since it may have been upgraded.
#[test]
fn a_refused_kind_of_key_is_replaced_until_the_next_renewal() {
    let mut world = World::new(client_config());
    world.has_ml_dsa_keys = true;
    let refusal = RefusalClass::RequestRejected;
    world.server.submit_script.push_back(refusal);
    world.run_for(minutes(1));
    let told = |notice: &Notice| matches!(notice, Notice::KeyRefused { .. });
    assert_eq!(world.count(told), 1);
    let current = world.machine.current().unwrap().clone();
    assert!(!current.public_key().is_ml_dsa());
    world.assert_at_rest();
    world.run_for(days(330));
    assert_eq!(world.count(told), 1);
    let renewed = world.machine.current().unwrap();
    assert!(renewed.public_key().is_ml_dsa());
}

/// Another kind that is refused is only asked with again after a while.
#[test]
fn a_usual_key_that_is_refused_is_not_replaced() {
    let world = after_refusal(RefusalClass::RequestRejected);
    let told = |notice: &Notice| matches!(notice, Notice::KeyRefused { .. });
    assert_eq!(world.count(told), 0);
    assert!(world.has(|notice| matches!(notice, Notice::Failed { .. })));
}
