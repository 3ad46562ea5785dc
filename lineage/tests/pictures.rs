//! Pictures of lineages: nothing overlaps, parents are above, and names from strangers stay text.
//!
//! With `COUNTERMARK_PICTURES=DIR` the pictures are also written there, to be looked at.

use std::collections::{BTreeMap, BTreeSet};

use countermark_lineage::digest::Hash;
use countermark_lineage::graph::{Edge, Graph, Kind, Node, Relation};
use proptest::prelude::*;

fn node(number: usize, name: &str, kind: Option<Kind>) -> Node {
    let id = Hash::sha256(&number.to_be_bytes());
    Node { kind, marked: kind == Some(Kind::Model) && number % 7 == 1, ..Node::missing(id, name, Hash::blake3(&id.0)) }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ mixed >> 27) >> 8) as usize % bound
    }
}

/// A family as hubs show them: data, a few bases, many fine-tunes, adapters, quantisations, some merges.
fn family(count: usize) -> Graph {
    use Relation::{AdapterOf, DerivedFrom, FineTunedFrom, MergedFrom, QuantisedFrom, TrainedOn};
    let mut random = Random(count as u64);
    let mut graph = Graph::default();
    let bases = 1 + count / 60;
    for number in 0..count {
        let edge = |graph: &mut Graph, parent: usize, relation| {
            let (child, parent) = (Hash::sha256(&number.to_be_bytes()), graph.nodes[parent].id);
            graph.edges.push(Edge { child, parent, relation });
        };
        let pick = |graph: &Graph, random: &mut Random, wanted: Kind| {
            let fits: Vec<usize> = (0..graph.nodes.len()).filter(|&at| graph.nodes[at].kind == Some(wanted)).collect();
            // Older models have more children, as everywhere.
            (!fits.is_empty()).then(|| fits[random.below(fits.len()).min(random.below(fits.len()))])
        };
        let kind = if number < bases {
            Kind::Dataset
        } else if number < bases * 2 {
            Kind::Model
        } else {
            [Kind::Model, Kind::Model, Kind::Model, Kind::Model, Kind::Adapter, Kind::Dataset, Kind::Evaluation]
                [random.below(7)]
        };
        match kind {
            Kind::Model if number < bases * 2 => edge(&mut graph, number - bases, TrainedOn),
            Kind::Model => {
                let relation = [FineTunedFrom, FineTunedFrom, QuantisedFrom, MergedFrom][random.below(4)];
                let first = pick(&graph, &mut random, Kind::Model).unwrap();
                edge(&mut graph, first, relation);
                let other = pick(&graph, &mut random, Kind::Model).unwrap();
                if relation == MergedFrom && other != first {
                    edge(&mut graph, other, relation);
                }
                if relation == FineTunedFrom && random.below(3) == 0 {
                    let data = pick(&graph, &mut random, Kind::Dataset).unwrap();
                    edge(&mut graph, data, TrainedOn);
                }
            }
            Kind::Adapter => {
                let base = pick(&graph, &mut random, Kind::Model).unwrap();
                edge(&mut graph, base, AdapterOf);
            }
            Kind::Evaluation => {
                let base = pick(&graph, &mut random, Kind::Model).unwrap();
                edge(&mut graph, base, DerivedFrom);
            }
            _ => {}
        }
        let name = format!("{}-{number}", ["llama-chat", "smol", "corpus", "vision-encoder-large-patch14"][number % 4]);
        let known = if number % 23 == 5 { None } else { Some(kind) };
        graph.nodes.push(node(number, &name, known.filter(|_| kind == Kind::Dataset).or(Some(kind))));
    }
    graph
}

/// One base with everything made from it directly.
fn star(count: usize) -> Graph {
    let nodes: Vec<Node> =
        (0..count).map(|number| node(number, &format!("child-{number}"), Some(Kind::Model))).collect();
    let edges = nodes[1..]
        .iter()
        .map(|child| Edge { child: child.id, parent: nodes[0].id, relation: Relation::FineTunedFrom })
        .collect();
    Graph { nodes, edges }
}

