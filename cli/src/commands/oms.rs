//! `oms`: sign and verify bundles of OpenSSF Model Signing.
//!
//! `sign-model`, `verify-model` and `capabilities` are the same functions under the arguments of the public
//! conformance suite, so that this binary is its entry point.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use countermark::lineage::digest::pieces::Function;
use countermark::oms::{self, By, SignRequest, VerifyRequest};
use serde_json::json;

use super::verify::time;
use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, Result};

/// Sign and verify models for tools of OpenSSF Model Signing
#[derive(Subcommand)]
pub enum Oms {
    Sign(Sign),
    Verify(Verify),
    /// What this program can do, for the conformance suite, as JSON
    Capabilities,
    #[command(hide = true)]
    SignModel(SignModel),
    #[command(hide = true)]
    VerifyModel(VerifyModel),
}

/// Write a bundle that lists every file of a model, signed
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark oms sign model --key keys/owner.p256.key
  countermark oms sign model --key keys/owner.p256.key --certificate keys/owner.p256.crt --hash blake3

Left out and recorded: .git, .gitattributes, .github, .gitignore, the bundle itself, what speaks for a release \
(*.provenance.json, *.c2pa, badge.svg), and the README.md of a model; --plain covers these.
model_signing 1.1.1 verifies bundles by sha256 over folders; others only with its Python interface, or not at all.")]
pub struct Sign {
    /// The file or folder to sign
    pub path: PathBuf,
    /// A key of P-256, P-384 or P-521
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Certificates of the key, its own first; may be given several times
    #[arg(long, value_name = "FILE")]
    pub certificate: Vec<PathBuf>,
    /// Where the bundle goes [default: model.sig in a folder, NAME.sig beside a file]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "sha256")]
    pub hash: HashName,
    /// Hash files in shards of so many bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..1 << 53))]
    pub shard_size: Option<u64>,
    /// Leave this path of the model out, with everything below it; may be given several times
    #[arg(long, value_name = "PATH")]
    pub ignore: Vec<PathBuf>,
    /// Cover the card and provenance files too, and state no root of ours
    #[arg(long)]
    pub plain: bool,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Hash functions of OpenSSF Model Signing.
#[derive(Clone, Copy, ValueEnum)]
pub enum HashName {
    Sha256,
    Blake2b,
    Blake3,
}

impl From<HashName> for Function {
    fn from(name: HashName) -> Self {
        match name {
            HashName::Sha256 => Function::Sha256,
            HashName::Blake2b => Function::Blake2b,
            HashName::Blake3 => Function::Blake3,
        }
    }
}

/// Check a bundle, and that a model is what it lists
#[derive(Args)]
#[command(
    group(ArgGroup::new("by").required(true).args(["key", "certificate_root", "trusted_root", "policy"])),
    after_help = "\
Examples:
  countermark oms verify model --signature model/model.sig --key owner.p256.pub
  countermark oms verify model --signature model.sig --certificate-root root.pem
  countermark oms verify model --signature model.sig --trusted-root trusted_root.json \\
      --identity ada@example.org --issuer https://accounts.example.org

Every file must be listed, unless the signer left it out. Nothing is fetched.
Exit codes: 0 verified, 1 something checked is wrong, 3 signer unknown or something could not be checked."
)]
pub struct Verify {
    /// The file or folder that was signed
    pub path: PathBuf,
    /// The bundle
    #[arg(long, value_name = "FILE")]
    pub signature: PathBuf,
    /// Signed with this key
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Signed under a certificate that leads to one of these; may be given several times
    #[arg(long, value_name = "FILE")]
    pub certificate_root: Vec<PathBuf>,
    /// Signed without a key of its own, by Sigstore: its authorities and logs
    #[arg(long, value_name = "FILE", requires = "identity", requires = "issuer")]
    pub trusted_root: Option<PathBuf>,
    /// Who must have signed, with --trusted-root
    #[arg(long, requires = "trusted_root")]
    pub identity: Option<String>,
    /// Who must have vouched for that identity, with --trusted-root
    #[arg(long, value_name = "URL", requires = "trusted_root")]
    pub issuer: Option<String>,
    /// Signed by somebody whom this policy trusts
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Leave this path of the model out; may be given several times
    #[arg(long, value_name = "PATH")]
    pub ignore: Vec<PathBuf>,
    /// Files that were not signed are named, and are no failure
    #[arg(long)]
    pub ignore_unsigned: bool,
    /// Judge as of this time, for example 2027-01-31T12:00:00Z; the verdict says so
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: Option<i64>,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    Key,
    Certificate,
    Sigstore,
}

