//! Wanted against found: exact, but for masks.

use regex::Regex;

use super::case::{ANSWERS, Case};
use crate::support::json::Json;

/// Returns what differs, in words; nothing if the answers are the wanted ones or one of the case's `or`.
pub(crate) fn differences(case: &Case, got: &Json, host: &str) -> Vec<String> {
    let first = compare(&case.json, got, host);
    if first.is_empty() {
        return first;
    }
    let accepted = case.steps("or").iter().any(|alternative| {
        let mut other = case.json.clone();
        for (key, value) in alternative.fields() {
            match value {
                // An answer that does not belong to this alternative, such as the frames of a refused session.
                Json::Text(text) if text == ABSENT => drop(other.remove(key)),
                _ => other.set(key, value.clone()),
            }
        }
        compare(&other, got, host).is_empty()
    });
    if accepted { Vec::new() } else { first }
}

fn compare(want: &Json, got: &Json, host: &str) -> Vec<String> {
    let mut found = Differences {
        host,
        is_unordered: want.field("unordered") == Some(&Json::Bool(true)),
        list: Vec::new(),
    };
    for key in ANSWERS {
        let absent = Json::from(ABSENT);
        let (want, got) = (want.field(key), got.field(key));
        if want.is_some() || got.is_some() {
            found.compare(key, want.unwrap_or(&absent), got.unwrap_or(&absent));
        }
    }
    found.list
}

struct Differences<'a> {
    host: &'a str,
    is_unordered: bool,
    list: Vec<String>,
}

impl Differences<'_> {
    fn compare(&mut self, path: &str, want: &Json, got: &Json) {
        let is_bag = self.is_unordered && (path.ends_with("frames") || path.ends_with("sse"));
        if same(want, got, self.host) || is_bag && same_bag(want, got, self.host) {
            return;
        }
        match (want, got) {
            (Json::Object(wanted), Json::Object(gotten)) => {
                let absent = Json::from(ABSENT);
                for (key, value) in wanted {
                    let path = format!("{path}.{key}");
                    self.compare(&path, value, got.field(key).unwrap_or(&absent));
                }
                for (key, value) in gotten {
                    if want.field(key).is_none() {
                        self.compare(&format!("{path}.{key}"), &absent, value);
                    }
                }
            }
            (Json::List(wanted), Json::List(gotten)) => {
                let mut text = format!("{path}:");
                for i in 0..wanted.len().max(gotten.len()) {
                    let (want, got) = (wanted.get(i), gotten.get(i));
                    match (want, got) {
                        (Some(want), Some(got)) if same(want, got, self.host) => {
                            text.push_str(&format!("\n       {want}"));
                        }
                        _ => {
                            let line = |sign, value: &Json| format!("\n      {sign}{value}");
                            text.extend(want.map(|want| line('-', want)));
                            text.extend(got.map(|got| line('+', got)));
                        }
                    }
                }
                self.list.push(text);
            }
            _ => {
                let text = format!("{path}:\n      want {want}\n      got  {got}");
                self.list.push(text);
            }
        }
    }
}

fn same(want: &Json, got: &Json, host: &str) -> bool {
    match (want, got) {
        (Json::Text(anything), _) if anything == ANYTHING => true,
        (Json::Text(want), Json::Text(got)) => want == got || is_masked(want, got, host),
        (Json::Object(wanted), Json::Object(gotten)) => {
            let found = |(key, want): &(String, Json)| {
                got.field(key).is_some_and(|got| same(want, got, host))
            };
            wanted.len() == gotten.len() && wanted.iter().all(found)
        }
        // Either of these codes.
        (Json::List(wanted), Json::Int(_)) => wanted.contains(got),
        (Json::List(wanted), Json::List(gotten)) => {
            let mut pairs = wanted.iter().zip(gotten);
            wanted.len() == gotten.len() && pairs.all(|(want, got)| same(want, got, host))
        }
        _ => want == got,
    }
}

fn same_bag(want: &Json, got: &Json, host: &str) -> bool {
    let (Json::List(wanted), Json::List(gotten)) = (want, got) else {
        return false;
    };
    let mut left: Vec<_> = gotten.iter().collect();
    for want in wanted {
        let Some(place) = left.iter().position(|got| same(want, got, host)) else {
            return false;
        };
        left.remove(place);
    }
    left.is_empty()
}

/// Tells whether `got` is `want` with something fitting in the place of each mask.
fn is_masked(want: &str, got: &str, host: &str) -> bool {
    let mut pattern = String::from("^");
    let mut rest = want;
    while let Some(start) = rest.find('<') {
        let (before, behind) = rest.split_at(start);
        pattern.push_str(&regex::escape(before));
        let mask = MASKS.iter().find(|(name, _)| behind.starts_with(name));
        let (name, means) = match mask {
            Some((name, means)) => (*name, (*means).to_owned()),
            None if behind.starts_with(HOST) => (HOST, regex::escape(host)),
            None => ("<", "<".to_owned()),
        };
        pattern.push_str(&means);
        rest = &behind[name.len()..];
    }
    pattern.push_str(&regex::escape(rest));
    pattern.push('$');
    pattern.len() > want.len() && Regex::new(&pattern).is_ok_and(|pattern| pattern.is_match(got))
}

/// Stands for a text of any kind, or for any value at all.
const ANYTHING: &str = "<any>";
const HOST: &str = "<host>";
pub(crate) const ABSENT: &str = "(absent)";
const MASKS: [(&str, &str); 6] = [
    ("<oid>", "[0-9a-f]{24}"),
    ("<millis>", "[0-9]{13}"),
    ("<token>", r#"\{"_data": "[0-9A-F]+"\}"#),
    (ANYTHING, "(?s:.*)"),
    ("<hex>", "[0-9a-fA-F]+"),
    ("<int>", "-?[0-9]+"),
];
