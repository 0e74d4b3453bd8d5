//! The recorded cases, and what Sidestream does instead where it differs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::json::Json;

/// A case: what is stored, what is asked, what must be answered.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// `file.json: name`, for people.
    pub(crate) title: String,
    pub(crate) name: String,
    pub(crate) json: Json,
}

impl Case {
    pub(crate) fn steps(&self, key: &str) -> &[Json] {
        self.json.field(key).map_or(&[], Json::elements)
    }

    /// Tells whether a permission of the setup has a read filter.
    pub(crate) fn has_read_filter(&self) -> bool {
        let setup = self.json.field("setup").map_or(&[][..], Json::fields);
        let permissions = setup
            .iter()
            .filter(|(namespace, _)| namespace.ends_with(".acl"));
        permissions
            .flat_map(|(_, documents)| documents.elements())
            .any(|permission| {
                let mongo = permission.field("mongo");
                mongo.and_then(|mongo| mongo.field("readFilter")).is_some()
            })
    }
}

/// Reads all recorded cases and puts our own expectations in place of the recorded ones.
///
/// # Panics
/// If a case has a note and no expectation of ours, or an expectation has no case.
pub(crate) fn cases() -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases = recorded(&directory.join("streams"));
    let ours = Json::parse(&read(&directory.join("sidestream.json")));
    let answers: BTreeMap<_, _> = cases
        .iter()
        .map(|case| (case.name.clone(), case.json.clone()))
        .collect();
    for (name, expectation) in ours.fields() {
        let case = cases.iter_mut().find(|case| case.name == *name);
        let case = case.unwrap_or_else(|| panic!("sidestream.json: no case {name}"));
        assert!(
            expectation.field("because").is_some(),
            "{name}: no `because`"
        );
        expect_instead(&mut case.json, expectation, &answers);
    }
    for case in &cases {
        let answered = case.json.field("note").is_none() || ours.field(&case.name).is_some();
        assert!(
            answered,
            "{}: noted, but not in sidestream.json",
            case.title
        );
    }
    cases
}

fn recorded(directory: &Path) -> Vec<Case> {
    let files = std::fs::read_dir(directory).expect("the recordings are in the project");
    let mut files: Vec<PathBuf> = files
        .map(|file| file.expect("it can be read").path())
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let label = file
            .file_name()
            .expect("it is a file")
            .to_string_lossy()
            .into_owned();
        for json in Json::parse(&read(&file)).elements() {
            let name = json.text_of("name").to_owned();
            let title = format!("{label}: {name}");
            let mut json = json.clone();
            leave_out_colour(&mut json);
            cases.push(Case { title, name, json });
        }
    }
    cases
}

/// Removes the recorded headers that are not asked of us.
fn leave_out_colour(case: &mut Json) {
    let Some(response) = case.field("response") else {
        return;
    };
    let mut response = response.clone();
    if let Some(headers) = response.field("headers") {
        let mut headers = headers.clone();
        for name in COLOUR {
            headers.remove(name);
        }
        response.set("headers", headers);
    }
    case.set("response", response);
}

/// `like` brings the answers of another case, every other key replaces one, `response` field by field.
fn expect_instead(case: &mut Json, expectation: &Json, answers: &BTreeMap<String, Json>) {
    case.remove("or");
    if let Some(like) = expectation.field("like").and_then(Json::text) {
        let other = answers
            .get(like)
            .unwrap_or_else(|| panic!("no case {like}"));
        for key in ANSWERS {
            case.remove(key);
            if let Some(answer) = other.field(key) {
                case.set(key, answer.clone());
            }
        }
    }
    for (key, value) in expectation.fields() {
        match key.as_str() {
            "because" | "like" => (),
            "response" => {
                let mut response = case.field("response").expect("all have one").clone();
                for (key, value) in value.fields() {
                    response.set(key, value.clone());
                }
                case.set("response", response);
            }
            _ => case.set(key, value.clone()),
        }
    }
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The keys that say what came back.
pub(crate) const ANSWERS: [&str; 8] = [
    "response",
    "frames",
    "pongs",
    "sse",
    "sse_bytes",
    "close",
    "also",
    "statuses",
];
/// What RESTHeart tells of itself, to nobody's use.
const COLOUR: [&str; 3] = ["x-powered-by", "origin", "sec-websocket-location"];
