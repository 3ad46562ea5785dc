//! `verify`.

use countermark::verify::{self, Request};

use crate::args::{Format, Verify};
use crate::bar::Bar;
use crate::print::{self, Result};

pub fn run(args: Verify) -> Result<u8> {
    let bar = Bar::new();
    let Verify { path, bundle, policy, require_anchor, name, format } = args;
    let request = Request { path, bundle, policy, require_anchor, name };
    let verdict = verify::verify(&request, &bar)?;
    drop(bar);
    match format {
        Format::Human => print::verdict(&verdict)?,
        Format::Json => print::json(&verdict)?,
    }
    Ok(verdict.state.exit_code())
}
