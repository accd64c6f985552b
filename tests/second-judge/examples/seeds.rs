//! Writes the sound chains, and one broken thousand, as seeds for the fuzz target:
//! `seeds DIRECTORY`.

use everleaf_second_judge::{Case, Dice, corpus, mutate};
use std::{env, fs, io, path::PathBuf};

/// Broken chains beside the sound ones.
const BROKEN: u64 = 1_000;

fn main() -> io::Result<()> {
    let directory = env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.ok_or_else(|| io::Error::other("usage: seeds DIRECTORY"))?;
    fs::create_dir_all(&directory)?;
    let corpus = corpus();
    let write = |name: String, case: &Case| fs::write(directory.join(name), case.to_bytes());
    for (number, case) in corpus.iter().enumerate() {
        write(format!("sound-{number}"), case)?;
    }
    for seed in 0..BROKEN {
        let mut dice = Dice::new(seed);
        let mut case = corpus[dice.below(corpus.len())].clone();
        mutate(&mut case, &corpus, &mut dice);
        write(format!("broken-{seed}"), &case)?;
    }
    Ok(())
}
