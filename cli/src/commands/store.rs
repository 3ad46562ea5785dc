//! The verbs of `lineage` that work on a store: `import`, `list`, `ancestors`, `descendants`, `path`, `touched`, `affected`,
//! `check`, and the parts of `show` and `graph` that do.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use countermark::graph;
use countermark::lineage::digest::Hash;
use countermark::lineage::graph::Node;
use countermark::lineage::graph::check::check as check_store;
use countermark::lineage::graph::query::{self, MAX_DEPTH, Reached, Walk, Walked};
use countermark::lineage::graph::select::{self, Selection};
use countermark::lineage::graph::store::{Find, Key, Page, Step, Store, VerifiedStatement};
use countermark::lineage::verdict::printable;
use serde_json::json;

use crate::args::Format;
use crate::bar::Bar;
use crate::print::{self, BOLD, DIM, RED, RESET, Result};

/// Nothing of that name, or no connection.
pub const ABSENT: u8 = 4;

#[derive(Args)]
pub struct StoreArgs {
    /// A SQLite file, or postgres://USER@HOST/DATABASE with the password in PGPASSWORD
    /// [default: $COUNTERMARK_STORE, or else lineage.db]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
}

/// Check the statements of bundles and take them into a store, all or none
#[derive(Args)]
#[command(after_help = "\
Example: countermark lineage import model.provenance.json releases/ --store lineage.db

A folder stands for every *.provenance.json below it. What is in the store already stays as it is.")]
pub struct Import {
    /// Bundles, NAME.provenance.json, or folders that hold some
    #[arg(required = true, value_name = "BUNDLE|FOLDER")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub store: StoreArgs,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// List what a store holds, or look for a root, a signer or a name
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark lineage list --name llama
  countermark lineage list ed25519:…        everything that this key signed")]
pub struct List {
    /// A root, tensors root, signer or name; everything when left out
    #[arg(value_name = "ID")]
    pub what: Option<String>,
    /// Names that begin so
    #[arg(long, value_name = "PREFIX", conflicts_with = "what")]
    pub name: Option<String>,
    /// Most rows
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Go on after this statement, the last of the page before
    #[arg(long, value_name = "STATEMENT", conflicts_with = "what")]
    pub after: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

#[derive(Args)]
pub struct WalkArgs {
    /// A statement's id, a root, or the first digits of one; or a name
    #[arg(required = true, value_name = "ID")]
    pub what: Vec<String>,
    /// Most steps away
    #[arg(long, value_name = "N")]
    pub depth: Option<u32>,
    /// Most rows to print
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: usize,
    /// Rows to leave out first, for the next page
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: usize,
    #[command(flatten)]
    pub store: StoreArgs,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// What an artifact was made from, and what that was made from
#[derive(Args)]
#[command(after_help = "Example: countermark lineage ancestors model --store lineage.db")]
pub struct Ancestors {
    #[command(flatten)]
    pub walk: WalkArgs,
}

/// What was made from an artifact, and what was made from that
#[derive(Args)]
#[command(after_help = "Example: countermark lineage descendants base --depth 2")]
pub struct Descendants {
    #[command(flatten)]
    pub walk: WalkArgs,
}

/// The shortest way from one artifact to another; exit 4 when neither comes from the other
#[derive(Args)]
#[command(after_help = "Example: countermark lineage path model data")]
pub struct PathArgs {
    /// A statement's id, a root, or the first digits of one; or a name
    #[arg(value_name = "ID")]
    pub from: String,
    /// The other one; which of the two was made from which does not matter
    #[arg(value_name = "OTHER")]
    pub to: String,
    #[command(flatten)]
    pub store: StoreArgs,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// Every model and adapter that touched a dataset or any other artifact, through any relation
#[derive(Args)]
#[command(after_help = "\
Example: countermark lineage touched data

Other statements about the same bytes count as the same artifact, at every step.")]
pub struct Touched {
    #[command(flatten)]
    pub walk: WalkArgs,
    /// Follow signed edges only, not other statements about the same bytes
    #[arg(long)]
    pub edges_only: bool,
}

/// What would be affected if a statement, an artifact, or everything that a key signed were revoked
#[derive(Args)]
#[command(after_help = "\
Examples:
  countermark lineage affected ed25519:…
  countermark lineage affected root:3f9a1c

The store says what rests on it. It revokes nothing: that is the policy's matter.")]
pub struct Affected {
    #[command(flatten)]
    pub walk: WalkArgs,
    /// Follow signed edges only, not other statements about the same bytes
    #[arg(long)]
    pub edges_only: bool,
}

/// Check every signature, row and edge of a store again; exit 1 when something is wrong
#[derive(Args)]
#[command(after_help = "Example: countermark lineage check --store lineage.db")]
pub struct Check {
    #[command(flatten)]
    pub store: StoreArgs,
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

impl StoreArgs {
    fn place(&self) -> Result<String> {
        if let Some((_, rest)) = self.store.as_deref().and_then(|place| place.split_once("://"))
            && rest.split('/').next().and_then(|host| host.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':'))
        {
            return Err("a password in an argument can be read by everybody on this machine\n\
                        help: leave it out, and set PGPASSWORD or COUNTERMARK_STORE instead"
                .into());
        }
        Ok(graph::place(self.store.as_deref()))
    }

