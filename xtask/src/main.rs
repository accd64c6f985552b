//! Developer tasks: the front door of the repository. A fresh machine has cargo and nothing else.
//!
//! Owns the checks no compiler makes (`tidy`), the installation of real peers and the run of the
//! end-to-end suite (`e2e`), the measuring program (`measure`), and the searches for faults that
//! take as long as one likes (`fuzz`, `schemathesis`). Refuses to know what the product does: it
//! reads manifests and text, and starts programs.

mod book;
mod bugs;
mod cache;
mod dashboard;
mod dist;
mod e2e;
mod faults;
mod fuzz;
mod instructions;
mod interop;
mod manifests;
mod minutes;
mod peers;
mod schemathesis;
mod tidy;
mod tools;

use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "\
Usage: cargo xtask <task>

Tasks:
  tidy    Check dependency edges, licences, sources, banned crates, links, and the shape of files
  e2e     Install a user's tools (kubectl, openssl, faketime, …) into a cache, build the release binary, run the end-to-end suite;
          arguments select tests by parts of their names; --list shows them; --ci makes every skip a failure
  book    Build the documentation of docs/ with mdBook (crates.io) into target/book, and check its links
  peers   Build the real programs of the other side (Kubernetes, etcd; see CONTRIBUTING.md) into a cache and print
          where they are; needs Go
  interop Build the release binary, run it beside the real Kubernetes programs; arguments as for e2e, and
          --write-document writes docs/compatibility.md
  manifests
          Render deploy/manifests from the chart; --check: fail when they are not what it gives. Needs Go, for Helm
  record  Play the request lists of tests/recordings against the real kube-apiserver and write its answers anew;
          arguments select lists by name (matrix and client-certificates are two)
  bugs    Plant the bugs of crates/everleaf-sim/bugs, one at a time, into a copy of the tree: the simulator has to
          find each; arguments select them by parts of their names
  dashboard
          Build the release binary and look at `everleaf dashboard` in a real browser: Debian's chromium, Playwright from npm. Needs Node.js
  dist    Build what is given to users into target/dist: a static binary with its manual pages, completions and units,
          a Debian package, the tree of a container image, an SBOM, and the checksums of all
  faults  Build the release binary, kill, pause and cut off servers and the members of an etcd under load, and check what clients
          saw; arguments: embedded or etcd (both), --rounds N (25), --seed N. Needs Go, for etcd
  fuzz    Run the fuzz targets, each for --minutes N (10); arguments name targets. Needs a C++ compiler
  schemathesis
          Build the release binary and let schemathesis (PyPI) loose on its OpenAPI documents, for --minutes N (10)
  measure Build the release binary and print the table of docs/performance.md; an argument sets the number
          of certificates; reads: what reading many requests costs, storm: what 50,000 at once do to server and
          controllers, scale: what 100,000 stored ones cost, watchers: what 10,000 connections cost, cleaning: what
          100,000 leave in memory once they are deleted; an argument after any of these sets their number, and
          --old BINARY measures another build beside this one (scale, watchers, cleaning)
  instructions
          Count the instructions of a request of each kind (callgrind) and compare them with
          crates/everleaf-apiserver/benches/instructions.txt; --renew: write that file; --ci: not to be able to is a failure
  bench-peers
          Put the same load (everleaf bench) on real Kubernetes and on Everleaf, in turn, and print the table of
          docs/performance.md; arguments: the number of nodes, an older everleaf binary to be measured, too
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let outcome = match args.next().as_deref() {
        Some("tidy") => tidy::run(),
        Some("e2e") => e2e::run(&args.collect::<Vec<_>>()),
        Some("peers") => peers::run(),
        Some("interop") => interop::run(&args.collect::<Vec<_>>()),
        Some("manifests") => manifests::run(&args.collect::<Vec<_>>()),
        Some("record") => interop::record(&args.collect::<Vec<_>>()),
        Some("book") => book::run(&args.collect::<Vec<_>>()),
        Some("bugs") => bugs::run(&args.collect::<Vec<_>>()),
        Some("dashboard") => dashboard::run(&args.collect::<Vec<_>>()),
        Some("dist") => dist::run(&args.collect::<Vec<_>>()),
        Some("faults") => faults::run(&args.collect::<Vec<_>>()),
        Some("fuzz") => fuzz::run(&args.collect::<Vec<_>>()),
        Some("schemathesis") => schemathesis::run(&args.collect::<Vec<_>>()),
        Some("measure") => e2e::measure(&args.collect::<Vec<_>>()),
        Some("instructions") => instructions::run(&args.collect::<Vec<_>>()),
        Some("bench-peers") => interop::bench_peers(&args.collect::<Vec<_>>()),
        Some("help" | "--help" | "-h") => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("cargo xtask: no task {:?}\n\n{USAGE}", other.unwrap_or(""));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line for people.
#[expect(clippy::print_stdout, reason = "a task's answer belongs on stdout")]
fn say(line: &str) {
    println!("{line}");
}

/// The moment from which a task's duration is counted.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a build takes is told to people"
)]
fn started() -> Instant {
    Instant::now()
}
