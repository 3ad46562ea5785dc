//! A program that signs, for keys in a service or a device with tools of its own.
//!
//! It is run once for each signature, without a shell. Standard input is the digest to sign (SHA-256, SHA-384 or SHA-512,
//! as its curve has it), or for Ed25519 the message, which that algorithm hashes itself. Standard output is the signature:
//! two integers of fixed size, or DER, or either in Base64. What it must do stands in the environment:
//!
//! | variable | for example |
//! |---|---|
//! | `COUNTERMARK_ALGORITHM` | `p256` |
//! | `COUNTERMARK_INPUT` | `sha256`, `sha384`, `sha512`, or `message` |
//! | `COUNTERMARK_PUBLIC_KEY` | `p256:02…` |
//!
//! No answer is used that the public key does not verify.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countermark_lineage::Error as LineageError;
use countermark_lineage::credential::keys::{Algorithm, PrivateKey, PublicKey, signature_from_der};
use countermark_lineage::verdict::printable;
use sha2::Digest as _;

use super::config::CommandConfig;
use super::passphrase;

/// The longest answer that is read, in bytes. A signature of P-521 in Base64 has 188.
const LONGEST: u64 = 4096;

/// A program that signs.
pub struct Command {
    config: CommandConfig,
    /// The file that names it, for messages.
    place: PathBuf,
}

/// What a signer of `algorithm` gets to sign, and what that is called.
pub(super) fn input(algorithm: Algorithm, message: &[u8]) -> (Vec<u8>, &'static str) {
    match algorithm {
        Algorithm::Ed25519 => (message.to_vec(), "message"),
        Algorithm::P256 => (sha2::Sha256::digest(message).to_vec(), "sha256"),
        Algorithm::P384 => (sha2::Sha384::digest(message).to_vec(), "sha384"),
        Algorithm::P521 => (sha2::Sha512::digest(message).to_vec(), "sha512"),
    }
}

/// The signature of fixed size in an answer, if the answer is one of `key` over `message`.
pub(super) fn accept(key: &PublicKey, message: &[u8], answer: &[u8]) -> Option<Vec<u8>> {
    // `base64` breaks lines.
    let text: Vec<u8> = answer.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let decoded = BASE64_STANDARD.decode(text).ok();
    [Some(answer.to_vec()), decoded].into_iter().flatten().find_map(|bytes| {
        let from_der = signature_from_der(key.algorithm(), &bytes);
        let forms = [Some(bytes), from_der].into_iter().flatten();
        forms.into_iter().find(|fixed| key.verifies(message, fixed))
    })
}

impl Command {
    /// The program named by the file at `place`. Nothing is run yet.
    pub fn new(place: &Path, config: CommandConfig) -> Self {
        Command { config, place: place.to_owned() }
    }

    fn refuse(&self, problem: String) -> LineageError {
        let help =
            format!("run {:?} by hand; docs/keys.md says what it gets and must answer", self.config.program.command);
        LineageError::input(self.place.display().to_string(), problem, help)
    }
}

/// A program that is asked for a signature.
pub struct Program {
    /// The program and its arguments. Not empty.
    pub command: Vec<String>,
    /// The folder in which it runs.
    pub folder: PathBuf,
    /// How long it may take.
    pub timeout: Duration,
}

impl Program {
    /// Gives the program its input and waits for its answer, not longer than allowed. The error says what went wrong.
    pub(crate) fn ask(&self, environment: &[(&str, String)], input: Vec<u8>) -> Result<Vec<u8>, String> {
        let mut child = self.start(environment)?;
        let answer = self.answer(&mut child, input);
        if answer.is_err() {
            drop(child.kill());
            drop(child.wait());
        }
        answer
    }

    fn start(&self, environment: &[(&str, String)]) -> Result<Child, String> {
        let (program, arguments) = self.command.split_first().ok_or("no command")?;
        // A path is one from the folder of the file, a bare name one of PATH.
        let program = if program.contains('/') { self.folder.join(program) } else { PathBuf::from(program) };
        std::process::Command::new(&program)
            .args(arguments)
            .current_dir(&self.folder)
            .env_remove(passphrase::VARIABLE)
            .env_remove(passphrase::FILE_VARIABLE)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} cannot be run: {error}", program.display()))
    }

    fn answer(&self, child: &mut Child, input: Vec<u8>) -> Result<Vec<u8>, String> {
        let deadline = Instant::now() + self.timeout;
        if let Some(mut stdin) = child.stdin.take() {
            // In a thread of its own, since the program may answer before it has read everything, or read nothing at all.
            std::thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let stdout = child.stdout.take().map(|pipe| read(pipe, true));
        let stderr = child.stderr.take().map(|pipe| read(pipe, false));
        let left = || deadline.saturating_duration_since(Instant::now());
        let late = || format!("did not answer within {} seconds", self.timeout.as_secs());
        let answer = stdout.and_then(|pipe| pipe.recv_timeout(left()).ok()).ok_or_else(late)?;
        if answer.len() as u64 > LONGEST {
            return Err(format!("answered with more than {LONGEST} bytes"));
        }
        let status = loop {
            match child.try_wait().map_err(|error| format!("cannot be waited for: {error}"))? {
                Some(status) => break status,
                None if left().is_zero() => return Err(late()),
                None => std::thread::sleep(Duration::from_millis(5).min(left())),
            }
        };
        if !status.success() {
            // What it says is on its way when it has ended.
            let said = stderr.and_then(|pipe| pipe.recv_timeout(Duration::from_millis(500)).ok()).unwrap_or_default();
            let said = printable(String::from_utf8_lossy(&said).trim(), 400);
            return Err(format!("failed ({status}): {said}"));
        }
        Ok(answer)
    }
}

/// Reads a pipe in a thread that nobody waits for: a program may leave a child behind that keeps the pipe open.
fn read(pipe: impl Read + Send + 'static, whole: bool) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut pipe = pipe;
        let mut bytes = Vec::new();
        let read = pipe.by_ref().take(LONGEST + 1).read_to_end(&mut bytes);
        if read.is_ok() || !whole {
            drop(sender.send(bytes));
        }
        if !whole {
            // A program must not stop because nobody listens to its complaints.
            drop(std::io::copy(&mut pipe, &mut std::io::sink()));
        }
    });
    receiver
}

impl PrivateKey for Command {
    fn public(&self) -> PublicKey {
        self.config.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, LineageError> {
        let key = self.config.public_key;
        let (input, what) = input(key.algorithm(), message);
        let environment = [
            ("COUNTERMARK_ALGORITHM", key.algorithm().as_str().to_owned()),
            ("COUNTERMARK_INPUT", what.to_owned()),
            ("COUNTERMARK_PUBLIC_KEY", key.to_string()),
        ];
        let answer = self.config.program.ask(&environment, input).map_err(|problem| self.refuse(problem))?;
        accept(&key, message, &answer)
            .ok_or_else(|| self.refuse(format!("its answer is not a signature of {}", key.short())))
    }
}
