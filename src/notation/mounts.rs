//! How RESTHeart writes databases and collections in paths: mounts, and the addresses below them.
//!
//! Source: compat section 7.

/// The path element between a collection and the name of a stream; its letter case does not matter.
const STREAMS: &str = "_streams";

/// Where a mount lies and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// A path, or a template such as `/{tenant}/*`.
    pub at: String,
    /// `/db`, `/db/collection`, or `*` for all databases; may use the template's parameters.
    pub what: String,
}

/// All mounts, the longest first.
#[derive(Clone, Debug, Default)]
pub struct Mounts {
    mounts: Vec<Mount>,
}

/// What a path leads to, below the mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    elements: Vec<String>,
}

impl Mounts {
    /// Orders the mounts by the length of their path.
    pub fn new(mut mounts: Vec<Mount>) -> Self {
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.at.len()));
        Self { mounts }
    }

    /// Finds what a decoded path leads to; `None` if no mount covers it.
    pub fn resolve(&self, path: &str, host: &str) -> Option<Address> {
        let path = path.trim_end_matches(['/', ' ']);
        self.mounts
            .iter()
            .find_map(|mount| mount.resolve(path, host))
            .map(|rewritten| Address {
                elements: rewritten.split('/').skip(1).map(str::to_owned).collect(),
            })
    }

    /// The databases that are mounted by name.
    pub fn databases(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().filter_map(|mount| {
            let name = mount.what.split('/').nth(1)?;
            (!name.is_empty() && !name.contains('{')).then_some(name)
        })
    }

    /// The path under which a collection is seen, for people; the shortest of them.
    pub fn path_of(&self, database: &str, collection: &str) -> Option<String> {
        self.mounts
            .iter()
            .rev()
            .filter(|mount| !mount.at.contains('{'))
            .find_map(|mount| {
                let at = mount.at.trim_end_matches('/');
                match mount.what.as_str() {
                    "*" => Some(format!("{at}/{database}/{collection}")),
                    what if what == format!("/{database}") => Some(format!("{at}/{collection}")),
                    what if what == format!("/{database}/{collection}") => Some(at.to_owned()),
                    _ => None,
                }
            })
    }
}

impl Mount {
    fn resolve(&self, path: &str, host: &str) -> Option<String> {
        if self.at.contains('{') || self.at.ends_with("/*") {
            return self.resolve_template(path, host);
        }
        let at = self.at.trim_end_matches('/');
        let rest = path.strip_prefix(at)?;
        if !(rest.is_empty() || rest.starts_with('/')) {
            return None;
        }
        Some(match self.what.as_str() {
            "*" => rest.to_owned(),
            what => format!("{what}{rest}"),
        })
    }

    fn resolve_template(&self, path: &str, host: &str) -> Option<String> {
        let mut parameters = vec![("{host}".to_owned(), host.to_owned())];
        parameters.extend(
            host.split('.')
                .enumerate()
                .map(|(n, part)| (format!("{{host[{n}]}}"), part.to_owned())),
        );
        let (pattern, has_rest) = match self.at.strip_suffix("/*") {
            Some(pattern) => (pattern, true),
            None => (self.at.as_str(), false),
        };
        let mut elements = path.split('/');
        for wanted in pattern.split('/') {
            let found = elements.next()?;
            if wanted.starts_with('{') && wanted.ends_with('}') {
                parameters.push((wanted.to_owned(), found.to_owned()));
            } else if wanted != found {
                return None;
            }
        }
        let rest: String = elements.flat_map(|element| ["/", element]).collect();
        if !rest.is_empty() && !has_rest {
            return None;
        }
        let what = self.what.strip_suffix("/*").unwrap_or(&self.what);
        let what = if what == "*" {
            String::new()
        } else {
            what.to_owned()
        };
        let what = parameters
            .iter()
            .fold(what, |what, (name, value)| what.replace(name, value));
        Some(what + &rest)
    }
}

impl Address {
    /// The database; empty if the path stops above it.
    pub fn database(&self) -> &str {
        self.element(0)
    }

    /// The collection; empty if the path stops above it.
    pub fn collection(&self) -> &str {
        self.element(1)
    }

    /// The document, where the path names one.
    pub fn document(&self) -> Option<&str> {
        self.elements.get(2).map(String::as_str)
    }

    /// Whether the path stops at the database.
    pub fn is_database(&self) -> bool {
        self.elements.len() == 1
    }

    /// Whether the path is that of a stream, or what would be one with a name.
    pub fn is_stream(&self) -> bool {
        self.elements.len() >= 3 && self.element(2).eq_ignore_ascii_case(STREAMS)
    }

    /// The name of the stream; `None` where RESTHeart sees no stream (no name, or one of its reserved words at the end).
    pub fn stream(&self) -> Option<&str> {
        let reserved = self.elements.last().is_some_and(|last| {
            last.eq_ignore_ascii_case("_size") || last.eq_ignore_ascii_case("_meta")
        });
        (self.is_stream() && !reserved)
            .then(|| self.elements.get(3).map(String::as_str))
            .flatten()
    }

    fn element(&self, index: usize) -> &str {
        self.elements.get(index).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts() -> Mounts {
        Mounts::new(vec![
            Mount {
                at: "/".into(),
                what: "/restheart".into(),
            },
            Mount {
                at: "/all".into(),
                what: "*".into(),
            },
            Mount {
                at: "/one".into(),
                what: "/db/messages".into(),
            },
        ])
    }

    #[track_caller]
    fn check(path: &str, expected: Option<(&str, &str, Option<&str>)>) {
        let found = mounts().resolve(path, "h");
        let found = found
            .as_ref()
            .map(|found| (found.database(), found.collection(), found.stream()));
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn paths_lead_to_streams() {
        check("/c/_streams/s", Some(("restheart", "c", Some("s"))));
        check("/c/_streams/s/", Some(("restheart", "c", Some("s"))));
        check("/c/_STREAMS/s/x/y", Some(("restheart", "c", Some("s"))));
        check("/c/_streams//s", Some(("restheart", "c", Some(""))));
        check("/c/_streams", Some(("restheart", "c", None)));
        check("/c/_streams/_size", Some(("restheart", "c", None)));
        check("/c/_streams/a/_meta", Some(("restheart", "c", None)));
        check("/_streams/s", Some(("restheart", "_streams", None)));
        check("//c/_streams/s", Some(("restheart", "", None)));
        check("/all/db/c/_streams/s", Some(("db", "c", Some("s"))));
        check("/allx/_streams/s", Some(("restheart", "allx", Some("s"))));
        check("/one/_streams/s", Some(("db", "messages", Some("s"))));
        check("/c", Some(("restheart", "c", None)));
    }

    #[test]
    fn templates_fill_in_their_parameters() {
        let tenants = Mounts::new(vec![Mount {
            at: "/{tenant}/*".into(),
            what: "/db-{tenant}/*".into(),
        }]);
        let found = tenants.resolve("/acme/c/_streams/s", "h").unwrap();
        assert_eq!(
            (found.database(), found.collection(), found.stream()),
            ("db-acme", "c", Some("s"))
        );
        let hosts = Mounts::new(vec![Mount {
            at: "/api/*".into(),
            what: "/{host[0]}/*".into(),
        }]);
        let found = hosts.resolve("/api/c", "acme.example.org").unwrap();
        assert_eq!((found.database(), found.collection()), ("acme", "c"));
        assert_eq!(hosts.resolve("/other/c", "h"), None);
    }
}
