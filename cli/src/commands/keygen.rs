//! `keygen`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use countermark::io::anchor::evm;
use countermark::io::keys::passphrase;
use countermark::keyset::{self, NewKeys};
use countermark::lineage::credential::keys::Algorithm;
use countermark::lineage::graph::statement::rfc3339;

use crate::print::{self, Result};

/// Make an owner's keys, certificates and a policy that trusts them; or renew the certificates
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark keygen --out keys --name 'Example Lab'
  countermark keygen --out keys --name 'Example Lab' --algorithm p384 --passphrase
  countermark keygen --out keys --name 'Example Lab' --key signer.toml     the key stays in a device or service
  countermark keygen --out keys --renew                                    certificates live for a year
  countermark keygen --chain-key chain.key                                 pays for anchors; give it little

A passphrase is typed at the terminal, or comes from COUNTERMARK_PASSPHRASE or from the file that
COUNTERMARK_PASSPHRASE_FILE names. It does not encrypt owner.mark.key.")]
pub struct Keygen {
    /// Folder for the keys; nothing in it is overwritten
    #[arg(long, value_name = "DIR", required_unless_present = "chain_key")]
    pub out: Option<PathBuf>,
    /// Instead, make the key of an account that pays for anchors on a chain, and print its address
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "name", "algorithm", "passphrase", "key", "renew"])]
    pub chain_key: Option<PathBuf>,
    /// Who you are, for the certificate and the policy
    #[arg(long, default_value = "owner")]
    pub name: String,
    /// The kind of owner.key
    #[arg(long, value_enum, default_value = "ed25519")]
    pub algorithm: Kind,
    /// Encrypt the private keys
    #[arg(long)]
    pub passphrase: bool,
    /// Use this key, of a device, a service or a file, instead of making owner.key
    #[arg(long, value_name = "KEY", conflicts_with = "algorithm")]
    pub key: Option<PathBuf>,
    /// Issue the certificates in DIR anew with owner.root.key, and keep the old ones
    #[arg(long, conflicts_with_all = ["name", "algorithm", "passphrase", "key"])]
    pub renew: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    Ed25519,
    P256,
    P384,
    P521,
}

impl From<Kind> for Algorithm {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Ed25519 => Algorithm::Ed25519,
            Kind::P256 => Algorithm::P256,
            Kind::P384 => Algorithm::P384,
            Kind::P521 => Algorithm::P521,
        }
    }
}

pub fn run(args: Keygen) -> Result<u8> {
    if let Some(path) = &args.chain_key {
        print::line(evm::generate_key(path)?)?;
        eprintln!("next: send this account what some transactions cost, and no more");
        return Ok(0);
    }
    // The command line asks for one of both.
    let out = args.out.clone().unwrap_or_default();
    if args.renew {
        return renew(&out);
    }
    let passphrase = if args.passphrase { Some(passphrase::choose(&out)?) } else { None };
    let is_elsewhere = args.key.is_some();
    let new = NewKeys { name: args.name, algorithm: args.algorithm.into(), passphrase, key: args.key.clone() };
    let key = keyset::generate_with(&out, &new)?;
    print::line(key)?;
    let rows = [
        ("owner.key", "signs statements, manifests and log entries; keep it secret and backed up"),
        ("owner.mark.key", "the secret of your marks; keep it apart from owner.key"),
        ("owner.root.key", "renews your certificate; keep it offline"),
        ("owner.p256.key", "signs OpenSSF Model Signing bundles"),
        ("policy.toml", "trusts these keys; hand it to whoever shall verify your releases"),
    ];
    for (file, what) in rows.into_iter().filter(|(file, _)| !(is_elsewhere && *file == "owner.key")) {
        eprintln!("{}  {what}", out.join(file).display());
    }
    match args.key {
        None => eprintln!("next: countermark sign PATH --key {}", out.join("owner.key").display()),
        Some(key) => {
            let certificate = out.join("owner.crt");
            let (key, certificate) = (key.display(), certificate.display());
            eprintln!("next: countermark sign PATH --key '{key}' --certificate {certificate}");
        }
    }
    Ok(0)
}

fn renew(out: &Path) -> Result<u8> {
    for renewed in keyset::renew(out)? {
        let until = rfc3339(renewed.expires);
        print::line(format_args!("{}  valid until {until}", renewed.certificate.display()))?;
        eprintln!("{}  the old one", renewed.kept.display());
    }
    eprintln!("next: sign as before; policies that trust your root need no change");
    Ok(0)
}
