//! `keygen`.

use std::path::PathBuf;

use clap::Args;
use countermark::keyset;

use crate::print::{self, Result};

/// Make an owner's keys, certificate and a policy that trusts them
#[derive(Args)]
#[command(after_help = "Example: countermark keygen --out keys --name 'Example Lab'")]
pub struct Keygen {
    /// Folder for the keys; nothing in it is overwritten
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Who you are, for the certificate and the policy
    #[arg(long, default_value = "owner")]
    pub name: String,
}

pub fn run(args: Keygen) -> Result<u8> {
    let key = keyset::generate(&args.out, &args.name)?;
    print::line(key)?;
    let rows = [
        ("owner.key", "signs statements, manifests and log entries; keep it secret and backed up"),
        ("owner.mark.key", "the secret of your marks; keep it apart from owner.key"),
        ("owner.root.key", "renews your certificate; keep it offline"),
        ("owner.p256.key", "signs OpenSSF Model Signing bundles"),
        ("policy.toml", "trusts these keys; hand it to whoever shall verify your releases"),
    ];
    for (file, what) in rows {
        eprintln!("{}  {what}", args.out.join(file).display());
    }
    eprintln!("next: countermark sign PATH --key {}", args.out.join("owner.key").display());
    Ok(0)
}
