//! `lineage show` and `lineage graph`; the other verbs of lineage stand in files of their own.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use countermark::io::files;
use countermark::lineage::bundle::{Bundle, MAX_BUNDLE};
use countermark::lineage::graph::render::Graph;

use super::card::{self, Card};
use super::export::{self, Export};
use crate::args::Format;
use crate::print::{self, Result};

/// Look at the lineage in a bundle
#[derive(Subcommand)]
pub enum Lineage {
    /// List the artifact and its ancestors
    Show(LineageShow),
    /// Draw the lineage
    #[command(after_help = "Example: countermark lineage graph model.provenance.json --format svg > lineage.svg")]
    Graph(LineageGraph),
    Export(Export),
    #[command(subcommand)]
    Card(Card),
}

#[derive(Args)]
pub struct LineageShow {
    pub bundle: PathBuf,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

#[derive(Args)]
pub struct LineageGraph {
    pub bundle: PathBuf,
    #[arg(long, value_enum, default_value = "svg")]
    pub format: Picture,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Picture {
    Svg,
    Dot,
    Mermaid,
    Json,
}

pub fn run(args: Lineage) -> Result<u8> {
    match args {
        Lineage::Show(args) => {
            let graph = open(&args.bundle)?;
            if args.format == Format::Json {
                print::json(&graph)?;
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
                rows.push(vec![
                    node.id.short(),
                    node.root.short(),
                    kind.to_owned(),
                    node.name.clone(),
                    from.join(", "),
                ]);
            }
            print::table(&rows)?;
        }
        Lineage::Card(args) => return card::run(args),
        Lineage::Export(args) => return export::run(args),
        Lineage::Graph(args) => {
            let graph = open(&args.bundle)?;
            match args.format {
                Picture::Svg => print::text(&graph.to_svg())?,
                Picture::Dot => print::text(&graph.to_dot())?,
                Picture::Mermaid => print::text(&graph.to_mermaid())?,
                Picture::Json => print::json(&graph)?,
            }
        }
    }
    Ok(0)
}

fn open(bundle: &std::path::Path) -> Result<Graph> {
    Ok(Graph::of(&Bundle::parse(&files::read(bundle, MAX_BUNDLE)?)?)?)
}
