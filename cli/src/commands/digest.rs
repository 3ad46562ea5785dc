//! `digest` and `diff`.

use countermark::digest::{self, Options};
use countermark::lineage::digest::listing::Listing;

use crate::args::{Diff, Digest, Format};
use crate::bar::Bar;
use crate::print::{self, Result};

pub fn digest(args: Digest) -> Result<u8> {
    let options = Options { tensors: args.tensors, sha256: args.sha256 };
    let bar = Bar::new();
    let digest = digest::digest(&args.path, options, &bar)?;
    drop(bar);
    if args.listing {
        print::text(&Listing::new(digest.files)?.to_text())?;
        return Ok(0);
    }
    if args.format == Format::Json {
        print::json(&digest)?;
        return Ok(0);
    }
    print::line(format_args!("{}  {}", digest.root, args.path.display()))?;
    if let Some(sha256) = &digest.sha256 {
        print::line(format_args!("sha256   {sha256}"))?;
    }
    if let Some(card) = &digest.card {
        print::line(format_args!("card     {card}"))?;
    }
    if let Some(tensors) = &digest.tensors {
        print::line(format_args!("tensors  {}", tensors.root))?;
        for tensor in &tensors.list {
            print::line(format_args!("{}  {} {:?} {}", tensor.blake3, tensor.dtype, tensor.shape, tensor.name))?;
        }
    }
    Ok(0)
}

/// Exit 0 when nothing differs, 1 when something does, as `diff` and `cmp` do.
pub fn diff(args: Diff) -> Result<u8> {
    let bar = Bar::new();
    let diff = digest::diff(&args.first, &args.second, &bar)?;
    drop(bar);
    let code = u8::from(!diff.identical);
    if args.format == Format::Json {
        print::json(&diff)?;
        return Ok(code);
    }
    if diff.identical {
        print::line("identical")?;
        return Ok(0);
    }
    let rows =
        [("only in first", &diff.only_in_first), ("only in second", &diff.only_in_second), ("changed", &diff.changed)];
    for (what, paths) in rows {
        for path in paths {
            print::line(format_args!("{what}: {path}"))?;
        }
    }
    let mut rows = vec![vec!["tensor".to_owned(), "change".to_owned(), "drift".to_owned()]];
    for tensor in diff.tensors.iter().filter(|tensor| tensor.change != "identical") {
        let drift = tensor.drift.map_or_else(String::new, |drift| format!("{drift:.6}"));
        rows.push(vec![tensor.name.clone(), tensor.change.to_owned(), drift]);
    }
    if rows.len() > 1 {
        print::table(&rows)?;
    }
    let same = diff.tensors.len() + 1 - rows.len();
    if same > 0 {
        print::line(format_args!("{same} tensors identical"))?;
    }
    Ok(code)
}