/// The middle and about the top of each box, by statement id: from where its name stands.
fn boxes(svg: &str) -> BTreeMap<String, (f64, f64)> {
    let number = |text: &str, before: &str| -> f64 {
        text.split_once(before).unwrap().1.split('"').next().unwrap().parse().unwrap()
    };
    svg.split("<g class=\"node ")
        .skip(1)
        .filter(|part| part.contains("class=\"name"))
        .map(|part| {
            let id = part.split_once("statement ").map(|(_, rest)| rest.get(..64).unwrap().to_owned());
            let id = id.filter(|id| Hash::parse(id).is_some());
            let id = id.unwrap_or_else(|| part.rsplit_once("\nstatement ").unwrap().1[..64].to_owned());
            let name = part.split_once("class=\"name").unwrap().1;
            (id, (number(name, "x=\""), number(name, "y=\"") - 27.0))
        })
        .collect()
}

fn look(name: &str, graph: &Graph) {
    if let Ok(folder) = std::env::var("COUNTERMARK_PICTURES") {
        std::fs::create_dir_all(&folder).unwrap();
        for (ending, text) in
            [("svg", graph.to_svg()), ("html", graph.to_html()), ("dot", graph.to_dot()), ("mmd", graph.to_mermaid())]
        {
            std::fs::write(format!("{folder}/{name}.{ending}"), text).unwrap();
        }
    }
}

fn is_tidy(graph: &Graph) {
    let svg = graph.to_svg();
    let boxes = boxes(&svg);
    assert_eq!(boxes.len(), graph.nodes.len());
    let places: Vec<(f64, f64)> = boxes.values().copied().collect();
    for (at, a) in places.iter().enumerate() {
        for b in &places[at + 1..] {
            assert!((a.0 - b.0).abs() >= 190.0 || (a.1 - b.1).abs() >= 70.0, "boxes at {a:?} and {b:?} overlap");
        }
    }
    for edge in &graph.edges {
        let (parent, child) = (boxes[&edge.parent.to_string()], boxes[&edge.child.to_string()]);
        assert!(parent.1 < child.1, "a parent stands below its child");
    }
}

#[test]
fn pictures_of_ten_sixty_and_five_hundred_are_tidy() {
    for (name, graph) in [
        ("family-10", family(10)),
        ("family-60", family(60)),
        ("family-500", family(500)),
        ("star-500", star(500)),
        ("star-40", star(40)),
    ] {
        look(name, &graph);
        is_tidy(&graph);
        assert_eq!(graph.to_svg(), graph.to_svg(), "a picture is the same each time");
    }
}

#[test]
fn a_long_chain_with_shortcuts_is_drawn_in_time() {
    let nodes: Vec<Node> = (0..10_000).map(|number| node(number, "x", Some(Kind::Model))).collect();
    let mut edges = Vec::new();
    for at in 1..nodes.len() {
        for back in [1, 2, 50, 5000] {
            if let Some(parent) = at.checked_sub(back) {
                edges.push(Edge { child: nodes[at].id, parent: nodes[parent].id, relation: Relation::DerivedFrom });
            }
        }
    }
    let since = std::time::Instant::now();
    let svg = Graph { nodes, edges }.to_svg();
    assert!(since.elapsed().as_secs() < 30, "{:?}", since.elapsed());
    assert!(svg.len() < 100 << 20);
}

#[test]
fn cycles_and_edges_to_nowhere_are_drawn() {
    let nodes: Vec<Node> = (0..4).map(|number| node(number, "x", Some(Kind::Model))).collect();
    let mut edges = Vec::new();
    for a in 0..4 {
        for b in 0..4 {
            edges.push(Edge { child: nodes[a].id, parent: nodes[b].id, relation: Relation::DerivedFrom });
        }
    }
    edges.push(Edge { child: nodes[0].id, parent: Hash([9; 32]), relation: Relation::DerivedFrom });
    let graph = Graph { nodes, edges };
    assert_eq!(boxes(&graph.to_svg()).len(), 4);
    graph.to_html();
    let empty = Graph::default();
    assert!(empty.to_svg().contains("Empty lineage") && empty.to_html().contains("Empty lineage"));
}