/// Sign as the conformance suite asks
#[derive(Args)]
pub struct SignModel {
    #[arg(long, value_enum)]
    pub method: Method,
    #[arg(long)]
    pub model_path: PathBuf,
    #[arg(long)]
    pub output_bundle: PathBuf,
    #[arg(long)]
    pub private_key: Option<PathBuf>,
    #[arg(long)]
    pub signing_cert: Option<PathBuf>,
    #[arg(long)]
    pub cert_chain: Vec<PathBuf>,
    #[arg(long)]
    pub ignore_paths: Vec<PathBuf>,
    #[arg(long)]
    pub identity_token: Option<String>,
    #[arg(long)]
    pub use_staging: bool,
    #[arg(long, value_enum, default_value = "sha256")]
    pub hash_algorithm: HashName,
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..1 << 53))]
    pub shard_size: Option<u64>,
}

/// Verify as the conformance suite asks
#[derive(Args)]
pub struct VerifyModel {
    #[arg(long, value_enum)]
    pub method: Method,
    #[arg(long)]
    pub model_path: PathBuf,
    #[arg(long)]
    pub bundle: PathBuf,
    #[arg(long)]
    pub public_key: Option<PathBuf>,
    #[arg(long)]
    pub cert_chain: Vec<PathBuf>,
    #[arg(long)]
    pub ignore_paths: Vec<PathBuf>,
    #[arg(long)]
    pub ignore_unsigned_files: bool,
    #[arg(long)]
    pub identity: Option<String>,
    #[arg(long)]
    pub identity_provider: Option<String>,
    #[arg(long)]
    pub use_staging: bool,
    /// Authorities and logs, which the suite does not name [default: COUNTERMARK_TRUSTED_ROOT]
    #[arg(long)]
    pub trusted_root: Option<PathBuf>,
}

/// Something that is needed is missing, or not supported.
const UNSUPPORTED: u8 = 3;

pub fn run(args: Oms) -> Result<u8> {
    match args {
        Oms::Sign(args) => sign(args),
        Oms::Verify(args) => verify(args),
        Oms::Capabilities => capabilities(),
        Oms::SignModel(args) => sign_model(args),
        Oms::VerifyModel(args) => verify_model(args),
    }
}

fn sign(args: Sign) -> Result<u8> {
    let request = SignRequest {
        path: args.path,
        key: args.key,
        certificates: args.certificate,
        out: args.out,
        function: args.hash.into(),
        shard_size: args.shard_size,
        ignored: args.ignore,
        plain: args.plain,
    };
    let bar = Bar::new();
    let signed = oms::sign(&request, &bar)?;
    drop(bar);
    if args.format == Format::Json {
        print::json(&signed)?;
        return Ok(0);
    }
    let bundle = signed.bundle.display();
    print::line(format_args!("{}  {bundle}", signed.root))?;
    let what = if signed.resources == 1 { "resource" } else { "resources" };
    print::line(format_args!(
        "{} {what} signed by the method {} with {}",
        signed.resources, signed.method, signed.key
    ))?;
    for (what, names) in
        [("not covered", &signed.left_out), ("empty, in no shard and not protected", &signed.unprotected)]
    {
        if !names.is_empty() {
            print::line(format_args!("{what}: {}", print::foreign(&names.join(", "))))?;
        }
    }
    if signed.single {
        eprintln!(
            "note: model_signing 1.1.1 refuses bundles of a single file by its name; for its users sign the folder"
        );
    }
    if !matches!(request.function, Function::Sha256) || request.shard_size.is_some() {
        eprintln!("note: the command line of model_signing 1.1.1 verifies only sha256 without shards");
    }
    let by = if signed.method == "key" { "--key PUBLIC_KEY" } else { "--certificate-root ROOT" };
    eprintln!("next: countermark oms verify {} --signature {bundle} {by}", request.path.display());
    Ok(0)
}

