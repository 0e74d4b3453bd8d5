//! Which collection a path means, as far as predicates may ask (`@request.db`, `@request.collection`).

/// Where databases are mounted, as RESTHeart's `mongo-mounts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The path that is mounted, as `/` or `/all`.
    pub at: String,
    /// What is mounted: `*` for all databases, `/database` or `/database/collection`.
    pub what: String,
}

/// All mounts, longest path first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounts(Vec<Mount>);

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) database: String,
    pub(crate) collection: Option<String>,
    pub(crate) id: Option<String>,
}

impl Mounts {
    /// Keeps the mounts in the order in which they are tried.
    pub(crate) fn new(mut mounts: Vec<Mount>) -> Self {
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.at.trim_end_matches('/').len()));
        Self(mounts)
    }

    /// Resolves a decoded path; none where nothing is mounted.
    pub(crate) fn resolve(&self, path: &str) -> Option<Place> {
        let (mount, rest) = self.0.iter().find_map(|mount| {
            let rest = path.strip_prefix(mount.at.trim_end_matches('/'))?;
            (rest.is_empty() || rest.starts_with('/')).then_some((mount, rest))
        })?;
        let mounted = if mount.what == "*" {
            ""
        } else {
            mount.what.as_str()
        };
        let mut segments = mounted
            .split('/')
            .chain(rest.split('/'))
            .filter(|segment| !segment.is_empty());
        let database = segments.next()?.to_owned();
        let mut next = || segments.next().map(str::to_owned);
        Some(Place {
            database,
            collection: next(),
            id: next(),
        })
    }
}
