//! Reads and edits all that a file holds.

use countermark_formats::{Checkpoint, CodeBlock};

/// A file that opens must read to its end; whatever it holds, nothing may panic.
pub fn use_up(file: Vec<u8>) {
    let Ok(model) = Checkpoint::open(vec![("model".into(), Box::new(file))]) else { return };
    for matrix in model.matrices() {
        let Ok(rows) = model.rows(&matrix) else { continue };
        let mut edit = model.edit(matrix.tensor).expect("the tensor is in the file");
        let (mut values, mut bytes, mut block) = (Vec::new(), Vec::new(), CodeBlock::default());
        rows.values(0..matrix.rows, &mut values).expect("the rows are in the file");
        if rows.raw(0..matrix.rows, &mut bytes).is_ok() {
            edit.put_raw(&matrix, 0..matrix.rows, &bytes).expect("they fit");
        } else {
            rows.codes(0..matrix.rows, &mut block).expect("no floats, so codes");
            edit.put_codes(&matrix, 0..matrix.rows, &block.code).expect("they fit");
        }
        let mut stored = Vec::new();
        model.read(matrix.tensor, &mut stored).expect("the tensor is in the file");
        assert_eq!(edit.bytes(), stored, "what was read and put back is what was there");
    }
}
