//! `anchor submit` and `anchor upgrade`.

use std::path::PathBuf;

use clap::Args;
use countermark::anchor::{self, Report};
use countermark::io::anchor::{Authority, Calendars, Headers, Order, State};

use super::chain::{Chain, How};
use crate::args::Format;
use crate::print::{self, BOLD, RESET, Result};

/// Have the log's checkpoint held by others: one request for everything in the log
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark anchor submit log --rfc3161 https://authority.example/tsa
  countermark anchor submit log --evm https://a.example --evm https://b.example --chain-id 1 \\
    --chain-key chain.key --contract 0x… --max-fee 20
  countermark anchor submit log --opentimestamps --bitcoin https://blockstream.info/api
  countermark anchor submit log --opentimestamps https://calendar.example --bitcoin http://127.0.0.1:8332 \
      --bitcoin-auth ~/.bitcoin/.cookie
Submitting again is harmless: what was asked for is not asked for twice. Nothing is done until `anchor upgrade` has seen it.
Exit codes: 0 all are included or final, 3 some are pending, 1 one failed.")]
pub struct Submit {
    #[arg(value_name = "DIR")]
    log: PathBuf,
    /// A time-stamping authority
    #[arg(long, value_name = "URL")]
    rfc3161: Vec<String>,
    #[command(flatten)]
    chain: Chain,
    #[command(flatten)]
    how: How,
    /// A calendar of OpenTimestamps, may be repeated; without URL the public ones
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    opentimestamps: Vec<String>,
    #[command(flatten)]
    bitcoin: Bitcoin,
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Where headers of Bitcoin come from
#[derive(Args)]
struct Bitcoin {
    /// A Bitcoin node (JSON-RPC) or an explorer (Esplora), asked for the headers of blocks
    #[arg(long = "bitcoin", value_name = "URL")]
    url: Option<String>,
    /// A file with user:password for the node, such as its .cookie
    #[arg(long = "bitcoin-auth", value_name = "FILE", requires = "url")]
    auth: Option<PathBuf>,
}

impl Bitcoin {
    fn headers(&self) -> Result<Option<Headers>> {
        Ok(self.url.as_ref().map(|url| Headers::new(url, self.auth.clone())).transpose()?)
    }
}

/// Ask what became of anchors, send again what got lost, and put what is there into bundles and notes of marks
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark anchor upgrade log model.provenance.json keys/marks
  */10 * * * * countermark anchor upgrade /srv/log /srv/releases/*.provenance.json      (in a crontab)
Exit codes: 0 all are included or final, 3 some are pending, 1 one failed.")]
pub struct Upgrade {
    #[arg(value_name = "DIR")]
    log: PathBuf,
    /// Bundles, commitment records of marks, or folders with such records
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    bitcoin: Bitcoin,
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

pub fn submit(args: &Submit) -> Result<u8> {
    let mut orders: Vec<Order> =
        args.rfc3161.iter().map(|url| Order::Rfc3161(Authority { url: url.clone() })).collect();
    orders.extend(args.chain.work(&args.how)?.map(Order::Evm));
    if !args.opentimestamps.is_empty() {
        let urls: Vec<String> = args.opentimestamps.iter().filter(|url| !url.is_empty()).cloned().collect();
        orders.push(Order::OpenTimestamps(Calendars::new(&urls, args.bitcoin.headers()?)?));
    } else if args.bitcoin.url.is_some() {
        return Err("--bitcoin says where headers come from, and nothing is asked of Bitcoin\n\
                    help: add --opentimestamps"
            .into());
    }
    if orders.is_empty() {
        let help = "add --evm URL --chain-key FILE --contract ADDRESS, --opentimestamps, or --rfc3161 URL";
        return Err(format!("nobody was named who shall hold the checkpoint\nhelp: {help}").into());
    }
    let code = report(&anchor::submit(&args.log, orders)?, args.format)?;
    if !args.chain.evm.is_empty() && code == 0 {
        eprintln!("next: countermark anchor policy {}, for the policy of whoever verifies", args.log.display());
    }
    Ok(code)
}

pub fn upgrade(args: &Upgrade) -> Result<u8> {
    if let Some(headers) = args.bitcoin.headers()? {
        anchor::take_headers_from(&args.log, &headers)?;
    }
    let reports = anchor::upgrade(&args.log)?;
    for path in &args.files {
        for attached in anchor::attach(&args.log, path)? {
            let anchors = attached.anchors;
            eprintln!("{}: {anchors} anchor{}", attached.path.display(), if anchors == 1 { "" } else { "s" });
        }
    }
    report(&reports, args.format)
}

fn report(reports: &[Report], format: Format) -> Result<u8> {
    match format {
        Format::Json => print::json(&reports)?,
        Format::Human => table(reports)?,
    }
    if reports.iter().any(|report| report.state == State::Pending) {
        eprintln!("next: countermark anchor upgrade DIR, later; pending is not anchored");
    }
    Ok(match reports.iter().map(|report| report.state).min() {
        Some(State::Failed) => 1,
        Some(State::Dropped | State::Pending) => 3,
        Some(State::Included | State::Final) | None => 0,
    })
}

/// One line for each anchor.
pub fn table(reports: &[Report]) -> Result<()> {
    for Report { size, name, state, detail, .. } in reports {
        print::line(format_args!("{size:>8}  {name:24} {BOLD}{:9}{RESET} {detail}", state.as_str()))?;
    }
    Ok(())
}
