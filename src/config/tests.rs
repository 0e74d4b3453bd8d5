//! The pure parts at their own doors, and the example file held against the defaults.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::access::JwtKey;
use super::{Config, Environment, MongoUri, Secret, UpstreamUrl, value};

/// What a file must say at least.
const MINIMAL: &str = r#"
[upstream]
url = "http://127.0.0.1:8081"
[mongodb]
uri = "mongodb://127.0.0.1:27017/?replicaSet=rs0"
"#;

#[derive(Default)]
struct Given {
    variables: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<&'static str, &'static str>,
}

impl Environment for Given {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|&value| value.to_owned())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let found = path.to_str().and_then(|path| self.files.get(path));
        found
            .map(|&content| content.to_owned())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn parse(text: &str, given: &Given) -> Result<Config, Vec<String>> {
    Config::parse(Path::new("s.toml"), text, given)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn example() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/sidestream.toml");
    std::fs::read_to_string(path).expect("config/sidestream.toml is part of the repository")
}

#[test]
fn example_matches_defaults() {
    let given = Given::default();
    let shown = parse(&example(), &given).expect("the example is valid");
    let defaults = parse(MINIMAL, &given).expect("the minimum is valid");
    assert_eq!(shown, defaults);
}

/// With its commented keys and sections taken in, the example is valid too, and there is no key that it does not show.
#[test]
fn example_shows_every_key() {
    let mut given = Given::default();
    given.variables.insert("SIDESTREAM_JWT_KEY", "key");
    given
        .files
        .insert("/etc/sidestream/users.yml", "users: [{userid: u}]");
    given
        .files
        .insert("/etc/sidestream/acl.yml", "permissions: []");
    let text: String = example()
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n")
        .collect();
    let (config, keys) = Config::parse_and_list_keys(Path::new("s.toml"), &text, &given)
        .unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert!(config.server.tls.is_some(), "server.tls is shown");
    let streams = config.streams.expect("streams are on");
    assert!(streams.auth.jwt.is_some(), "auth.jwt.key is shown");
    assert!(streams.auth.forward.is_some(), "auth.forward.url is shown");
    assert_eq!(streams.auth.users.0.len(), 1, "auth.file.users is shown");
    assert_eq!(
        streams.acl.permissions.len(),
        1,
        "an [[acl.permission]] is shown"
    );
    assert!(!streams.definitions.is_empty(), "a [[stream]] is shown");
    let tree: toml::Table = text.parse().expect("it was parsed above");
    for key in keys {
        let mut place = toml::Value::Table(tree.clone());
        for segment in key.split('.') {
            let (name, index) = match segment.split_once('[') {
                Some((name, index)) => (name, index.trim_end_matches(']').parse().ok()),
                None => (segment, None::<usize>),
            };
            let found = place.get(name).cloned();
            place = found.unwrap_or_else(|| panic!("{key} is not in the example"));
            if let Some(index) = index {
                place = place[index].clone();
            }
        }
    }
}

