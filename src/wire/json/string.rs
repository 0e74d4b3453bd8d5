//! JSON strings as Java writes them: what is not plainly printable is escaped, by UTF-16 unit.

use std::fmt::Write as _;

use unicode_general_category::{GeneralCategory, get_general_category};

/// Appends `text` in double quotes.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.reserve(text.len() + 2);
    out.push('"');
    let mut plain_from = 0;
    for (at, character) in text.char_indices() {
        if is_plain(character) {
            continue;
        }
        out.push_str(&text[plain_from..at]);
        write_escaped(character, out);
        plain_from = at + character.len_utf8();
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

fn is_plain(character: char) -> bool {
    match character {
        '"' | '\\' => false,
        ' '..='~' => true,
        // Java looks at one UTF-16 unit at a time, and a surrogate is in no printable category.
        '\u{10000}'.. => false,
        _ => is_printable(get_general_category(character)),
    }
}

/// Categories that the driver writes raw. Modifier letters, marks, separators of lines, formats, controls,
/// private use and unassigned are not among them.
fn is_printable(category: GeneralCategory) -> bool {
    use GeneralCategory as C;
    matches!(
        category,
        C::UppercaseLetter
            | C::LowercaseLetter
            | C::TitlecaseLetter
            | C::OtherLetter
            | C::DecimalNumber
            | C::LetterNumber
            | C::OtherNumber
            | C::SpaceSeparator
            | C::ConnectorPunctuation
            | C::DashPunctuation
            | C::OpenPunctuation
            | C::ClosePunctuation
            | C::InitialPunctuation
            | C::FinalPunctuation
            | C::OtherPunctuation
            | C::MathSymbol
            | C::CurrencySymbol
            | C::ModifierSymbol
            | C::OtherSymbol
    )
}

fn write_escaped(character: char, out: &mut String) {
    let short = match character {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("invariant: a String takes all text");
            }
            return;
        }
    };
    out.push_str(short);
}
