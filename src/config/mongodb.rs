//! `[mongodb]`: how the database is reached, and where its collections stand in the URL space.

use super::reader::{Section, Value};
use super::secret::MongoUri;

/// `[mongodb]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mongodb {
    /// The connection string.
    pub uri: MongoUri,
    /// Where databases and collections appear, never empty: all plain paths, or all templates.
    pub mounts: Vec<Mount>,
    /// On which level changes are watched.
    pub watch: Watch,
}

/// One line of `mongodb.mounts`, as RESTHeart's `mongo-mounts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The path prefix or template in the URL: begins with `/`, ends without (except `/` itself).
    pub at: String,
    /// What is found there: `*` for all databases, or `/database[/collection[/document]]`.
    pub what: String,
}

/// On which level changes are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// One change stream for each database.
    Database,
    /// One for the whole deployment; needs a privilege on the cluster.
    Deployment,
}

impl Mount {
    /// Whether `at` has parameters, as `/{tenant}/*`.
    pub fn is_template(&self) -> bool {
        is_template(&self.at)
    }

    /// The database that is mounted; `None` where it depends on the request.
    pub fn database(&self) -> Option<&str> {
        let first = self.what.strip_prefix('/')?.split('/').next()?;
        (!first.contains('{')).then_some(first)
    }
}

/// `[mongodb]` after reading: whether its URI is needed is known only to the whole file.
pub(super) struct MongodbRead {
    pub(super) uri: Option<MongoUri>,
    pub(super) mounts: Vec<Mount>,
    pub(super) watch: Watch,
}

pub(super) fn read(section: Section<'_>, is_needed: bool) -> MongodbRead {
    let uri = match section.value("uri") {
        Some(value) => value.parsed_secret(MongoUri::parse),
        None => {
            if is_needed {
                let hint = "the database behind the API, such as \
                            \"mongodb://127.0.0.1:27017/?replicaSet=rs0\" (or streams.enabled = false)";
                section.missing("uri", hint);
            }
            None
        }
    };
    let mounts = mounts(&section, is_needed);
    let choices = [
        ("database", Watch::Database),
        ("deployment", Watch::Deployment),
    ];
    let watch = section.choice("watch", Watch::Database, &choices);
    section.finish();
    MongodbRead { uri, mounts, watch }
}

fn mounts(section: &Section<'_>, is_needed: bool) -> Vec<Mount> {
    let Some(written) = section.list("mounts") else {
        return vec![Mount {
            at: MOUNT_AT.to_owned(),
            what: MOUNT_WHAT.to_owned(),
        }];
    };
    if written.is_empty() && is_needed {
        section.fault(
            "mounts",
            "must have at least one mount, else no stream can be reached",
        );
    }
    let mut mounts: Vec<Mount> = Vec::new();
    for value in &written {
        let Some(mount) = mount(value) else { continue };
        if mounts.iter().any(|other| other.at == mount.at) {
            value.fault(format!("{:?} is mounted twice", mount.at));
        }
        if mounts
            .first()
            .is_some_and(|first| first.is_template() != mount.is_template())
        {
            value.fault("plain paths and templates cannot be mixed: RESTHeart would mount nothing");
        }
        mounts.push(mount);
    }
    mounts
}

fn mount(value: &Value<'_>) -> Option<Mount> {
    let section = value.section()?;
    let at = match section.value("where") {
        Some(value) => value.parsed(place),
        None => {
            section.missing("where", "a path such as \"/\" or \"/api\"");
            None
        }
    };
    let what = match section.value("what") {
        Some(value) => value.parsed(target),
        None => {
            section.missing("what", "\"/database\", \"/database/collection\" or \"*\"");
            None
        }
    };
    if let (Some(at), Some(what)) = (&at, &what)
        && let Some(unbound) = parameters(what).find(|name| !is_bound(at, name))
    {
        section.fault("what", format!("{{{unbound}}} does not occur in where"));
    }
    section.finish();
    Some(Mount {
        at: at?,
        what: what?,
    })
}

fn place(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("must begin with /".to_owned());
    }
    if text.contains("//") {
        return Err("must not have an empty segment".to_owned());
    }
    if text.contains(['?', '#', ' ']) {
        return Err("must be a path: no blank, ? or #".to_owned());
    }
    check_braces(text)?;
    Ok(match text.trim_end_matches('/') {
        "" => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    })
}

fn target(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let Some(rest) = text.strip_prefix('/') else {
        return Err("must be \"*\" or begin with /".to_owned());
    };
    check_braces(text)?;
    let mut segments = rest.trim_end_matches('/').splitn(4, '/');
    let database = segments.next().unwrap_or_default();
    if let Err(fault) = database_name(database) {
        return Err(format!("database {fault}"));
    }
    if segments.clone().any(str::is_empty) {
        return Err("must not have an empty segment".to_owned());
    }
    if segments.count() > 2 {
        return Err(
            "must be /database, /database/collection or /database/collection/document".to_owned(),
        );
    }
    Ok(format!("/{}", rest.trim_end_matches('/')))
}

/// MongoDB's rule for database names, and RESTHeart's reserved ones. A parameter passes.
pub(super) fn database_name(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if name.len() > DATABASE_NAME_MAX {
        return Err(format!("must have at most {DATABASE_NAME_MAX} bytes"));
    }
    if name.contains(['/', '\\', '.', ' ', '"', '$', '*', '\0']) {
        return Err(format!(
            "{name:?} must not contain any of / \\ . \" $ * or a blank"
        ));
    }
    if RESERVED
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
    {
        return Err(format!("{name:?} is reserved by MongoDB"));
    }
    Ok(name.to_owned())
}

/// MongoDB's rule for collection names.
pub(super) fn collection_name(name: &str) -> Result<String, String> {
    match name {
        "" => Err("must not be empty".to_owned()),
        name if name.contains(['$', '\0']) => Err("must not contain $".to_owned()),
        name if name.starts_with("system.") => Err("must not begin with system.".to_owned()),
        name => Ok(name.to_owned()),
    }
}

fn check_braces(text: &str) -> Result<(), String> {
    let broken = Err("has a { without its }, or the other way round".to_owned());
    let mut is_open = false;
    for letter in text.chars() {
        match letter {
            '{' if is_open => return broken,
            '{' => is_open = true,
            '}' if !is_open => return broken,
            '}' => is_open = false,
            _ => (),
        }
    }
    if is_open {
        return broken;
    }
    match parameters(text).any(str::is_empty) {
        true => Err("has a parameter without a name".to_owned()),
        false => Ok(()),
    }
}

fn is_template(path: &str) -> bool {
    path.contains('{') || path.ends_with("/*")
}

fn parameters(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split('{').skip(1);
    pieces.filter_map(|piece| piece.split_once('}').map(|(name, _)| name))
}

/// `{host}` and `{host[n]}` come from the request's `Host`, not from its path.
fn is_bound(at: &str, name: &str) -> bool {
    let is_host = name == "host" || (name.starts_with("host[") && name.ends_with(']'));
    is_host || parameters(at).any(|other| other == name)
}

/// RESTHeart's default mount.
const MOUNT_AT: &str = "/";
/// RESTHeart's default mount.
const MOUNT_WHAT: &str = "/restheart";

/// MongoDB: shorter than 64 bytes.
const DATABASE_NAME_MAX: usize = 63;

const RESERVED: [&str; 3] = ["admin", "config", "local"];