#[test]
fn an_upstream_is_one_text_or_a_list() {
    let mut given = Given::default();
    given.variables.insert("FIRST", "http://a");
    given.files.insert("/second", "https://b\n");
    let text = r#"
        streams.enabled = false
        upstream.url = [{ env = "FIRST" }, { file = "/second" }, "unix:/c"]
        upstream.health.path = "/health"
    "#;
    let upstream = parse(text, &given).expect("it is valid").upstream;
    let url = |text: &str| UpstreamUrl::parse(text).expect("a URL");
    assert_eq!(upstream.url, url("http://a"));
    assert_eq!(upstream.others, [url("https://b"), url("unix:/c")]);
    assert_eq!(upstream.health.path.as_deref(), Some("/health"));
    // A list of one is that one.
    let one = |url: &str| {
        let text = format!("streams.enabled = false\nupstream.url = {url}");
        parse(&text, &given).expect("it is valid")
    };
    assert_eq!(one(r#"["http://a"]"#), one(r#""http://a""#));
    assert!(one(r#""http://a""#).upstream.others.is_empty());
}

#[test]
fn durations_need_units() {
    #[track_caller]
    fn check(text: &str, milliseconds: Option<u64>) {
        let expected = milliseconds.map(Duration::from_millis);
        assert_eq!(value::duration(text).ok(), expected, "{text:?}");
    }
    check("0ms", Some(0));
    check("250ms", Some(250));
    check("30s", Some(30_000));
    check("5m", Some(300_000));
    check("1 h", Some(3_600_000));
    check("7d", Some(604_800_000));
    for wrong in [
        "",
        "30",
        "s",
        "-1s",
        "1.5s",
        "30 seconds",
        "1h30m",
        " 1s",
        "1s ",
        "30S",
        "+1s",
        "99999999999999999999s",
        "18446744073709551615d",
    ] {
        check(wrong, None);
    }
}

#[test]
fn sizes_need_units() {
    #[track_caller]
    fn check(text: &str, bytes: Option<usize>) {
        assert_eq!(value::size(text).ok(), bytes, "{text:?}");
    }
    check("512B", Some(512));
    check("64KiB", Some(65_536));
    check("1 MiB", Some(1 << 20));
    check("2GiB", Some(2 << 30));
    for wrong in [
        "",
        "64",
        "KiB",
        "64KB",
        "64kib",
        "64k",
        "1.5MiB",
        "99999999999999GiB",
    ] {
        check(wrong, None);
    }
}

#[test]
fn amounts_are_shown_as_they_would_be_written() {
    assert_eq!(value::duration_text(Duration::from_millis(1500)), "1500ms");
    assert_eq!(value::duration_text(Duration::from_secs(120)), "2m");
    assert_eq!(value::duration_text(Duration::ZERO), "0ms");
    assert_eq!(value::size_text(65_536), "64KiB");
    assert_eq!(value::size_text(1000), "1000B");
}

#[test]
fn upstream_urls() {
    #[track_caller]
    fn check(text: &str, expected: Option<UpstreamUrl>) {
        assert_eq!(UpstreamUrl::parse(text).ok(), expected, "{text:?}");
    }
    let http = |host: &str, port| {
        Some(UpstreamUrl::Http {
            host: host.to_owned(),
            port,
        })
    };
    let https = |host: &str, port| {
        Some(UpstreamUrl::Https {
            host: host.to_owned(),
            port,
        })
    };
    check("http://127.0.0.1:8081", http("127.0.0.1", 8081));
    check("http://api", http("api", 80));
    check("http://api/", http("api", 80));
    check("http://[::1]:81", http("::1", 81));
    check("https://api.example.org", https("api.example.org", 443));
    check("https://[fe80::1]", https("fe80::1", 443));
    let socket = UpstreamUrl::Unix {
        path: "/run/api.sock".into(),
    };
    check("unix:/run/api.sock", Some(socket.clone()));
    check("unix:///run/api.sock", Some(socket));
    for wrong in [
        "",
        "api:80",
        "ftp://api",
        "http://",
        "http://:80",
        "http://api:0",
        "http://api:65536",
        "http://api:",
        "http://api/v1",
        "http://api?x",
        "http://u:p@api",
        "http://[::1",
        "http://[x]",
        "http://[::1]81x",
        "http://a b",
        "unix:",
        "unix:/",
        "unix:run/x",
        "unix://",
    ] {
        check(wrong, None);
    }
}

#[test]
fn secrets_print_masked() {
    assert_eq!(format!("{:?}", Secret::new("hush".into())), "***");
    #[track_caller]
    fn check(uri: &str, shown: &str) {
        let parsed = MongoUri::parse(uri).expect("the driver takes it");
        assert_eq!(format!("{parsed}"), shown);
        assert_eq!(format!("{parsed:?}"), shown);
        assert_eq!(parsed.reveal(), uri);
    }
    check("mongodb://h:1/db", "mongodb://h:1/db");
    check(
        "mongodb://u:hush@h:1,i:2/db?w=1",
        "mongodb://u:***@h:1,i:2/db?w=1",
    );
    check("mongodb://u@h/?appName=x@y", "mongodb://u@h/?appName=x@y");
    check(
        "mongodb+srv://u:h%40sh@h.example.org",
        "mongodb+srv://u:***@h.example.org",
    );
}

#[test]
fn whole_configuration_prints_without_secrets() {
    let text = r#"
        upstream.url = "http://127.0.0.1:8081"
        mongodb.uri = "mongodb://app:hush-1@db/?replicaSet=rs0"
        auth.jwt.key = "hush-2"
    "#;
    let config = parse(text, &Given::default()).expect("it is valid");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn faulty_secrets_are_not_quoted() {
    for uri in [
        "mongodb://app:hush@@db:x/?replicaSet=rs0",
        "mongodb://app:hu/sh@db",
        "mongodb://app:hush@db:hush",
        "mongo://app:hush@db",
        "app:hush@db",
        "hush",
        "mongodb://app:hush@db/?connectTimeoutMS=x",
    ] {
        let text = format!("upstream.url = \"http://a\"\nmongodb.uri = \"{uri}\"");
        let errors = parse(&text, &Given::default()).expect_err(uri);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].starts_with("s.toml:2: mongodb.uri: "),
            "{errors:?}"
        );
        assert!(!errors[0].contains("hu"), "{uri}: {errors:?}");
    }
}

#[test]
fn values_come_from_variables_and_files() {
    let given = Given {
        variables: BTreeMap::from([("KEY", "k1"), ("PORT", "127.0.0.1:1234"), ("DRAIN", "5s")]),
        files: BTreeMap::from([("/run/uri", "mongodb://u:p@db/?replicaSet=rs0\n")]),
    };
    let text = r#"
        server.listen = [{ env = "PORT" }]
        server.drain = { env = "DRAIN" }
        upstream.url = "http://127.0.0.1:8081"
        mongodb.uri = { file = "/run/uri" }
        auth.jwt.key = { env = "KEY" }
    "#;
    let config = parse(text, &given).expect("it is valid");
    assert_eq!(config.server.listen[0].port(), 1234);
    assert_eq!(config.server.drain, Duration::from_secs(5));
    let streams = config.streams.expect("streams are on");
    assert_eq!(
        streams.mongodb.uri.reveal(),
        "mongodb://u:p@db/?replicaSet=rs0"
    );
    let key = streams.auth.jwt.expect("there is a key").key;
    assert_eq!(key, JwtKey::Text(Secret::new("k1".to_owned())));
}

#[test]
fn indirect_values_are_never_quoted() {
    let given = Given {
        variables: BTreeMap::from([("WRONG", "hush")]),
        files: BTreeMap::new(),
    };
    let text = r#"
        server.drain = { env = "WRONG" }
        upstream.url = { env = "ABSENT" }
        mongodb.uri = { file = "/absent" }
        log.format = { environment = "X" }
    "#;
    let errors = parse(text, &given).expect_err("nothing of it is right");
    let expected = [
        "s.toml:2: server.drain: a duration is a whole number with a unit: ms, s, m, h or d, such as \"30s\"",
        "s.toml:3: upstream.url: environment variable ABSENT is not set",
        "s.toml:4: mongodb.uri: cannot read /absent: entity not found",
        "s.toml:5: log.format: must be a string, { env = \"NAME\" } or { file = \"/path\" }, not a table",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn without_streams_no_database_is_needed() {
    let text = "upstream.url = \"http://a\"\nstreams.enabled = false";
    let config = parse(text, &Given::default()).expect("it is valid");
    assert!(config.streams.is_none());
}

#[test]
fn stages_keep_the_order_of_their_keys_and_their_types() {
    let text = format!(
        r#"{MINIMAL}
        [[stream]]
        collection = "restheart.a.b"
        uri = "all"
        notify_when = {{ "fullDocument::tid" = {{ "_$var" = "tid" }} }}
        [[stream.stages]]
        "$match" = {{ z = 1, a = 5_000_000_000, m = [1.5, true, "x"], d = 2026-01-31T12:00:00+01:00 }}
        [[stream.stages]]
        "$project" = {{ b.y = 1, b.x = 0 }}
        "#
    );
    let config = parse(&text, &Given::default()).expect("it is valid");
    let definitions = config.streams.expect("streams are on").definitions;
    let date = bson::DateTime::parse_rfc3339_str("2026-01-31T11:00:00Z").expect("a date");
    let expected = bson::doc! {
        "uri": "all",
        "stages": [
            { "$match": { "z": 1_i32, "a": 5_000_000_000_i64, "m": [1.5, true, "x"], "d": date } },
            { "$project": { "b": { "y": 1_i32, "x": 0_i32 } } },
        ],
        "notify_when": { "fullDocument::tid": { "_$var": "tid" } },
    };
    assert_eq!(definitions[0].document(), expected);
    assert_eq!(definitions[0].database, "restheart");
    assert_eq!(definitions[0].collection, "a.b");
}

#[test]
fn reload_names_the_sections_that_differ() {
    #[track_caller]
    fn check(more: &str, expected: &[&str]) {
        let given = Given::default();
        let old = parse(MINIMAL, &given).expect("it is valid");
        let new = parse(&format!("{more}\n{MINIMAL}"), &given).expect("it is valid");
        assert_eq!(old.differing_sections(&new), expected);
    }
    check("", &[]);
    check("server.drain = \"30s\"", &[]);
    check(
        "log.level = \"debug\"\nlimits.feeds = 1",
        &["log", "limits"],
    );
    check(
        "admin.enabled = false\nacl.mongo.root_role = \"\"",
        &["acl", "admin"],
    );
    let streams = ["mongodb", "auth", "acl", "streams", "stream"];
    check("streams.enabled = false", &streams);
}

#[track_caller]
fn check_faults(limits: &str, expected: &[&str]) {
    let text = format!("{MINIMAL}[limits]\n{limits}");
    let errors = parse(&text, &Given::default()).expect_err("something is wrong");
    // `[limits]` is line 6.
    let expected: Vec<String> = expected
        .iter()
        .map(|fault| format!("s.toml:{fault}"))
        .collect();
    assert_eq!(errors, expected);
}

#[test]
fn a_part_is_not_more_than_its_whole() {
    check_faults(
        "sessions = 100\nsessions_per_user = 101\nsessions_per_address = 102\nsubscriptions_per_feed = 103",
        &[
            "8: limits.sessions_per_user: 101 is more than limits.sessions, 100, of which it is a part",
            "9: limits.sessions_per_address: 102 is more than limits.sessions, 100, of which it is a part",
            "10: limits.subscriptions_per_feed: 103 is more than limits.sessions, 100, of which it is a part",
        ],
    );
    check_faults(
        "dedicated_cursors_per_stream = 65\nsessions = 200_000",
        &[
            "7: limits.dedicated_cursors_per_stream: 65 is more than limits.dedicated_cursors, 64, of which it is a part",
            "8: limits.sessions: 200000 is more than server.max_connections, 110000, and each is a connection",
        ],
    );
    check_faults(
        "frame = \"2MiB\"\noutboxes = \"1MiB\"\noutbox = \"1025KiB\"",
        &[
            "7: limits.frame: 2MiB is more than limits.outboxes, 1MiB, of which it is a part",
            "9: limits.outbox: 1025KiB is more than limits.outboxes, 1MiB, of which it is a part",
        ],
    );
}

#[test]
fn a_whole_alone_takes_its_parts_with_it() {
    let text =
        format!("{MINIMAL}[limits]\nsessions = 10\noutboxes = \"1MiB\"\ndedicated_cursors = 3");
    let limits = parse(&text, &Given::default()).expect("it is valid").limits;
    assert_eq!(
        (limits.sessions_per_user, limits.sessions_per_address),
        (10, 10)
    );
    assert_eq!((limits.subscriptions_per_feed, limits.groups), (10, 20));
    assert_eq!((limits.outbox, limits.frame), (1 << 20, 1 << 20));
    assert_eq!(limits.dedicated_cursors_per_stream, 3);
}

#[test]
fn ten_thousand_levels_are_a_fault_like_any_other() {
    let stages = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let text = format!("{MINIMAL}[[stream]]\ncollection = \"a.b\"\nuri = \"s\"\nstages = {stages}");
    let errors = parse(&text, &Given::default()).expect_err("no parser takes that");
    assert!(errors[0].starts_with("s.toml:9: "), "{errors:?}");
}