#[test]
fn no_picture_loads_anything() {
    let graph = family(60);
    for text in [graph.to_svg(), graph.to_html()] {
        let without_namespace = text.replace("http://www.w3.org/2000/svg", "");
        for word in ["http:", "https:", "src=", "@import", "url(h", "href", "<foreignObject", "<iframe", "<image"] {
            assert!(!without_namespace.contains(word), "{word}");
        }
    }
    let page = graph.to_html();
    let policy = page.split_once("Content-Security-Policy\" content=\"").unwrap().1.split('"').next().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    // The hash is that of the one script that may run.
    let script = page.rsplit_once("<script>").unwrap().1.split("</script>").next().unwrap();
    let hash = {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(Hash::sha256(script.as_bytes()).0)
    };
    assert!(policy.contains(&format!("script-src 'sha256-{hash}'")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The elements of a picture do not depend on what things are called.
    #[test]
    fn a_name_stays_text(name in "\\PC{1,40}|[<>&\"'`;#\\\\\\[\\](){}|\\-/!a-z ]{1,60}|</(title|script|text|svg)><script>alert\\(1\\)</script>|\\]\\]>|<!--|\"\\];") {
        let draw = |name: &str| {
            let mut graph = family(10);
            graph.nodes[3].name = name.to_owned();
            graph
        };
        let (plain, hostile) = (draw("x"), draw(&name));
        let tags = |text: &str| text.matches('<').count();
        let quotes = |text: &str| text.matches('"').count();
        prop_assert_eq!(tags(&plain.to_svg()), tags(&hostile.to_svg()));
        prop_assert_eq!(quotes(&plain.to_svg()), quotes(&hostile.to_svg()));
        prop_assert_eq!(tags(&plain.to_html()), tags(&hostile.to_html()));
        prop_assert!(!hostile.to_html().contains("<script>alert"));
        // Mermaid: nothing but letters, digits, blanks and numbered signs in the label.
        let (plain, hostile) = (plain.to_mermaid(), hostile.to_mermaid());
        prop_assert_eq!(plain.lines().count(), hostile.lines().count());
        for sign in ["[\"", "\"]", "<", ">", "`"] {
            prop_assert_eq!(plain.matches(sign).count(), hostile.matches(sign).count());
        }
    }

    /// DOT read back by its own rule for quoted strings gives the name.
    #[test]
    fn a_name_comes_back_out_of_dot(name in "[^\\p{C}\\p{Z}]{1,40}|[\\\\\"a n]{1,20}") {
        let mut graph = family(10);
        graph.nodes[0].name = name.clone();
        let dot = graph.to_dot();
        let label = dot.lines().find(|line| line.contains("[label=") && line.contains(&graph.nodes[0].id.to_string())).unwrap();
        let text = label.split_once("[label=\"").unwrap().1;
        let (mut read, mut signs) = (String::new(), text.chars());
        loop {
            match signs.next() {
                Some('\\') => match signs.next().unwrap() {
                    'n' => read.push('\n'),
                    c => read.push(c),
                },
                Some('"') => break,
                Some(c) => read.push(c),
                None => prop_assert!(false, "the string does not end"),
            }
        }
        prop_assert_eq!(signs.as_str(), "];");
        let expected = countermark_lineage::verdict::printable(&name, 255);
        prop_assert_eq!(read.split('\n').next().unwrap(), expected);
    }
}

#[test]
fn every_kind_and_relation_has_its_look() {
    let mut graph = Graph::default();
    for (number, kind) in Kind::ALL.iter().map(|kind| Some(*kind)).chain([None]).enumerate() {
        graph.nodes.push(node(number, kind.map_or("missing", Kind::as_str), kind));
    }
    for (number, relation) in Relation::ALL.iter().enumerate() {
        let child = node(100 + number, relation.as_str(), Some(Kind::Model));
        graph.edges.push(Edge { child: child.id, parent: graph.nodes[number % 8].id, relation: *relation });
        graph.nodes.push(child);
    }
    look("words", &graph);
    is_tidy(&graph);
    let svg = graph.to_svg();
    for word in Kind::ALL.iter().map(|kind| kind.as_str()).chain(Relation::ALL.iter().map(|relation| relation.as_str()))
    {
        assert!(
            svg.contains(&format!(".{word}")) && svg.contains(&format!(">{word}</text>")),
            "{word} has no style or no word"
        );
    }
    let looks: BTreeSet<&str> =
        svg.lines().filter(|line| line.starts_with(".edge.") && line.contains("width")).collect();
    assert_eq!(looks.len(), Relation::ALL.len());
}