    fn open(&self) -> Result<Box<dyn Store>> {
        Ok(graph::open(&self.place()?)?)
    }
}

/// The word to look for in a store, or nothing when `what` is a bundle. An artifact may lie here under the very name that
/// is looked for, so only what looks like JSON is taken for a bundle, and only when no store was named.
pub fn word(what: &Path, store: &StoreArgs) -> Result<Option<String>> {
    let begins_as_json = || {
        let mut first = [0];
        File::open(what).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == *b"{"
    };
    if store.store.is_none() && (what.to_string_lossy().ends_with(".json") || (what.is_file() && begins_as_json())) {
        return Ok(None);
    }
    let word = what.to_str().ok_or("the name is not UTF-8\nhelp: name it by its id")?;
    Ok(Some(word.to_owned()))
}

/// Opens the store and finds one artifact; says so when there is none.
pub fn select(word: &str, store: &StoreArgs) -> Result<Option<(Box<dyn Store>, Selection)>> {
    let mut store = store.open()?;
    let selection = select::select_artifact(&mut *store, word)?;
    if selection.nodes.is_empty() {
        return absent(word, &*store);
    }
    Ok(Some((store, selection)))
}

fn absent<T>(word: &str, store: &dyn Store) -> Result<Option<T>> {
    let (word, place) = (printable(word, 255), store.place());
    eprintln!("absent: nothing in {place} has the id, root or name {word:?}");
    eprintln!(
        "help: `countermark lineage list` shows what the store holds, and with --name PREFIX the names that begin so"
    );
    Ok(None)
}

pub fn import(args: Import) -> Result<u8> {
    let place = args.store.place()?;
    let bar = Bar::new();
    let imported = graph::import(&args.paths, &place, &bar)?;
    drop(bar);
    if args.format == Format::Json {
        print::json(&imported)?;
        return Ok(0);
    }
    let already = imported.already;
    print::line(format_args!("{} statements, {} edges; {already} known already", imported.statements, imported.edges))?;
    if imported.resolved > 0 {
        print::line(format_args!("{} of the statements were missing before", imported.resolved))?;
    }
    eprintln!("next: countermark lineage list --store {place}");
    Ok(0)
}

pub fn list(args: List) -> Result<u8> {
    let mut store = args.store.open()?;
    let nodes: Vec<(Key, Node)> = match &args.what {
        Some(what) => select::select(&mut *store, what)?.nodes.into_iter().take(args.limit as usize).collect(),
        None => {
            let find = args.name.map_or(Find::All, Find::NamePrefix);
            let after = args.after.as_deref().map(|after| after_row(&mut *store, after)).transpose()?;
            store.find(&find, &Page { after, limit: args.limit })?
        }
    };
    let counts = store.counts()?;
    if args.format == Format::Json {
        let nodes: Vec<&Node> = nodes.iter().map(|(_, node)| node).collect();
        print::json(&json!({ "store": store.place(), "counts": counts, "nodes": nodes }))?;
        return Ok(if nodes.is_empty() && args.what.is_some() { ABSENT } else { 0 });
    }
    if let (Some(what), true) = (&args.what, nodes.is_empty()) {
        absent::<()>(what, &*store)?;
        return Ok(ABSENT);
    }
    let mut rows = vec![["statement", "root", "kind", "name", "signer"].map(str::to_owned).to_vec()];
    for (_, node) in &nodes {
        let signer = node.signer.map_or(String::new(), |key| key.short());
        rows.push(vec![node.id.short(), node.root.short(), node.what().to_owned(), printable(&node.name, 255), signer]);
    }
    print::table(&rows)?;
    let (statements, edges, missing) = (counts.statements, counts.edges, counts.missing);
    eprintln!("the store holds {statements} statements and {edges} edges; {missing} parents are missing");
    if let (Some((_, last)), true) = (nodes.last(), nodes.len() == args.limit as usize) {
        eprintln!("next page: --after {}", last.id);
    }
    Ok(0)
}

fn after_row(store: &mut dyn Store, after: &str) -> Result<(String, Hash)> {
    let found = select::select(store, &format!("statement:{after}"))?;
    let (_, node) = found.nodes.into_iter().next().ok_or("--after names no statement of this store")?;
    Ok((node.name, node.id))
}

/// One statement with its signature checked, its parents and its children.
pub fn show(word: &str, args: &StoreArgs, format: Format) -> Result<u8> {
    let Some((mut store, selection)) = select(word, args)? else { return Ok(ABSENT) };
    let (mut shown, mut wrong) = (Vec::new(), false);
    for (key, node) in &selection.nodes {
        let signature = match store.statement(*key)? {
            Some((payload, signature)) => match VerifiedStatement::from_parts(&payload, &signature) {
                Ok(verified) if Node::of(verified.id(), verified.statement()) == *node => "holds".to_owned(),
                Ok(_) => "holds for something else than this row says".to_owned(),
                Err(error) => error.problem(),
            },
            None => "the statement is missing".to_owned(),
        };
        wrong |= signature != "holds" && !node.is_missing();
        let parents = store.links(Step::Parents, &[*key], 1000)?;
        let children = store.links(Step::Children, &[*key], 1000)?;
        shown.push((node, signature, parents, children));
    }
    if format == Format::Json {
        let documents: Vec<_> = shown
            .iter()
            .map(|(node, signature, parents, children)| {
                let link = |link: &countermark::lineage::graph::store::Link| {
                    json!({ "relation": link.relation, "node": link.node })
                };
                let (parents, children): (Vec<_>, Vec<_>) =
                    (parents.iter().map(link).collect(), children.iter().map(link).collect());
                json!({ "node": node, "signature": signature, "parents": parents, "children": children })
            })
            .collect();
        print::json(&documents)?;
        return Ok(u8::from(wrong));
    }
    for (node, signature, parents, children) in &shown {
        print::line(format_args!("{BOLD}{}{RESET}  {}", printable(&node.name, 255), node.what()))?;
        print::line(format_args!("  statement  {}", node.id))?;
        print::line(format_args!("  root       {}", node.root))?;
        if let Some(tensors) = node.tensors {
            print::line(format_args!("  tensors    {tensors}"))?;
        }
        if let Some(signer) = node.signer {
            print::line(format_args!("  signer     {signer}"))?;
        }
        print::line(format_args!("  signature  {}", printable(signature, 500)))?;
        for (word, links) in [("from", parents), ("into", children)] {
            for link in links {
                let relation = link.relation.map_or("", |relation| relation.as_str());
                let (id, name) = (link.node.id.short(), printable(&link.node.name, 255));
                print::line(format_args!("  {word}       {relation} {id} {name}"))?;
            }
        }
    }
    Ok(u8::from(wrong))
}

/// An open store, and where a walk begins in it.
type Start = (Box<dyn Store>, Vec<(Key, Node)>);

/// Opens the store and finds the artifacts that the words mean; each word may mean but one when `one` is set.
fn start(args: &WalkArgs, one: bool) -> Result<Option<Start>> {
    let mut store = args.store.open()?;
    let mut start: Vec<(Key, Node)> = Vec::new();
    for word in &args.what {
        let selection =
            if one { select::select_artifact(&mut *store, word)? } else { select::select(&mut *store, word)? };
        if selection.nodes.is_empty() {
            return absent(word, &*store);
        }
        for (key, node) in selection.nodes {
            if start.iter().all(|(other, _)| *other != key) {
                start.push((key, node));
            }
        }
    }
    Ok(Some((store, start)))
}

fn reach(args: &WalkArgs, walk: Walk, edges_only: bool) -> Walk {
    Walk { depth: args.depth.unwrap_or(MAX_DEPTH), same_root: walk.same_root && !edges_only, ..walk }
}

pub fn ancestors(args: Ancestors) -> Result<u8> {
    let Some((mut store, start)) = start(&args.walk, true)? else { return Ok(ABSENT) };
    answer(&args.walk, query::walk(&mut *store, &start, &reach(&args.walk, Walk::ANCESTORS, true))?)
}

pub fn descendants(args: Descendants) -> Result<u8> {
    let Some((mut store, start)) = start(&args.walk, true)? else { return Ok(ABSENT) };
    answer(&args.walk, query::walk(&mut *store, &start, &reach(&args.walk, Walk::DESCENDANTS, true))?)
}

pub fn touched(args: Touched) -> Result<u8> {
    let Some((mut store, start)) = start(&args.walk, true)? else { return Ok(ABSENT) };
    answer(&args.walk, query::touched(&mut *store, &start, &reach(&args.walk, Walk::TOUCHED, args.edges_only))?)
}

fn answer(args: &WalkArgs, walked: Walked) -> Result<u8> {
    let total = walked.reached.len();
    let page: Vec<&Reached> = walked.reached.iter().skip(args.skip).take(args.limit).collect();
    if args.format == Format::Json {
        let document = json!({
            "start": walked.start, "total": total, "truncated": walked.truncated, "reached": page,
        });
        print::json(&document)?;
        return Ok(0);
    }
    print::table(&rows(&page))?;
    more(args, total, page.len(), walked.truncated);
    Ok(0)
}

fn rows(page: &[&Reached]) -> Vec<Vec<String>> {
    let mut rows = vec![["steps", "statement", "root", "kind", "name", "how"].map(str::to_owned).to_vec()];
    for reached in page {
        let how = reached.relation.map_or("same bytes as", |relation| relation.as_str());
        rows.push(vec![
            reached.depth.to_string(),
            reached.node.id.short(),
            reached.node.root.short(),
            reached.node.what().to_owned(),
            printable(&reached.node.name, 255),
            format!("{how} {}", reached.via.short()),
        ]);
    }
    rows
}

fn more(args: &WalkArgs, total: usize, shown: usize, truncated: bool) {
    if args.skip + shown < total {
        eprintln!("{shown} of {total}; next page: --skip {}", args.skip + shown);
    } else {
        eprintln!("{total} in all");
    }
    if truncated {
        eprintln!("help: the walk stopped before its end; raise --depth, or ask about something nearer");
    }
}

pub fn path(args: PathArgs) -> Result<u8> {
    let mut store = args.store.open()?;
    let mut ends = Vec::new();
    for word in [&args.from, &args.to] {
        let selection = select::select_artifact(&mut *store, word)?;
        if selection.nodes.is_empty() {
            absent::<()>(word, &*store)?;
            return Ok(ABSENT);
        }
        ends.push(selection.nodes);
    }
    // Several statements may be about one artifact: the shortest way between any two of them.
    let mut shortest: Option<Vec<query::Hop>> = None;
    for from in ends[0].iter().take(16) {
        for to in ends[1].iter().take(16) {
            let hops = query::path(&mut *store, from, to)?;
            if let Some(hops) = hops.filter(|hops| shortest.as_ref().is_none_or(|best| hops.len() < best.len())) {
                shortest = Some(hops);
            }
        }
    }
    if args.format == Format::Json {
        print::json(&json!({ "path": shortest }))?;
        return Ok(if shortest.is_some() { 0 } else { ABSENT });
    }
    let Some(hops) = shortest else {
        eprintln!("absent: neither was made from the other\nhelp: countermark lineage ancestors {}", args.from);
        return Ok(ABSENT);
    };
    for hop in &hops {
        if let Some(relation) = hop.relation {
            print::line(format_args!("  {DIM}{relation}{RESET}"))?;
        }
        print::line(format_args!("{} {} {}", hop.node.id.short(), hop.node.what(), printable(&hop.node.name, 255)))?;
    }
    Ok(0)
}

pub fn affected(args: Affected) -> Result<u8> {
    let Some((mut store, start)) = start(&args.walk, false)? else { return Ok(ABSENT) };
    let affected = query::affected(&mut *store, &start, &reach(&args.walk, Walk::TOUCHED, args.edges_only))?;
    if args.walk.format == Format::Json {
        print::json(&affected)?;
        return Ok(0);
    }
    let (mut total, mut shown) = (0, 0);
    for group in &affected.groups {
        let node = &group.revoked;
        print::line(format_args!("{BOLD}{}{RESET} {} {}", printable(&node.name, 255), node.what(), node.id.short()))?;
        let before = total;
        total += group.made_from_it.len();
        let skip = args.walk.skip.saturating_sub(before);
        let page: Vec<&Reached> = group.made_from_it.iter().skip(skip).take(args.walk.limit - shown).collect();
        shown += page.len();
        match page.len() {
            0 => print::line(format_args!("  {DIM}{} made from it{RESET}", group.made_from_it.len()))?,
            _ => print::table(&rows(&page))?,
        }
    }
    eprintln!("{} would be revoked themselves", affected.groups.len());
    more(&args.walk, total, shown, affected.truncated);
    Ok(0)
}

pub fn check(args: Check) -> Result<u8> {
    let mut store = args.store.open()?;
    let bar = Bar::new();
    countermark::Progress::begin(&bar, "check", store.counts()?.statements);
    let checked = check_store(&mut *store, &|rows| countermark::Progress::advance(&bar, rows))?;
    drop(bar);
    let code = u8::from(checked.wrong > 0);
    if args.format == Format::Json {
        print::json(&checked)?;
        return Ok(code);
    }
    for problem in &checked.problems {
        let statement = problem.statement.map_or("the store".to_owned(), |id| id.to_string());
        print::line(format_args!("{RED}✗{RESET} {statement}: {}", problem.problem))?;
    }
    let kinds = format!("{} statements and {} edges hold", checked.statements, checked.edges);
    print::line(format_args!("{kinds}; {} parents are missing; {} wrong", checked.missing, checked.wrong))?;
    if checked.wrong > 0 {
        eprintln!("help: somebody edited the store by hand; import the bundles into a new one");
    }
    Ok(code)
}