fn verify(args: Verify) -> Result<u8> {
    let by = match (args.key, args.trusted_root, args.policy) {
        (Some(key), _, _) => By::Key(key),
        (_, Some(root), _) => {
            By::Sigstore { root, identity: args.identity.unwrap_or_default(), issuer: args.issuer.unwrap_or_default() }
        }
        (_, _, Some(policy)) => By::Policy(policy),
        _ => By::Certificates(args.certificate_root),
    };
    let request = VerifyRequest {
        path: args.path,
        bundle: args.signature,
        by,
        ignored: args.ignore,
        ignore_unsigned: args.ignore_unsigned,
        at: args.at,
    };
    let bar = Bar::new();
    let verdict = oms::verify(&request, &bar)?;
    drop(bar);
    match args.format {
        Format::Human => print::verdict(&verdict)?,
        Format::Json => print::json(&verdict)?,
    }
    Ok(verdict.state.exit_code())
}

fn capabilities() -> Result<u8> {
    print::json(&json!({
        "flags": ["--hash-algorithm", "--shard-size"],
        "hash_algorithms": Function::ALL.map(Function::as_str),
        "benchmark_model": false,
        "client_version": env!("CARGO_PKG_VERSION"),
    }))?;
    Ok(0)
}

fn sign_model(args: SignModel) -> Result<u8> {
    if args.method == Method::Sigstore {
        eprintln!("error: signing without a key of one's own needs live services, which are not supported");
        return Ok(UNSUPPORTED);
    }
    let Some(key) = args.private_key else { return missing("--private-key") };
    let mut request = SignRequest::new(args.model_path, key);
    if args.method == Method::Certificate {
        let Some(leaf) = args.signing_cert else { return missing("--signing-cert") };
        request.certificates = [vec![leaf], args.cert_chain].concat();
    }
    request.out = Some(args.output_bundle);
    request.ignored = args.ignore_paths;
    request.function = args.hash_algorithm.into();
    request.shard_size = args.shard_size;
    request.plain = true;
    oms::sign(&request, &countermark::silent())?;
    Ok(0)
}

fn verify_model(args: VerifyModel) -> Result<u8> {
    let by = match args.method {
        Method::Key => {
            let Some(key) = args.public_key else { return missing("--public-key") };
            By::Key(key)
        }
        Method::Certificate => By::Certificates(args.cert_chain),
        Method::Sigstore => {
            let (Some(identity), Some(issuer)) = (args.identity, args.identity_provider) else {
                return missing("--identity and --identity-provider");
            };
            let set = || std::env::var_os("COUNTERMARK_TRUSTED_ROOT").map(PathBuf::from);
            let Some(root) = args.trusted_root.or_else(set) else {
                eprintln!("error: no trusted root\nhelp: name one in COUNTERMARK_TRUSTED_ROOT; nothing is fetched");
                return Ok(UNSUPPORTED);
            };
            By::Sigstore { root, identity, issuer }
        }
    };
    let request = VerifyRequest {
        path: args.model_path,
        bundle: args.bundle,
        by,
        ignored: args.ignore_paths,
        ignore_unsigned: args.ignore_unsigned_files,
        at: None,
    };
    let verdict = oms::verify(&request, &countermark::silent())?;
    print::verdict(&verdict)?;
    Ok(verdict.state.exit_code())
}

fn missing(argument: &str) -> Result<u8> {
    Err(format!("{argument} is missing\nhelp: the method asks for it").into())
}
