//! What a store answers.

use countermark_lineage::graph::query::{self, Walk};
use countermark_lineage::graph::select::{By, select, select_artifact};
use countermark_lineage::graph::store::{Find, Page};
use countermark_lineage::graph::{Kind, Relation};

use super::lab::{Draft, Place, edge, family, find, honest, import, key, make, names};

#[test]
fn ancestors_and_descendants_by_distance() {
    let family = family();
    for place in Place::all("walk") {
        let mut store = place.open();
        import(&mut *store, &family.all()).unwrap();
        import(&mut *store, &[&family.quantised]).unwrap();
        let merged = find(&mut *store, "merged");
        let up = query::walk(&mut *store, &[merged], &Walk::ANCESTORS).unwrap();
        assert_eq!(names(up.reached.iter().map(|one| &one.node)), ["left", "right", "base", "more", "data"]);
        assert_eq!(up.reached.iter().map(|one| one.depth).collect::<Vec<_>>(), [1, 1, 2, 2, 3]);
        assert_eq!(up.reached[3].relation, Some(Relation::TrainedOn));
        assert!(!up.truncated);

        let data = find(&mut *store, "data");
        let down = query::walk(&mut *store, std::slice::from_ref(&data), &Walk::DESCENDANTS).unwrap();
        assert_eq!(names(down.reached.iter().map(|one| &one.node)), ["base", "left", "quantised", "right", "merged"]);

        let near = Walk { depth: 1, ..Walk::DESCENDANTS };
        let near = query::walk(&mut *store, std::slice::from_ref(&data), &near).unwrap();
        assert!(near.truncated && names(near.reached.iter().map(|one| &one.node)) == ["base"]);
        let exact = Walk { depth: 3, ..Walk::DESCENDANTS };
        assert!(!query::walk(&mut *store, std::slice::from_ref(&data), &exact).unwrap().truncated);
        let few = Walk { nodes: 2, ..Walk::DESCENDANTS };
        let few = query::walk(&mut *store, &[data], &few).unwrap();
        assert!(few.truncated && names(few.reached.iter().map(|one| &one.node)) == ["base", "left"]);
    }
}

#[test]
fn the_shortest_path_either_way() {
    let family = family();
    for place in Place::all("path") {
        let mut store = place.open();
        import(&mut *store, &family.all()).unwrap();
        import(&mut *store, &[&family.quantised]).unwrap();
        let [merged, more, quantised, data] =
            ["merged", "more", "quantised", "data"].map(|name| find(&mut *store, name));
        for (a, b) in [(&merged, &more), (&more, &merged)] {
            let path = query::path(&mut *store, a, b).unwrap().unwrap();
            assert_eq!(names(path.iter().map(|hop| &hop.node)), ["merged", "right", "more"]);
            let relations: Vec<_> = path.iter().map(|hop| hop.relation).collect();
            assert_eq!(relations, [None, Some(Relation::MergedFrom), Some(Relation::TrainedOn)]);
        }
        assert_eq!(query::path(&mut *store, &merged, &data).unwrap().unwrap().len(), 4);
        assert!(query::path(&mut *store, &merged, &quantised).unwrap().is_none());
        assert_eq!(query::path(&mut *store, &data, &data).unwrap().unwrap().len(), 1);
    }
}

