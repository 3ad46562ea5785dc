//! Front matter: what is read, what is refused because it could be read in two ways, and edits that change nothing else.

use countermark_formats::front_matter::{Change, FrontMatter, Value};
use proptest::prelude::*;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn list(items: &[&str]) -> Value {
    Value::List(items.iter().map(|item| (*item).to_owned()).collect())
}

const CARD: &str = "---\n# about us\nlicense: mit   # as the code\nbase_model:\n  - a/b\n  # the second\n  - 'c/d'\n\
                    datasets: [x/y, \"z\"]\nmodel-index:\n- name: m\n  results:\n  - {task: {type: t}, value: 1}\n\
                    empty:\nfolded: >-\n  one\n  two\n---\n# Body\n\n---\nnot front matter\n";

#[test]
fn fields_of_every_shape() {
    let front = FrontMatter::parse(CARD).unwrap();
    assert_eq!(front.get("license"), Some(&text("mit")));
    assert_eq!(front.get("base_model"), Some(&list(&["a/b", "c/d"])));
    assert_eq!(front.get("datasets"), Some(&list(&["x/y", "z"])));
    assert_eq!(front.get("model-index"), Some(&Value::Other));
    assert_eq!(front.get("empty"), Some(&Value::Null));
    assert_eq!(front.get("folded"), Some(&text("one two")));
    assert_eq!(front.get("absent"), None);
    assert_eq!(front.keys().count(), 6);
    for card in ["", "# Body\n", "no dashes", "----\na: b\n----\n", "text\n---\na: b\n---\n"] {
        assert_eq!(FrontMatter::parse(card).unwrap().keys().count(), 0, "{card:?}");
    }
    let windows = FrontMatter::parse("---\r\na: b\r\nc:\r\n- d\r\n---\r\n").unwrap();
    assert_eq!((windows.get("a"), windows.get("c")), (Some(&text("b")), Some(&list(&["d"]))));
    let other =
        FrontMatter::parse("---\nname: Grüße 😀\nq: \"a\\u00e9\\n\"\n\"k\": {x: 1}\nn: ~\nv: 1.0\n---").unwrap();
    assert_eq!(other.get("name"), Some(&text("Grüße 😀")));
    assert_eq!(other.get("q"), Some(&text("aé\n")));
    assert_eq!((other.get("k"), other.get("n")), (Some(&Value::Other), Some(&Value::Null)));
    assert_eq!(other.get("v"), Some(&text("1.0")));
}

#[test]
fn whatever_could_be_read_in_two_ways_is_refused() {
    let deep = format!("---\na: {}\n---\n", "[".repeat(100_000));
    let nested = format!("---\na:\n{}\n---\n", (0..1000).map(|n| format!("{}- \n", " ".repeat(n))).collect::<String>());
    let long = format!("---\na: \"{}\"\n---\n", "x".repeat((1 << 20) + 1));
    for (card, reason) in [
        ("---\na: 1\na: 2\n---\n", "twice"),
        ("---\nx: {a: 1, a: 2}\n---\n", "twice"),
        ("---\na: &x [1]\nb: 2\n---\n", "anchor"),
        ("---\na: 1\nb: *a\n---\n", ""),
        ("---\na: !!python/object:os.system x\n---\n", "tag"),
        ("---\na: !x y\n---\n", "tag"),
        ("---\n<<: {base_model: x}\n---\n", "merge"),
        ("---\na: 1\n--- \nb: 2\n---\n", "second"),
        ("---\na: 1\n...\nb: 2\n---\n", ""),
        ("---\n- a\n---\n", "field: value"),
        ("---\nplain\n---\n", "field: value"),
        ("---\n? [a]\n: b\n---\n", "key"),
        ("---\na: mit\u{2028}base_model: x\n---\n", "line end"),
        ("---\na: mit\u{85}base_model: x\n---\n", "control"),
        ("---\na: mit\rbase_model: x\n---\n", "carriage return"),
        ("---\na: \u{0}\n---\n", "control"),
        ("---\na: 1\n", "never closed"),
        ("---\na: 1\n ---\n", "never closed"),
        ("---\n---\na: 1\n---\n", "empty"),
        ("---\n---\n", "empty"),
        ("\n---\na: 1\n---\n", "first byte"),
        ("  ---\na: 1\n---\n", "first byte"),
        ("\u{feff}---\na: 1\n---\n", "first byte"),
        ("---\na: [1\n---\n", ""),
        ("---\na: b: c\n---\n", ""),
        (&deep, "recursion limit"),
        (&nested, "deep"),
        (&long, "1 MiB"),
    ] {
        let start = std::time::Instant::now();
        let error = FrontMatter::parse(card).expect_err(&card[..card.len().min(60)]);
        assert!(error.to_string().contains(reason), "{:?}: {error}", &card[..card.len().min(60)]);
        assert!(start.elapsed().as_secs() < 5, "{:?}", &card[..card.len().min(60)]);
    }
    let error = FrontMatter::parse("---\nok: 1\nbad: 1\nbad: 2\n---\n").unwrap_err();
    assert_eq!(error.line, 4);
}

