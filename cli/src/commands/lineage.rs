//! `lineage show` and `lineage graph`, of a bundle or of a store. The verbs that need a store are in `store.rs`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use countermark::io::files;
use countermark::lineage::bundle::{Bundle, MAX_BUNDLE};
use countermark::lineage::graph::query::{self, MAX_DEPTH, Walk};
use countermark::lineage::graph::render::Graph;
use countermark::lineage::verdict::printable;

use super::card::{self, Card};
use super::export::{self, Export};
use super::records;
use super::slice::{self, CheckSlice, ProveSlice};
use super::store::{self, StoreArgs};
use crate::args::Format;
use crate::print::{self, Result};

/// Ask where an artifact came from and what came from it
#[derive(Subcommand)]
pub enum Lineage {
    /// List the artifact of a bundle with its ancestors, or show a statement of a store
    #[command(after_help = "\
Examples:
  countermark lineage show model.provenance.json
  countermark lineage show 3f9a1c --store lineage.db")]
    Show(LineageShow),
    /// Draw the lineage in a bundle, or around an artifact of a store
    #[command(after_help = "\
Examples:
  countermark lineage graph model.provenance.json > lineage.svg
  countermark lineage graph --store lineage.db base --descendants --format html > base.html")]
    Graph(LineageGraph),
    Import(store::Import),
    List(store::List),
    Ancestors(store::Ancestors),
    Descendants(store::Descendants),
    Path(store::PathArgs),
    Touched(store::Touched),
    Affected(store::Affected),
    Check(store::Check),
    /// Prove that some bytes, or one tensor, belong to a file
    ProveSlice(ProveSlice),
    /// Check such a proof, without the file
    CheckSlice(CheckSlice),
    ProveRecord(records::ProveRecord),
    CheckRecord(records::CheckRecord),
    ProveAbsence(records::ProveAbsence),
    Duplicates(records::FindDuplicates),
    Export(Export),
    #[command(subcommand)]
    Card(Card),
}

#[derive(Args)]
pub struct LineageShow {
    /// A bundle; or, in a store, an id, a root or a name
    #[arg(value_name = "BUNDLE|ID")]
    pub what: PathBuf,
    #[command(flatten)]
    pub store: StoreArgs,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

#[derive(Args)]
pub struct LineageGraph {
    /// A bundle; or, in a store, an id, a root or a name
    #[arg(value_name = "BUNDLE|ID")]
    pub what: PathBuf,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Of a store: only what it was made from
    #[arg(long, conflicts_with = "descendants")]
    pub ancestors: bool,
    /// Of a store: only what was made from it
    #[arg(long)]
    pub descendants: bool,
    /// Of a store: most steps from it
    #[arg(long, value_name = "N")]
    pub depth: Option<u32>,
    /// Of a store: most artifacts to draw each way
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub limit: usize,
    #[arg(long, value_enum, default_value = "svg")]
    pub format: Picture,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Picture {
    Svg,
    Html,
    Dot,
    Mermaid,
    Json,
}

pub fn run(args: Lineage) -> Result<u8> {
    match args {
        Lineage::Show(args) => match store::word(&args.what, &args.store)? {
            Some(word) => store::show(&word, &args.store, args.format),
            None => show(&open(&args.what)?, args.format),
        },
        Lineage::Graph(args) => draw(&args),
        Lineage::Import(args) => store::import(args),
        Lineage::List(args) => store::list(args),
        Lineage::Ancestors(args) => store::ancestors(args),
        Lineage::Descendants(args) => store::descendants(args),
        Lineage::Path(args) => store::path(args),
        Lineage::Touched(args) => store::touched(args),
        Lineage::Affected(args) => store::affected(args),
        Lineage::Check(args) => store::check(args),
        Lineage::ProveSlice(args) => slice::prove(args),
        Lineage::CheckSlice(args) => slice::check(args),
        Lineage::ProveRecord(args) => records::prove_record(args),
        Lineage::CheckRecord(args) => records::check_record(args),
        Lineage::ProveAbsence(args) => records::prove_absence(args),
        Lineage::Duplicates(args) => records::duplicates(args),
        Lineage::Export(args) => export::run(args),
        Lineage::Card(args) => card::run(args),
    }
}

fn show(graph: &Graph, format: Format) -> Result<u8> {
    if format == Format::Json {
        print::json(graph)?;
        return Ok(0);
    }
    let head = ["statement", "root", "kind", "name", "from"].map(str::to_owned).to_vec();
    let mut rows = vec![head];
    for node in &graph.nodes {
        let from: Vec<String> = graph
            .edges
            .iter()
            .filter(|edge| edge.child == node.id)
            .map(|edge| format!("{} {}", edge.relation, edge.parent.short()))
            .collect();
        let kind = node.kind.map_or("not in the bundle", |kind| kind.as_str());
        let name = printable(&node.name, 255);
        rows.push(vec![node.id.short(), node.root.short(), kind.to_owned(), name, from.join(", ")]);
    }
    print::table(&rows)?;
    Ok(0)
}

fn draw(args: &LineageGraph) -> Result<u8> {
    let graph = match store::word(&args.what, &args.store)? {
        None => open(&args.what)?,
        Some(word) => {
            let Some((mut opened, selection)) = store::select(&word, &args.store)? else { return Ok(store::ABSENT) };
            let reach = |walk: Walk| Walk { depth: args.depth.unwrap_or(MAX_DEPTH), nodes: args.limit, ..walk };
            let walks: &[Walk] = match (args.ancestors, args.descendants) {
                (true, _) => &[reach(Walk::ANCESTORS)],
                (_, true) => &[reach(Walk::DESCENDANTS)],
                _ => &[reach(Walk::ANCESTORS), reach(Walk::DESCENDANTS)],
            };
            let (graph, truncated) = query::graph(&mut *opened, &selection.nodes, walks)?;
            if truncated {
                eprintln!("help: there is more than is drawn; raise --limit or --depth");
            }
            graph
        }
    };
    match args.format {
        Picture::Svg => print::text(&graph.to_svg())?,
        Picture::Html => print::text(&graph.to_html())?,
        Picture::Dot => print::text(&graph.to_dot())?,
        Picture::Mermaid => print::text(&graph.to_mermaid())?,
        Picture::Json => print::json(&graph)?,
    }
    Ok(0)
}

fn open(bundle: &Path) -> Result<Graph> {
    Ok(Graph::of(&Bundle::parse(&files::read(bundle, MAX_BUNDLE)?)?)?)
}