#[test]
fn every_model_that_touched_the_data_also_through_a_second_signature_over_the_bytes() {
    let family = family();
    for place in Place::all("touched") {
        let mut store = place.open();
        import(&mut *store, &family.all()).unwrap();
        // A stranger signs the base's bytes as their own, without parents, and trains on.
        let washed = make(Draft { name: "mine", kind: Kind::Model, bytes: "base", signer: 9, parents: vec![] });
        let child = make(Draft {
            name: "grandchild",
            kind: Kind::Model,
            bytes: "grandchild",
            signer: 9,
            parents: vec![edge(Relation::FineTunedFrom, &washed)],
        });
        let eval = honest("scores", Kind::Evaluation, &[(Relation::DerivedFrom, &family.base)]);
        import(&mut *store, &[&child, &washed]).unwrap();
        import(&mut *store, &[&eval]).unwrap();
        let data = find(&mut *store, "data");
        let touched = query::touched(&mut *store, std::slice::from_ref(&data), &Walk::TOUCHED).unwrap();
        let found = names(touched.reached.iter().map(|one| &one.node));
        assert_eq!(found, ["base", "left", "mine", "right", "grandchild", "merged"]);
        let washed = touched.reached.iter().find(|one| one.node.name == "mine").unwrap();
        assert_eq!((washed.relation, washed.via), (None, family.base.id));
        let by_edges = query::touched(&mut *store, &[data], &Walk::DESCENDANTS).unwrap();
        assert_eq!(names(by_edges.reached.iter().map(|one| &one.node)), ["base", "left", "right", "merged"]);
    }
}

#[test]
fn what_a_revoked_key_would_affect() {
    let family = family();
    for place in Place::all("affected") {
        let mut store = place.open();
        import(&mut *store, &family.all()).unwrap();
        let leaf = make(Draft {
            name: "leaf",
            kind: Kind::Model,
            bytes: "leaf",
            signer: 2,
            parents: vec![edge(Relation::FineTunedFrom, &family.merged)],
        });
        let top = make(Draft {
            name: "top",
            kind: Kind::Model,
            bytes: "top",
            signer: 3,
            parents: vec![edge(Relation::FineTunedFrom, &leaf)],
        });
        import(&mut *store, &[&top, &leaf]).unwrap();
        let word = countermark_lineage::credential::keys::PublicKey::from(key(2).verifying_key()).to_string();
        let selection = select(&mut *store, &word).unwrap();
        assert_eq!((selection.by, selection.nodes.len()), (By::Signer, 1));
        let affected = query::affected(&mut *store, &selection.nodes, &Walk::TOUCHED).unwrap();
        assert_eq!(affected.groups.len(), 1);
        assert_eq!(affected.groups[0].revoked.name, "leaf");
        assert_eq!(names(affected.groups[0].made_from_it.iter().map(|one| &one.node)), ["top"]);

        let two: Vec<_> = ["left", "data"].iter().map(|name| find(&mut *store, name)).collect();
        let affected = query::affected(&mut *store, &two, &Walk::TOUCHED).unwrap();
        let groups: Vec<_> = affected
            .groups
            .iter()
            .map(|group| (&*group.revoked.name, names(group.made_from_it.iter().map(|one| &one.node))))
            .collect();
        // The merge is one step from the one and three from the other, so it stands with the first.
        assert_eq!(groups, [("left", vec!["merged", "leaf", "top"]), ("data", vec!["base", "right"])]);
    }
}

#[test]
fn words_mean_ids_roots_keys_and_names() {
    let family = family();
    for place in Place::all("words") {
        let mut store = place.open();
        import(&mut *store, &family.all()).unwrap();
        let (id, root) = (family.base.id.to_string(), family.base.root.to_string());
        for word in [&*id, &id[..8], &root, &root[..8], "base", "name:base"] {
            assert_eq!(find(&mut *store, word).1.id, family.base.id, "{word}");
        }
        for word in [format!("statement:{}", &id[..7]), format!("root:{root}")] {
            assert_eq!(find(&mut *store, &word).1.id, family.base.id, "{word}");
        }
        for word in ["nothing", "abcdef0123", "statement:0000000", &"0".repeat(64)] {
            assert!(select(&mut *store, word).unwrap().nodes.is_empty(), "{word}");
        }
        for word in ["statement:xyz", "root:12", "ed25519:12", "tensors:123456", "signer:123456"] {
            assert!(select(&mut *store, word).is_err(), "{word}");
        }
        // Two statements about one root are one artifact; two artifacts of one name are not.
        let again = make(Draft { name: "copy", kind: Kind::Model, bytes: "base", signer: 4, parents: vec![] });
        let same = make(Draft { name: "base", kind: Kind::Model, bytes: "else", signer: 4, parents: vec![] });
        import(&mut *store, &[&again]).unwrap();
        import(&mut *store, &[&same]).unwrap();
        assert_eq!(select_artifact(&mut *store, &root).unwrap().nodes.len(), 2);
        let error = select_artifact(&mut *store, "base").unwrap_err().to_string();
        assert!(error.contains(&same.id.to_string()) && error.contains(&id), "{error}");
        // Somebody whose name looks like the beginning of an id does not become it.
        let liar = make(Draft { name: &id[..8], kind: Kind::Model, bytes: "liar", signer: 4, parents: vec![] });
        import(&mut *store, &[&liar]).unwrap();
        assert_eq!(find(&mut *store, &id[..8]).1.id, family.base.id);
    }
}

