//! `sign`.

use countermark::lineage::graph::statement::Process;
use countermark::sign::{self, Request};

use crate::args::{Format, Sign};
use crate::bar::Bar;
use crate::print::{self, Result};

pub fn run(args: Sign) -> Result<u8> {
    let process = (!args.parameters.is_empty() || args.revision.is_some())
        .then(|| Process { parameters: args.parameters.into_iter().collect(), revision: args.revision });
    let request = Request {
        path: args.path,
        key: args.key,
        parents: args.parents,
        log: args.log,
        out: args.out,
        kind: args.kind,
        marks: args.marks,
        process,
    };
    let bar = Bar::new();
    let signed = sign::sign(&request, &bar)?;
    drop(bar);
    if args.format == Format::Json {
        print::json(&signed)?;
        return Ok(0);
    }
    print::line(format_args!("root       {}", signed.root))?;
    print::line(format_args!("statement  {}", signed.statement))?;
    print::line(format_args!("bundle     {}", signed.bundle.display()))?;
    print::line(format_args!("manifest   {}", signed.manifest.display()))?;
    match &signed.log {
        Some(log) => print::line(format_args!("log        entry {} of {}", log.index, log.vkey))?,
        None => eprintln!("help: add --log DIR to log the release"),
    }
    eprintln!("next: countermark verify {} --policy policy.toml", request.path.display());
    Ok(0)
}
