//! podcertificaterequest-cleaner-controller.

use super::*;
use crate::upkeep::PodCertificateCleaner;
use crate::upkeep::pod_certificate_cleaner::{AGE_MAX, decide};

fn request(name: &str, age: SignedDuration) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("u-{name}"),
        "creationTimestamp": meta::format_time(now() - age)}})
}

fn bench(ages: &[(&str, SignedDuration)]) -> Bench {
    let seen: Vec<(Watched, Value)> = ages
        .iter()
        .map(|(name, age)| (Watched::PodCertificateRequests, request(name, *age)))
        .collect();
    Bench::new(PodCertificateCleaner::default(), &seen)
}

#[test]
fn what_is_old_goes_however_it_ended() {
    assert_eq!(decide(now() - AGE_MAX, now()), Ok(()));
    assert_eq!(decide(now() - AGE_MAX + SECOND, now()), Err(SECOND));
    let mut bench = bench(&[("new", SECOND), ("old", HOUR)]);
    bench.moment.offset = Some(SignedDuration::ZERO);
    let call = bench.call().unwrap();
    let path = "/apis/certificates.k8s.io/v1/namespaces/shop/podcertificaterequests/old";
    assert_eq!((call.method, call.path.as_str()), (Method::DELETE, path));
    assert_eq!(call.body.unwrap()["preconditions"], json!({"uid": "u-old"}));
    bench.machine.answer(&Ok(Bytes::new()), bench.moment);
    assert_eq!(bench.line(), "", "the new one stays");
    bench.pass(AGE_MAX);
    assert!(bench.line().ends_with("/new"));
}

#[test]
fn ages_mean_nothing_while_clocks_are_apart() {
    let mut bench = bench(&[("old", HOUR)]);
    bench.moment.offset = Some(HOUR);
    assert_eq!(bench.line(), "");
    bench.moment.offset = Some(SECOND);
    bench.pass(SignedDuration::from_mins(2));
    assert!(bench.line().ends_with("/old"));
}