#[test]
fn an_ambiguous_prefix_is_refused_and_both_are_listed() {
    // Two names whose roots share six digits, found by trying.
    let mut seen = std::collections::HashMap::new();
    let (a, b) = (0..)
        .find_map(|number: u32| {
            let name = format!("n{number}");
            let root = countermark_lineage::digest::Hash::blake3(name.as_bytes()).to_string();
            seen.insert(root[..6].to_owned(), name.clone()).map(|before| (before, name))
        })
        .unwrap();
    for place in Place::all("ambiguous") {
        let mut store = place.open();
        let (a, b) = (honest(&a, Kind::Dataset, &[]), honest(&b, Kind::Dataset, &[]));
        import(&mut *store, &[&a]).unwrap();
        import(&mut *store, &[&b]).unwrap();
        let prefix = &a.root.to_string()[..6];
        let error = select(&mut *store, prefix).unwrap_err().to_string();
        assert!(error.contains(&a.id.to_string()) && error.contains(&b.id.to_string()), "{error}");
        assert_eq!(find(&mut *store, &a.root.to_string()).1.id, a.id);
    }
}

#[test]
fn a_name_of_the_last_character_does_not_hide_from_its_prefix() {
    let hidden = honest("model\u{10ffff}z", Kind::Model, &[]);
    let longest = honest(&format!("model{}", "\u{10ffff}".repeat(62)), Kind::Model, &[]);
    for place in Place::all("last_character") {
        let mut store = place.open();
        import(&mut *store, &[&hidden]).unwrap();
        import(&mut *store, &[&longest]).unwrap();
        for prefix in ["model", "model\u{10ffff}"] {
            let found = store.find(&Find::NamePrefix(prefix.to_owned()), &Page::first(10)).unwrap();
            assert_eq!(found.len(), 2, "{prefix:?}");
        }
        assert!(store.find(&Find::NamePrefix("mod%".to_owned()), &Page::first(10)).unwrap().is_empty());
    }
}

#[test]
fn pages_are_in_one_order_whatever_the_store() {
    let family = family();
    for place in Place::all("pages") {
        let mut store = place.open();
        import(&mut *store, &family.all()).unwrap();
        for name in ["Zebra", "ähnlich", "日本", "a b", "_x"] {
            import(&mut *store, &[&honest(name, Kind::Dataset, &[])]).unwrap();
        }
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = store.find(&Find::All, &Page { after: after.clone(), limit: 2 }).unwrap();
            let Some((_, last)) = page.last() else { break };
            after = Some((last.name.clone(), last.id));
            all.extend(page.into_iter().map(|(_, node)| node.name));
        }
        let expected = ["Zebra", "_x", "a b", "base", "data", "left", "merged", "more", "right", "ähnlich", "日本"];
        assert_eq!(all, expected);
        let prefix = store.find(&Find::NamePrefix("m".to_owned()), &Page::first(10)).unwrap();
        assert_eq!(names(prefix.iter().map(|(_, node)| node)), ["merged", "more"]);
        let hostile = store.find(&Find::Name("x' OR 1=1 --".to_owned()), &Page::first(10)).unwrap();
        assert!(hostile.is_empty());
    }
}
