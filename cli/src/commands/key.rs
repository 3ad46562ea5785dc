//! `key show`.

use std::path::PathBuf;

use clap::Subcommand;
use countermark::key::{self, Shown};

use crate::args::Format;
use crate::print::{self, Result};

/// Look at keys and certificates
#[derive(Subcommand)]
pub enum Key {
    /// Print the public key, its kind, and what a certificate says
    #[command(after_help = "\
Examples:
  countermark key show keys/owner.pub
  countermark key show keys/owner.crt
  countermark key show 'pkcs11:token=release;object=owner?module-path=/usr/lib/softhsm/libsofthsm2.so'")]
    Show {
        /// A private or public key, certificates, the file of a signer, or a pkcs11: URI
        file: PathBuf,
        #[arg(long, value_enum, default_value = "human")]
        format: Format,
    },
}

pub fn run(args: Key) -> Result<u8> {
    let Key::Show { file, format } = args;
    let shown = key::show(&file)?;
    match format {
        Format::Json => print::json(&shown)?,
        Format::Human => human(&shown)?,
    }
    Ok(0)
}

fn human(shown: &Shown) -> Result<()> {
    print::line(shown.key)?;
    print::line(format_args!("kind       {}, {}", shown.kind, shown.algorithm))?;
    print::line(format_args!("OMS hint   {}", shown.oms_hint))?;
    for certificate in &shown.certificates {
        let what = if certificate.authority { "authority" } else { "leaf" };
        print::line("")?;
        print::line(format_args!("{what:9}  {}", print::foreign(&certificate.subject)))?;
        print::line(format_args!("issuer     {}", print::foreign(&certificate.issuer)))?;
        print::line(format_args!("valid      {} to {}", certificate.valid.0, certificate.valid.1))?;
        match &certificate.key {
            Some(key) => print::line(format_args!("key        {key}"))?,
            None => print::line("key        of a kind that does not sign here")?,
        }
    }
    Ok(())
}
