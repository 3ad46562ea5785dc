//! `revoke`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use countermark::io::files;
use countermark::keyset;
use countermark::lineage::credential::keys::PublicKey;
use countermark::lineage::credential::revocation::{Entry, Kind, Revocations, Target};
use countermark::lineage::digest::Hash;
use countermark::revoke::{self, Request};

use crate::args::Format;
use crate::print::{self, Result};

/// Sign the next revocation list: what no longer counts, for those whose policy names the key that signs the list
#[derive(Args)]
#[command(
    group = ArgGroup::new("what").args(["stolen_key", "lost_key", "superseded_key", "statement", "mark", "certificate"]),
    after_help = "\
Examples:
  countermark revoke --key keys/owner.root.key --list keys/revocations.json            (start, or make valid for longer)
  countermark revoke --key keys/owner.root.key --list keys/revocations.json \\
      --stolen-key ed25519:3d40…660c --reason 'laptop stolen on 3 May' --keep-before log:17 --log log
  countermark revoke --key keys/owner.root.key --list keys/revocations.json --statement 9f86…0a08 --reason 'wrong data'

A list only grows: nothing can be taken back. docs/lost-key.md is the page for the day on which a key is gone."
)]
pub struct Revoke {
    /// The key that signs the list; best not one that signs releases
    #[arg(long)]
    pub key: PathBuf,
    /// The list; made when it is not there, and replaced by the one that follows it
    #[arg(long, value_name = "FILE")]
    pub list: PathBuf,
    /// Somebody else has this key: its text form, or the file of a public key
    #[arg(long, value_name = "KEY", value_parser = public_key, requires = "reason")]
    pub stolen_key: Option<PublicKey>,
    /// Nobody has this key any more
    #[arg(long, value_name = "KEY", value_parser = public_key, requires = "reason")]
    pub lost_key: Option<PublicKey>,
    /// This key was replaced by --successor
    #[arg(long, value_name = "KEY", value_parser = public_key, requires_all = ["successor", "reason"])]
    pub superseded_key: Option<PublicKey>,
    /// The id of a statement that should not have been signed
    #[arg(long, value_name = "ID", value_parser = hash, requires = "reason")]
    pub statement: Option<Hash>,
    /// The SHA-256 of a mark's commitment record: sha256sum marks/ID.json
    #[arg(long, value_name = "ID", value_parser = hash, requires = "reason")]
    pub mark: Option<Hash>,
    /// A certificate, in PEM; of several in a file, the first
    #[arg(long, value_name = "FILE", requires = "reason")]
    pub certificate: Option<PathBuf>,
    /// Why, for the reader of a verdict
    #[arg(long, requires = "what", value_name = "TEXT")]
    pub reason: Option<String>,
    /// The hand-over from the revoked key to this one stays good
    #[arg(long, value_name = "KEY", value_parser = public_key, conflicts_with_all = ["statement", "mark", "certificate"])]
    pub successor: Option<PublicKey>,
    /// What is proven to be in this log before this entry stays good: the log's folder or verifier key, and a number
    #[arg(long, value_name = "LOG:INDEX", conflicts_with_all = ["statement", "mark"])]
    pub keep_before: Option<String>,
    /// Log the list there
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// Days until the list is stale and a newer one is due
    #[arg(long, value_name = "DAYS", default_value_t = Revocations::DAYS, value_parser = clap::value_parser!(u32).range(1..=3660))]
    pub days: u32,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// A key's text form, or a file with a public key in PEM.
fn public_key(text: &str) -> std::result::Result<PublicKey, String> {
    if let Some(key) = PublicKey::parse(text) {
        return Ok(key);
    }
    let pem = std::fs::read_to_string(text).map_err(|_| "neither a key such as ed25519:… nor a file".to_owned())?;
    match Target::of_pem(&pem) {
        Some(Target::Key(key)) => Ok(key),
        _ => Err("is not a public key in PEM".to_owned()),
    }
}

fn hash(text: &str) -> std::result::Result<Hash, String> {
    Hash::parse(text).ok_or_else(|| "expected 64 lower-case hexadecimal digits".to_owned())
}

impl Revoke {
    fn target(&self) -> Result<Option<(Target, Kind)>> {
        let keys =
            [(self.stolen_key, Kind::Stolen), (self.lost_key, Kind::Lost), (self.superseded_key, Kind::Superseded)];
        if let Some((key, kind)) = keys.into_iter().find_map(|(key, kind)| Some((key?, kind))) {
            return Ok(Some((Target::Key(key), kind)));
        }
        if let Some(path) = &self.certificate {
            let text = files::read_text(path, 1 << 20)?;
            let Some(target @ Target::Certificate(_)) = Target::of_pem(&text) else {
                let help = "name a file that begins with a certificate, such as owner.crt";
                return Err(countermark::io::Error::refused(path, "holds no certificate in PEM", help).into());
            };
            return Ok(Some((target, Kind::Superseded)));
        }
        let statement = self.statement.map(Target::Statement).or(self.mark.map(Target::Mark));
        Ok(statement.map(|target| (target, Kind::Mistake)))
    }
}

pub fn run(args: Revoke) -> Result<u8> {
    let entry = match args.target()? {
        None => None,
        Some((target, kind)) => {
            let mut entry = Entry::new(target, kind, args.reason.as_deref().unwrap_or_default(), keyset::now());
            entry.keeps = args.keep_before.as_deref().map(revoke::keeps).transpose()?;
            entry.successor = args.successor;
            Some(entry)
        }
    };
    let named = entry.as_ref().and_then(Entry::target);
    let request = Request { key: args.key, list: args.list, entry, log: args.log, days: args.days };
    let revoked = revoke::revoke(&request)?;
    if args.format == Format::Json {
        print::json(&revoked)?;
        return Ok(0);
    }
    if let Some(target) = named {
        print::line(format_args!("revoked   {target}"))?;
    }
    let (sequence, entries, next) = (revoked.sequence, revoked.entries, &revoked.next_update);
    print::line(format_args!("list      {}: number {sequence}, {entries} entries", revoked.list.display()))?;
    print::line(format_args!("issuer    {}", revoked.issuer))?;
    print::line(format_args!("due       a newer one by {next}, even if nothing new is revoked"))?;
    match &revoked.log {
        Some(log) => print::line(format_args!("log       entry {} of {}", log.index, log.vkey))?,
        None => eprintln!("help: add --log DIR, so that nobody can be shown another list without a trace"),
    }
    if let Some(policy) = &revoked.added_to {
        eprintln!("added the issuer to {}; hand the policy out anew", policy.display());
    }
    eprintln!("next: publish {} beside the policy, where verifiers find it", revoked.list.display());
    Ok(0)
}
