//! What the most expensive judgements cost that fit into what TLS carries. Run it with `--release`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement"
)]

use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use everleaf_second_judge::NOW;
use everleaf_second_judge::hostile::{Hostile, crowd, quadratic, tree, with_policies};
use jiff::Timestamp;
use std::time::{Duration, Instant};

const ED25519: usize = 2;
const P384: usize = 9;
const P521: usize = 10;
const RSA: usize = 11;

fn measure(what: &str, Hostile { root, shown }: Hostile) {
    let bytes: usize = shown.iter().map(Vec::len).sum();
    let now = Timestamp::from_second(i64::from(NOW)).unwrap();
    let bundle = TrustBundle::from_ders([&root[..]]).unwrap();
    let start = Instant::now();
    let presented = Presented::from_ders(shown.iter().map(Vec::as_slice)).unwrap();
    let read = start.elapsed();
    let mut best = Duration::MAX;
    let mut verdict = String::new();
    for _ in 0..3 {
        let start = Instant::now();
        verdict = match bundle.judge(&presented, Purpose::ClientAuth, now) {
            Ok(_) => "believed".to_owned(),
            Err(error) => error.to_string(),
        };
        best = best.min(start.elapsed());
    }
    let count = shown.len();
    println!(
        "{what}: {count} certificates, {bytes} bytes: read in {read:.1?}, judged in {best:.1?}: {verdict:.90}"
    );
}

fn main() {
    measure("Ed25519 crowd", crowd(ED25519));
    measure("P-521 crowd", crowd(P521));
    measure("Ed25519 tree", tree(ED25519));
    measure("P-384 tree", tree(P384));
    measure("P-521 tree", tree(P521));
    measure("RSA 2048 tree", tree(RSA));
    let forms: [(&str, u8, &[u8], &[u8]); 5] = [
        ("hosts", 0x82, b"b", b"a"),
        ("long hosts", 0x82, b".aaaaaaaaaaaaaaa", b"b.aaaaaaaaaaaaaa"),
        ("mailboxes by host", 0x81, b"b", b"a@a"),
        ("mailboxes", 0x81, b"b@a", b"a@a"),
        (
            "addresses",
            0x87,
            &[0, 0, 0, 1, 255, 255, 255, 255],
            &[0; 4],
        ),
    ];
    for (form, tag, base, name) in forms {
        for (ways, most) in [(1, usize::MAX), (30, usize::MAX), (1, 490), (30, 90)] {
            let what = format!("{form}, {ways} ways, up to {most} each");
            measure(&what, quadratic(ways, most, tag, base, name));
        }
    }
    measure("policies carried far", with_policies(75, 3000, 0));
    measure("policies carried less far", with_policies(30, 5000, 0));
    measure("policies mapped", with_policies(30, 1500, 2500));
    measure("few policies carried far", with_policies(75, 80, 0));
    measure("few policies mapped", with_policies(30, 80, 500));
}
