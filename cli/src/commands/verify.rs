//! `verify`.

use countermark::verify::{self, Request};

use crate::args::{Format, Verify};
use crate::bar::Bar;
use crate::print::{self, Result};

pub fn run(args: Verify) -> Result<u8> {
    let bar = Bar::new();
    let request =
        Request { path: args.path, bundle: args.bundle, policy: args.policy, require_anchor: args.require_anchor };
    let verdict = verify::verify(&request, &bar)?;
    drop(bar);
    match args.format {
        Format::Human => print::verdict(&verdict)?,
        Format::Json => print::json(&verdict)?,
    }
    Ok(verdict.state.exit_code())
}