#[test]
fn dashes_that_only_some_readers_take_for_front_matter_are_refused() {
    for card in ["--- \na: 1\n---\n", "---\t\na: 1\n---\n", "\n--- \r\na: 1\n---\n", "---yaml\na: 1\n---\n"] {
        let error = FrontMatter::parse(card).expect_err(card);
        assert!(error.to_string().contains("---"), "{card:?}: {error}");
    }
    // Some readers end the front matter at any line that begins with dashes.
    for card in ["---\na: 1\n----\nb: 2\n---\n", "---\na: 1\n---x: 1\nb: 2\n---\n"] {
        assert!(FrontMatter::parse(card).is_err(), "{card:?}");
    }
    assert!(FrontMatter::parse("----\n# A rule above the title\n").is_ok());
}

#[test]
fn keys_without_a_colon_take_no_quadratic_time() {
    let keys: String = (0..115_000).map(|n| format!("? {n:05}\n")).collect();
    let start = std::time::Instant::now();
    let front = FrontMatter::parse(&format!("---\n{keys}---\n")).unwrap();
    assert_eq!(front.keys().count(), 115_000);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    // Nor does the next field's colon belong to one.
    let card = "---\n? a\nbase_model: x\n---\n";
    let edited = FrontMatter::parse(card).unwrap().edit(card, &[("base_model", Change::Text("new".into()))]).unwrap();
    assert_eq!(edited, "---\n? a\nbase_model: new\n---\n");
}

#[test]
fn an_edit_changes_one_field_and_nothing_else() {
    let front = FrontMatter::parse(CARD).unwrap();
    let edit = |changes: &[(&str, Change)]| front.edit(CARD, changes).unwrap();
    let to = |text: &str| Change::Text(text.to_owned());
    assert_eq!(edit(&[("license", to("apache-2.0"))]), CARD.replace("mit ", "apache-2.0 "));
    assert_eq!(
        edit(&[("base_model", to("e/f"))]),
        CARD.replace("base_model:\n  - a/b\n  # the second\n  - 'c/d'\n", "base_model: e/f\n")
    );
    // What says the same already stays as it is written.
    let same = Change::List(vec!["a/b".into(), "c/d".into()]);
    assert_eq!(edit(&[("base_model", same), ("absent", Change::Remove)]), CARD);
    assert_eq!(edit(&[("empty", to("no"))]), CARD.replace("empty:\n", "empty: \"no\"\n"));
    assert_eq!(edit(&[("license", Change::Remove)]), CARD.replace("license: mit   # as the code\n", ""));
    let added = edit(&[("tags", Change::List(vec!["a: b".into(), "c".into()]))]);
    assert_eq!(added, CARD.replace("  two\n---\n", "  two\ntags:\n- \"a: b\"\n- c\n---\n"));

    let plain = FrontMatter::parse("# Body\n").unwrap();
    assert_eq!(plain.edit("# Body\n", &[("a", to("b"))]).unwrap(), "---\na: b\n---\n\n# Body\n");
    assert_eq!(plain.edit("# Body\n", &[("a", Change::Remove)]).unwrap(), "# Body\n");
    let only = "---\na: b\n---\n# Body\n";
    assert_eq!(FrontMatter::parse(only).unwrap().edit(only, &[("a", Change::Remove)]).unwrap(), "# Body\n");
    let windows = "---\r\na: b\r\n---\r\nbody\r\n";
    let edited = FrontMatter::parse(windows).unwrap().edit(windows, &[("c", to("d"))]).unwrap();
    assert_eq!(edited, "---\r\na: b\r\nc: d\r\n---\r\nbody\r\n");
    for braces in ["---\n{a: b}\n---\n", "---\n{a: b,\nc: d}\n---\n"] {
        let front = FrontMatter::parse(braces).unwrap();
        assert!(front.edit(braces, &[("a", to("x"))]).unwrap_err().to_string().contains("braces"));
    }
}

