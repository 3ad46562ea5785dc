//! `anchor serve`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use countermark::io::anchor::serve::Server;

use crate::print::{self, Result};

/// Offer a log over HTTP: its public files, and nothing else
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark anchor serve log
  countermark anchor serve log --listen 0.0.0.0:8080
Prints the URL, then serves until it is ended (Ctrl-C). The files are static: any web server, object store or repository that
offers the folder without .state does the same. For the open internet put one with TLS in front.")]
pub struct Serve {
    #[arg(value_name = "DIR")]
    log: PathBuf,
    /// Port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

pub fn run(args: &Serve) -> Result<u8> {
    let server = Server::start(&args.log, args.listen)?;
    print::line(format_args!("http://{}", server.address()))?;
    std::io::stdout().flush()?;
    server.wait()
}
