//! One TOML file becomes a validated [`Config`], or a list of everything that is wrong with it.
//!
//! Two steps. The text is parsed to a tree that remembers where each value stands. Then each section is read key by key
//! (`reader`): a fault is noted with its key and line, a default stands in for it, and reading goes on, so that whoever
//! mends the file mends it in one pass. A [`Config`] exists only where no fault was found; nothing later has to check a
//! value again.
//!
//! Whatever may be a string may also be `{ env = "NAME" }` or `{ file = "/path" }` ([`Environment`]), and such a value
//! is never quoted in a message. Every default is a constant with its reason, in the file of its section;
//! `config/sidestream.toml` tells the same to people, and a test holds the two together.

mod access;
mod definition;
mod environment;
mod error;
mod http2;
mod limits;
mod log;
mod mongodb;
mod reader;
mod secret;
mod server;
mod streams;
#[cfg(test)]
mod tests;
mod tls;
mod upstream;
mod url;
mod value;
mod yaml;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use ::toml::de::DeTable;

pub use self::access::{
    Acl, Auth, ForwardAuth, Jwt, JwtAlgorithm, JwtKey, LoginGuard, MongoAcl, MongoUsers,
    OriginCheck, UserEntries,
};
pub use self::definition::StaticDefinition;
pub use self::environment::{Environment, ProcessEnvironment};
pub use self::error::ConfigError;
pub use self::http2::Http2;
pub use self::limits::Limits;
pub use self::log::{Log, LogFormat};
pub use self::mongodb::{Mongodb, Mount, Watch};
pub use self::secret::{MongoUri, Secret};
pub use self::server::{Server, TrustedHeader};
pub use self::streams::{NotifyWhenUnbound, StreamSettings, Streams};
pub use self::tls::{Tls, TlsVersion};
pub use self::upstream::{Health, Upstream, UpstreamUrl};
pub use self::url::AskedUrl;

use self::error::Faults;
use self::reader::{Section, Source};

/// Everything that one Sidestream is told. `Debug` hides secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[upstream]`.
    pub upstream: Upstream,
    /// `[streams]`, `[mongodb]`, `[auth]`, `[acl]` and `[[stream]]`; `None` where `streams.enabled = false`.
    pub streams: Option<Streams>,
    /// `[log]`.
    pub log: Log,
    /// `[limits]`.
    pub limits: Limits,
    /// `[admin]`: where health and metrics are served; `None`: nowhere.
    pub admin: Option<SocketAddr>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// All faults, in the order of their lines; never empty.
    pub fn load(file: &Path, environment: &dyn Environment) -> Result<Self, Vec<ConfigError>> {
        let text = environment.file(file).map_err(|error| {
            vec![ConfigError {
                file: file.to_owned(),
                line: None,
                key: String::new(),
                text: format!("cannot be read: {error}"),
            }]
        })?;
        Self::parse(file, &text, environment)
    }

    /// Reads a text; `file` is only named in faults.
    ///
    /// # Errors
    /// All faults, in the order of their lines; never empty.
    pub fn parse(
        file: &Path,
        text: &str,
        environment: &dyn Environment,
    ) -> Result<Self, Vec<ConfigError>> {
        Self::parse_and_list_keys(file, text, environment).map(|(config, _)| config)
    }

    /// The sections in which another configuration differs, for a reload: what of them can change while running, the
    /// rooms know.
    pub fn differing_sections(&self, other: &Self) -> Vec<&'static str> {
        let (one, two) = (self.streams.as_ref(), other.streams.as_ref());
        let sections = [
            ("server", self.server == other.server),
            ("upstream", self.upstream == other.upstream),
            (
                "mongodb",
                one.map(|s| &s.mongodb) == two.map(|s| &s.mongodb),
            ),
            ("auth", one.map(|s| &s.auth) == two.map(|s| &s.auth)),
            ("acl", one.map(|s| &s.acl) == two.map(|s| &s.acl)),
            (
                "streams",
                one.map(|s| &s.settings) == two.map(|s| &s.settings),
            ),
            (
                "stream",
                one.map(|s| &s.definitions) == two.map(|s| &s.definitions),
            ),
            ("log", self.log == other.log),
            ("limits", self.limits == other.limits),
            ("admin", self.admin == other.admin),
        ];
        let differing = sections.into_iter().filter(|(_, is_same)| !is_same);
        differing.map(|(name, _)| name).collect()
    }

    /// Also says which keys there are, written or not.
    fn parse_and_list_keys(
        file: &Path,
        text: &str,
        environment: &dyn Environment,
    ) -> Result<(Self, BTreeSet<String>), Vec<ConfigError>> {
        let faults = Faults::new(file, text);
        let tree = parse_tree(text, &faults).ok_or_else(|| faults.sorted())?;
        let source = Source {
            faults: &faults,
            environment,
            asked: RefCell::default(),
        };
        let config = Self::read(Section::root(&source, tree.get_ref()));
        let keys = source.asked.into_inner();
        let found = faults.sorted();
        match config {
            Some(config) if found.is_empty() => Ok((config, keys)),
            _ => Err(found),
        }
    }

    /// Reads all sections; `None` only after a fault was noted.
    fn read(root: Section<'_>) -> Option<Self> {
        let server = Server::read(root.section("server"));
        let upstream = Upstream::read(root.section("upstream"));
        let (is_enabled, settings) = streams::read(root.section("streams"));
        let mongodb = mongodb::read(root.section("mongodb"), is_enabled);
        let auth = access::read_auth(root.section("auth"));
        let acl = access::read_acl(root.section("acl"));
        let definitions = definition::read(&root);
        let limits = Limits::read(root.section("limits"), server.max_connections);
        let log = Log::read(root.section("log"));
        let admin = server::read_admin(root.section("admin"));
        server::check_addresses(&root, &server, admin, upstream.as_ref());
        server::check_sizes(&root, &server, limits.avars);
        root.finish();

        let streams = match is_enabled {
            false => None,
            true => Some(Streams {
                mongodb: Mongodb {
                    uri: mongodb.uri?,
                    mounts: mongodb.mounts,
                    watch: mongodb.watch,
                },
                auth,
                acl,
                definitions,
                settings,
            }),
        };
        Some(Self {
            server,
            upstream: upstream?,
            streams,
            log,
            limits,
            admin,
        })
    }
}

/// Parses the text, noting what is not TOML, at most one fault a line. `None` where the tree cannot be relied on; a key
/// that is written twice spoils nothing else.
fn parse_tree<'t>(text: &'t str, faults: &Faults) -> Option<::toml::Spanned<DeTable<'t>>> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut is_sound = true;
    let mut lines = BTreeSet::new();
    for error in errors {
        let span = error.span().unwrap_or_default();
        is_sound &= error.message() == "duplicate key";
        let line = faults.line_of(&span);
        if lines.len() < SYNTAX_FAULTS_MAX && lines.insert(line) {
            let key = if is_sound { &text[span] } else { "" };
            faults.add(line, key, error.message());
        }
    }
    is_sound.then_some(tree)
}

/// One open bracket can spoil every line after it; nobody reads more than a few of those.
const SYNTAX_FAULTS_MAX: usize = 10;
