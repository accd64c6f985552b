//! The directory under a writer that runs: it goes away, and another is in its place.

use super::{Memory, entry, written};
use crate::issuance::*;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

const ORIGIN: &str = "ca.example/log";

fn writer(directory: &Path) -> (Writer, Receiver<Standing>) {
    let config = LogConfig {
        directory: directory.to_owned(),
        origin: ORIGIN.to_owned(),
    };
    let (told, standings) = channel();
    let tell = move |standing| told.send(standing).unwrap();
    (Writer::start(config, tell).unwrap(), standings)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names = Folder::new(directory).names().unwrap();
    names.sort();
    names
}

/// Nothing is logged, thus nothing signed, until the right log is back; it is told once for each
/// reason, and no other log is touched.
#[tokio::test]
async fn a_log_that_went_away_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (writer, standings) = writer(&at("log"));
    for number in 0..2 {
        assert_eq!(writer.append(entry(number)).await, Ok(()));
    }
    copy(&at("log"), &at("older"));
    assert_eq!(writer.append(entry(2)).await, Ok(()));
    written(&at("other"));
    std::fs::create_dir(at("empty")).unwrap();
    std::fs::rename(at("log"), at("right")).unwrap();

    let error = writer.append(entry(3)).await.unwrap_err();
    assert!(error.contains("cannot write pending"), "{error}");
    let refuses = async |expected: &str| {
        for _ in 0..2 {
            let error = writer.append(entry(3)).await.unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    };
    refuses("the log that was here is gone").await;
    assert!(!at("log").exists());
    for (name, why) in [
        ("empty", "the log that was here is gone"),
        ("other", "its key is that of"),
        ("older", "it has 2 entries, and had 3"),
    ] {
        let before = std::fs::read(at(name).join(PENDING)).ok();
        let had = names(&at(name));
        std::fs::rename(at(name), at("log")).unwrap();
        refuses(why).await;
        std::fs::rename(at("log"), at(name)).unwrap();
        assert_eq!(std::fs::read(at(name).join(PENDING)).ok(), before, "{name}");
        assert_eq!(names(&at(name)), had, "{name}");
    }
    std::fs::rename(at("right"), at("log")).unwrap();
    assert_eq!(writer.append(entry(3)).await, Ok(()));
    drop(writer);

    let told: Vec<String> = standings
        .iter()
        .map(|standing| match standing {
            Standing::Open(found) => format!("open {}", found.entries),
            Standing::Unavailable(error) => error,
        })
        .collect();
    let expected = [
        "open 0",
        "cannot write pending",
        "is gone",
        "its key is that of",
        "it has 2 entries",
        "open 3",
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.contains(expected), "{told}");
    }
    let reader = Reader::open(&at("log")).unwrap();
    assert_eq!(reader.verify(None).unwrap().checkpoint.size, 4);
}

/// Not even one entry gets into another log that came into its place unnoticed.
#[tokio::test]
async fn another_log_in_its_place_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (writer, _standings) = writer(&at("log"));
    assert_eq!(writer.append(entry(0)).await, Ok(()));
    written(&at("other"));
    let before = std::fs::read(at("other").join(PENDING)).unwrap();
    std::fs::rename(at("log"), at("right")).unwrap();
    std::fs::rename(at("other"), at("log")).unwrap();
    let error = writer.append(entry(1)).await.unwrap_err();
    assert!(
        error.contains("another directory is in the place"),
        "{error}"
    );
    assert_eq!(std::fs::read(at("log").join(PENDING)).unwrap(), before);
}

/// Whatever its size was, and whether it grew meanwhile in the hands of another process.
#[test]
fn the_log_that_is_known_may_have_grown() {
    let mut first = Memory::default();
    drop(Book::open(&mut first, ORIGIN).unwrap());
    // Sizes before and after, and whether the rest is sealed.
    for (known, now, seals) in [
        (0, 3, true),
        (1, 1, false),
        (100, 300, true),
        (100, 300, false),
        (255, 256, true),
        (256, 257, true),
        (256, 600, true),
        (300, 600, true),
        (512, 513, true),
    ] {
        let case = format!("{known} of {now}, {seals}");
        let mut disk = first.clone();
        let (mut book, _) = Book::open(&mut disk, ORIGIN).unwrap();
        book.append((0..known).map(entry).collect()).unwrap();
        let then = book.known();
        book.append((known..now).map(entry).collect()).unwrap();
        if seals {
            book.seal().unwrap();
        }
        drop(book);
        let (_, found) = Book::reopen(&mut disk, Some(&then)).expect(&case);
        assert_eq!(found.entries, now as u64, "{case}");

        let mut forged = first.clone();
        let (mut book, _) = Book::open(&mut forged, ORIGIN).unwrap();
        book.append((1..=now).map(entry).collect()).unwrap();
        if seals {
            book.seal().unwrap();
        }
        drop(book);
        let before = forged.done;
        match Book::reopen(&mut forged, Some(&then)) {
            Ok(_) => assert_eq!(known, 0, "{case}"),
            Err(error) => {
                let expected = format!("its first {known} entries are others");
                assert!(error.to_string().contains(&expected), "{case}: {error}");
                assert_eq!(forged.done, before, "{case}: it wrote");
            }
        }
    }
}

#[test]
fn a_log_begins_in_a_directory_of_its_own() {
    for (name, expected) in [
        ("lost+found", true),
        ("key.tmp", true),
        ("notes.txt", false),
    ] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(name), "").unwrap();
        let disk = Folder::lock(directory.path()).unwrap();
        match Book::open(disk, ORIGIN) {
            Ok(_) => assert!(expected, "{name}"),
            Err(error) => {
                let text = format!("the directory is not empty (it has {name:?})");
                assert!(!expected && error.to_string().contains(&text), "{error}");
            }
        }
    }
}
