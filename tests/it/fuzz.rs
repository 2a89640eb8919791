//! The fuzz targets of `tests/fuzz`, for a moment: every file of their corpora, then mutations of these, always the same
//! ones. `PENSTOCK_FUZZ_SEED` makes others, `PENSTOCK_FUZZ_SECONDS` more; `tests/fuzz/run` looks for as long as it may.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use targets::{ALL, Target};

/// The most mutations of a run, so that a fast machine does not try others than a slow one for long.
const ROUNDS: u64 = 2_000;

/// The longest input that mutations make.
const LONGEST: usize = 8 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// A number of the environment, else the default.
fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}: {text:?} is not a number")),
        Err(_) => default,
    }
}

/// The corpus of a target, in the order of the file names.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder().join("corpus").join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}

/// xorshift64*: enough to choose by, the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % sides.max(1)
    }

    /// A stretch of so many places.
    fn stretch(&mut self, length: usize) -> std::ops::Range<usize> {
        let from = self.roll(length + 1);
        from..from + self.roll((length - from).min(64) + 1)
    }
}

/// Bytes that parsers care about.
const TOKENS: [&[u8]; 24] = [
    b"\0",
    b"\n\n",
    b"\r\n",
    b"\"",
    b"'",
    b"\\",
    b"/",
    b"//",
    b"..",
    b"%2F",
    b"%",
    b"{",
    b"}",
    b"[",
    b"]",
    b"$",
    b":",
    b",",
    b";",
    b"=",
    b"&",
    b"\xff",
    b"\xc3\xa9",
    b"99999999999999999999",
];

fn mutated(corpus: &[(PathBuf, Vec<u8>)], dice: &mut Dice) -> Vec<u8> {
    let mut input = corpus[dice.roll(corpus.len())].1.clone();
    for _ in 0..=dice.roll(4) {
        let at = dice.stretch(input.len());
        match dice.roll(7) {
            0 if !input.is_empty() => {
                let place = dice.roll(input.len());
                input[place] ^= 1 << dice.roll(8);
            }
            1 => drop(input.drain(at)),
            2 => {
                let copied = input[at.clone()].to_vec();
                input.splice(at.start..at.start, copied);
            }
            3 => drop(input.splice(at, TOKENS[dice.roll(TOKENS.len())].iter().copied())),
            4 => {
                let token = TOKENS[dice.roll(TOKENS.len())];
                input.splice(at.start..at.start, token.iter().copied());
            }
            5 => {
                let other = &corpus[dice.roll(corpus.len())].1;
                let taken = dice.stretch(other.len());
                input.splice(at, other[taken].iter().copied());
            }
            _ => {
                let copied = input[at.clone()].repeat(1 + dice.roll(20));
                input.splice(at, copied);
            }
        }
        input.truncate(LONGEST);
    }
    input
}

fn survives(name: &str, target: Target, input: &[u8], from: &str) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        panic!(
            "{name} fails on {from}; the input, to be kept as a file of tests/fuzz/corpus/{name}:\n{}",
            input.escape_ascii()
        );
    }
}

fn fuzz(name: &str) {
    let (_, target) = ALL.into_iter().find(|(known, _)| *known == name).unwrap();
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "the corpus of {name} is empty");
    for (path, input) in &corpus {
        survives(name, target, input, &path.display().to_string());
    }
    let seed = setting("PENSTOCK_FUZZ_SEED", 1);
    let end = Instant::now() + Duration::from_secs(setting("PENSTOCK_FUZZ_SECONDS", 1));
    let rounds = match std::env::var_os("PENSTOCK_FUZZ_SECONDS") {
        Some(_) => u64::MAX,
        None => ROUNDS,
    };
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for round in 0..rounds {
        if Instant::now() >= end {
            break;
        }
        let input = mutated(&corpus, &mut dice);
        survives(
            name,
            target,
            &input,
            &format!("mutation {round} of seed {seed}"),
        );
    }
}

macro_rules! fuzzed {
    ($($name:ident),+ $(,)?) => {
        $(#[test] fn $name() { fuzz(stringify!($name)); })+

        #[test]
        fn every_target_has_a_corpus_a_binary_and_a_test() {
            let names = |folder: PathBuf| -> BTreeSet<String> {
                let entries = fs::read_dir(folder).unwrap();
                entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
            };
            let targets: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(BTreeSet::from([$(stringify!($name).to_owned()),+]), targets);
            assert_eq!(names(folder().join("corpus")), targets);
            assert_eq!(names(folder().join("bins")), targets);
            let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
            assert!(targets.iter().all(|name| manifest.contains(&format!("name = \"{name}\""))));
        }
    };
}

fuzzed!(
    config_loader,
    forwarded,
    importers,
    jwt,
    kept,
    mapping,
    proxy_protocol,
    route_matching,
    sigv4,
    sqs_wire,
    webhook,
);
