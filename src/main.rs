//! Arguments, `Config`, `App`, exit code.
fn main() {}
