//! Columns of tables, from their beginning.

use countermark_formats::table::{Values, sniff};
use proptest::prelude::*;

fn columns(path: &str, text: &str, whole: bool) -> Vec<(String, Values)> {
    let table = sniff(path, text.as_bytes(), whole);
    table.map_or(vec![], |table| table.columns.into_iter().map(|column| (column.name, column.values)).collect())
}

#[test]
fn columns_of_csv() {
    let text = "id,\"a \"\"b\"\"\nc\",x\r\n1,\"u,v\",2.5\r\n2,w,3\r\n";
    assert_eq!(
        columns("t.csv", "id,x\n1,2.5\n2,3\n", true),
        [("id".to_owned(), Values::Integer), ("x".to_owned(), Values::Float)]
    );
    // A line end inside of quotes is a control character in a name: not described.
    assert_eq!(columns("t.csv", text, true), []);
    assert_eq!(
        columns("t.csv", "id,\"a \"\"b\"\"\"\n1,\"u,\nv\"\n", true),
        [("id".to_owned(), Values::Integer), ("a \"b\"".to_owned(), Values::Text)]
    );
    assert_eq!(
        columns("t.csv", "id,x\n1,2\n3", false),
        [("id".to_owned(), Values::Text), ("x".to_owned(), Values::Text)]
    );
    for bad in ["", "a,a\n1,2\n", "a,b\n1\n", "a,b\n\"1,2\n", "a,\n1,2\n"] {
        assert_eq!(columns("t.csv", bad, true), [], "{bad:?}");
    }
}

#[test]
fn columns_of_json_lines() {
    let text = "{\"q\":\"a\",\"n\":1,\"b\":true}\n{\"q\":\"b\",\"n\":2.5,\"b\":false,\"late\":1}\n";
    let mut found = columns("t.jsonl", text, true);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("b", Values::Boolean), ("late", Values::Text), ("n", Values::Float), ("q", Values::Text)];
    assert_eq!(found, expected.map(|(name, values)| (name.to_owned(), values)));
    assert_eq!(columns("t.jsonl", "[1]\n", true), []);
    assert_eq!(columns("t.jsonl", "{\"a\":1}\n{\n", true), []);
}

/// One row as RFC 4180 has it.
fn row(cells: &[String]) -> String {
    let quoted: Vec<String> = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
    quoted.join(",") + "\r\n"
}

#[test]
fn codes_are_no_numbers() {
    for (cell, values) in [
        ("7", Values::Integer),
        ("-7", Values::Integer),
        ("0", Values::Integer),
        ("0.5", Values::Float),
        ("1e3", Values::Float),
        ("007", Values::Text),
        ("99999999999999999999", Values::Float),
        ("nan", Values::Text),
        ("inf", Values::Text),
        ("", Values::Text),
        (" 7", Values::Text),
    ] {
        assert_eq!(columns("t.csv", &format!("a,b\n{cell},x\n"), true)[0].1, values, "{cell:?}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[a,\"\n\r{}:1]{0,80}", whole in any::<bool>()) {
        for path in ["t.csv", "t.tsv", "t.jsonl", "t.bin"] {
            let _ = sniff(path, &bytes, whole);
            let _ = sniff(path, text.as_bytes(), whole);
        }
    }

    #[test]
    fn columns_are_those_that_were_written(
        names in prop::collection::btree_set("[a-z\",; é]{1,8}", 1..6),
        numbers in prop::collection::vec(any::<i64>(), 1..5),
        text in "[a-z\",\n;]{1,8}x",
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let mut file = row(&names);
        for number in &numbers {
            let mut cells = vec![number.to_string(); names.len()];
            cells[0] = text.clone();
            file += &row(&cells);
        }
        let found = columns("t.csv", &file, true);
        prop_assert_eq!(found.iter().map(|(name, _)| name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
        prop_assert_eq!(found[0].1, Values::Text);
        prop_assert!(found[1..].iter().all(|(_, values)| *values == Values::Integer));
        // Cut anywhere, nothing is claimed of values that were not seen.
        for cut in 0..file.len() {
            let seen = sniff("t.csv", &file.as_bytes()[..cut], false);
            prop_assert!(seen.is_none_or(|table| table.columns.iter().all(|column| column.values == Values::Text)));
        }
    }
}