/// Text that is hard on YAML: its own signs, words that mean something, numbers, and any other letter.
fn hard() -> impl Strategy<Value = String> {
    let sign = prop::sample::select(" :#-?[]{},&*!|>'\"%@`\\/=<~.0123456789abénoyesul".chars().collect::<Vec<_>>());
    let any = any::<char>().prop_filter("no control characters", |c| !c.is_control());
    let words =
        ["no", "y", "null", "~", "1e3", "0x1F", "1:30", "2020-01-01", ".inf", "true", "---", "...", "- a", "a: b"];
    prop_oneof![
        prop::collection::vec(prop_oneof![4 => sign, 1 => any], 1..40).prop_map(String::from_iter),
        prop::sample::select(words.to_vec()).prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn no_card_panics(card in ".{0,200}", yaml in hard()) {
        let _ = FrontMatter::parse(&card);
        let _ = FrontMatter::parse(&format!("---\n{yaml}\n---\n"));
        let _ = FrontMatter::parse(&format!("---\na: {yaml}\nb:\n{yaml}\n---\n{card}"));
    }

    #[test]
    fn any_text_is_written_and_read_as_itself(one in hard(), many in prop::collection::vec(hard(), 0..5), body in ".{0,60}") {
        for card in [CARD.to_owned(), format!("---\nlicense: mit\n---\n{body}"), "x\n".to_owned()] {
            let front = FrontMatter::parse(&card).unwrap();
            let changes = [("license", Change::Text(one.clone())), ("tags", Change::List(many.clone()))];
            let edited = front.edit(&card, &changes).unwrap();
            let again = FrontMatter::parse(&edited).unwrap();
            prop_assert_eq!(again.get("license"), Some(&Value::Text(one.clone())));
            prop_assert_eq!(again.get("tags"), Some(&Value::List(many.clone())));
            prop_assert_eq!(again.get("base_model"), front.get("base_model"));
            let body = &card[card.find("\n---\n").map_or(0, |at| at + 5)..];
            prop_assert!(edited.ends_with(body));
        }
    }

    /// Whatever the card, an edit either fails or leaves every line of the other fields standing.
    #[test]
    fn an_edit_of_any_card_leaves_the_other_lines(values in prop::collection::vec(hard(), 1..5)) {
        let fields: String = values.iter().enumerate().map(|(n, value)| format!("k{n}: {value}\n")).collect();
        let card = format!("---\n{fields}last: x # kept\n---\nbody\n");
        let Ok(front) = FrontMatter::parse(&card) else { return Ok(()) };
        let Ok(edited) = front.edit(&card, &[("k0", Change::Text("new".into()))]) else { return Ok(()) };
        let again = FrontMatter::parse(&edited).unwrap();
        prop_assert_eq!(again.get("k0"), Some(&text("new")));
        prop_assert!(edited.ends_with("last: x # kept\n---\nbody\n"));
        for key in front.keys().filter(|key| *key != "k0") {
            prop_assert_eq!(again.get(key), front.get(key));
        }
    }
}
