//! The kubeconfig that an agent writes.

use super::*;
use crate::node::{News, Node};
use everleaf_rotation::Now;

/// As after a disk was full for a while: the next certificate may be years away.
#[tokio::test]
async fn one_that_could_not_be_written_is_written_later() {
    let world = World::new().await;
    world.enrol().await;
    let cluster = world.server.cluster(&world.api.ca);
    with_inline(cluster.clone(), &world.current())
        .write(&world.kubeconfig(), &Names::BOOTSTRAP)
        .unwrap();
    // Where the copy of the old one goes.
    let obstacle = world.home.path().join("kubelet.conf.bak");
    std::fs::create_dir(&obstacle).unwrap();
    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    let mut node = Node::start(world.config(), &clock, Box::new(|_, _| {})).unwrap();
    let begin = clock.now();
    node.turn(begin, News::Time);
    node.adopt_current();
    let names_current = || {
        let written = Kubeconfig::read(&world.kubeconfig()).unwrap();
        written == with_file(cluster.clone(), &client_current(&world.pki()))
    };
    std::fs::remove_dir(&obstacle).unwrap();
    for (seconds, expected) in [(29, false), (30, true)] {
        let monotonic = begin.monotonic + Duration::from_secs(seconds);
        let later = Now { monotonic, ..begin };
        assert!(node.nap() <= Duration::from_secs(30));
        node.turn(later, News::Time);
        assert_eq!(names_current(), expected, "after {seconds} s");
    }
}
