//! The legacy API of `examples/legacy-api` keeps RESTHeart's manners: what stands behind Sidestream in the other tests
//! must store what RESTHeart stores, and answer as it answers.

mod server;

use bson::{Document, doc};

use server::{ADMIN, Legacy};

#[tokio::test]
async fn without_credentials_it_answers_401_with_the_headers_of_restheart() {
    let legacy = Legacy::start().await;
    for credentials in [
        None,
        Some("Basic YWRtaW46d3Jvbmc="),
        Some("Basic bm9ib2R5OnNlY3JldA=="),
        Some("Bearer x"),
    ] {
        let headers = credentials.map(|value| ("Authorization", value));
        let reply = legacy.ask("GET", "/messages", headers.as_slice(), "").await;
        let mut found = reply.headers.clone();
        found.retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
        found
            .iter_mut()
            .for_each(|(name, _)| *name = name.to_ascii_lowercase());
        found.sort();
        let expected = [
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", "ETag"),
            ("connection", "keep-alive"),
            ("content-length", "0"),
            ("content-type", "application/json; charset=UTF-8"),
            ("www-authenticate", r#"Basic realm="RESTHeart Realm""#),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            (reply.status, found.as_slice()),
            (401, expected.as_slice()),
            "{credentials:?}"
        );
    }
    let reply = legacy
        .ask("GET", "/messages", &[("No-Auth-Challenge", "")], "")
        .await;
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (401, None)
    );
    let reply = legacy
        .ask(
            "OPTIONS",
            "/messages",
            &[("Origin", "http://app.example")],
            "",
        )
        .await;
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (200, Some("http://app.example"))
    );
    legacy.end().await;
}

#[tokio::test]
async fn passwords_are_hashed_on_their_way_in_and_never_leave() {
    let legacy = Legacy::start().await;
    let admin = legacy
        .stored("users", "admin")
        .await
        .expect("the first user");
    assert!(
        admin
            .get_str("password")
            .expect("a password")
            .starts_with("$2a$"),
        "{admin}"
    );
    let bob = r#"{"_id": "bob", "password": "pw", "roles": ["user"]}"#;
    assert_eq!(legacy.admin("POST", "/users", bob).await.status, 201);
    assert_eq!(
        legacy
            .admin("PATCH", "/users/bob", r#"{"password": "pw2"}"#)
            .await
            .status,
        200
    );
    let hash = legacy
        .stored("users", "bob")
        .await
        .expect("bob")
        .get_str("password")
        .expect("a hash")
        .to_owned();
    assert!(bcrypt::verify("pw2", &hash).expect("a hash"), "{hash}");
    for target in ["/users", "/users/bob", "/users?rep=SHAL"] {
        let reply = legacy.admin("GET", target, "").await;
        assert!(
            reply.body.contains(r#""_id": "bob""#),
            "{target}: {}",
            reply.body
        );
        assert!(!reply.body.contains("password"), "{target}: {}", reply.body);
    }
    // Any other role is nobody's here, and a password that was right once is not right for ever.
    let reply = legacy
        .ask(
            "GET",
            "/users",
            &[("Authorization", "Basic Ym9iOnB3Mg==")],
            "",
        )
        .await;
    assert_eq!((reply.status, reply.body.as_str()), (403, ""));
    let reply = legacy
        .ask("GET", "/users", &[("Authorization", "Basic Ym9iOnB3")], "")
        .await;
    assert_eq!(reply.status, 401);
    legacy.end().await;
}

#[tokio::test]
async fn properties_of_a_collection_are_stored_as_sent() {
    let legacy = Legacy::start().await;
    let streams = r#"[{"uri": "all", "stages": [{"_$match": {"a::b": 1}}, {"$match": {"a.b": {"$var": "n"}}}]}]"#;
    let body = format!(r#"{{"streams": {streams}, "desc": "x"}}"#);
    assert_eq!(legacy.admin("PUT", "/messages", &body).await.status, 201);
    assert_eq!(legacy.admin("PUT", "/messages", &body).await.status, 200);
    let stored = legacy
        .stored("_properties", "_properties.messages")
        .await
        .expect("properties");
    let sent: Document = serde_json::from_str(&body).expect("JSON");
    assert_eq!(stored.get("streams"), sent.get("streams"));
    let etag = stored.get_object_id("_etag").expect("an ETag");

    let shown = legacy.admin("GET", "/messages/_meta", "").await;
    assert_eq!(shown.header("etag"), Some(etag.to_hex().as_str()));
    assert_eq!(
        shown.body,
        format!(
            r#"{{"_id": "messages", "streams": {streams}, "desc": "x", "_etag": {{"$oid": "{etag}"}}}}"#
        )
    );
    let shown = legacy.admin("GET", "/messages?rep=SHAL", "").await;
    assert!(
        shown
            .body
            .ends_with(r#""_links": {"all": {"href": "/messages/_streams/all"}}}"#),
        "{}",
        shown.body
    );

    assert_eq!(
        legacy
            .admin(
                "PATCH",
                "/messages",
                r#"{"streams.0.uri": "b", "$unset": {"desc": 1}}"#
            )
            .await
            .status,
        200
    );
    let patched = legacy
        .stored("_properties", "_properties.messages")
        .await
        .expect("properties");
    let first = patched.get_array("streams").expect("streams")[0]
        .as_document()
        .expect("an entry")
        .clone();
    assert_eq!(
        (first.get_str("uri").ok(), patched.contains_key("desc")),
        (Some("b"), false)
    );
    assert_ne!(patched.get_object_id("_etag").expect("an ETag"), etag);
    assert_eq!(legacy.admin("PUT", "/messages", "{}").await.status, 200);
    let replaced = legacy
        .stored("_properties", "_properties.messages")
        .await
        .expect("properties");
    assert_eq!(replaced.keys().collect::<Vec<_>>(), ["_id", "_etag"]);
    legacy.end().await;
}

#[tokio::test]
async fn what_has_an_etag_is_deleted_only_with_it() {
    let legacy = Legacy::start().await;
    let database = format!("/all/{}x", legacy.database.name());
    for target in [database.as_str(), "/messages"] {
        assert_eq!(
            legacy.admin("PUT", target, r#"{"desc": "x"}"#).await.status,
            201,
            "{target}"
        );
        let refused = legacy.admin("DELETE", target, "").await;
        assert_eq!(refused.status, 409, "{target}");
        let etag = refused.header("etag").expect("the present ETag").to_owned();
        let delete = async |etag: &str| {
            legacy
                .ask("DELETE", target, &[ADMIN, ("If-Match", etag)], "")
                .await
                .status
        };
        assert_eq!(delete("5f1e9b3b8c1d4e0001a1b2c3").await, 412, "{target}");
        assert_eq!(delete(&etag).await, 204, "{target}");
        assert_eq!(
            legacy.admin("GET", target, "").await.status,
            404,
            "{target}"
        );
    }
    assert_eq!(
        legacy.stored("_properties", "_properties.messages").await,
        None
    );
    // What another program has made has no ETag.
    let other = legacy
        .database
        .client()
        .database(&format!("{}y", legacy.database.name()));
    let properties = doc! { "_id": "_properties", "desc": "x" };
    other
        .collection::<Document>("_properties")
        .insert_one(properties)
        .await
        .expect("MongoDB answers");
    assert_eq!(
        legacy
            .admin("DELETE", &format!("/all/{}", other.name()), "")
            .await
            .status,
        204
    );
    legacy.end().await;
}

/// The statuses and the stored forms are those of golden `tutorial-rest-verbs`.
#[tokio::test]
async fn documents_are_written_as_restheart_writes_them() {
    let legacy = Legacy::start().await;
    assert_eq!(legacy.admin("PUT", "/c", "").await.status, 201);
    let keys = async || {
        let stored = legacy.stored("c", "d1").await.expect("the document");
        stored.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        legacy
            .admin("PUT", "/c/d1?wm=upsert", r#"{"a": 1, "b": 2}"#)
            .await
            .status,
        201
    );
    assert_eq!(keys().await, ["_id", "a", "b", "_etag"]);
    assert_eq!(
        legacy
            .admin("PUT", "/c/d1?wm=upsert", r#"{"a": 2, "c": {"d": 1}}"#)
            .await
            .status,
        200
    );
    let patch = r#"{"c.d": 5, "e": "x", "$unset": {"a": 1}}"#;
    assert_eq!(
        legacy.admin("PATCH", "/c/d1?wm=upsert", patch).await.status,
        200
    );
    let stored = legacy.stored("c", "d1").await.expect("the document");
    assert_eq!(stored.get_document("c").ok(), Some(&doc! { "d": 5 }));
    assert_eq!(
        (stored.get_str("e").ok(), stored.contains_key("a")),
        (Some("x"), false)
    );
    let shown = legacy.admin("GET", "/c/d1", "").await;
    let etag = shown.header("etag").expect("an ETag").to_owned();
    assert_eq!(
        etag,
        stored.get_object_id("_etag").expect("an ETag").to_hex()
    );
    let again = legacy
        .ask("GET", "/c/d1", &[ADMIN, ("If-None-Match", &etag)], "")
        .await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let stale = [ADMIN, ("If-Match", "5f1e9b3b8c1d4e0001a1b2c3")];
    for method in ["PUT", "PATCH", "DELETE"] {
        assert_eq!(
            legacy.ask(method, "/c/d1", &stale, "{}").await.status,
            412,
            "{method}"
        );
    }
    assert_eq!(legacy.admin("DELETE", "/c/d1", "").await.status, 204);
    assert_eq!(legacy.admin("DELETE", "/c/d1", "").await.status, 404);
    legacy.end().await;
}

#[tokio::test]
async fn posts_and_lists_one_and_many() {
    let legacy = Legacy::start().await;
    legacy.admin("PUT", "/c", "").await;
    let posted = legacy
        .admin("POST", "/c", r#"{"message": "hi uji", "name": "uji"}"#)
        .await;
    assert_eq!(
        (
            posted.status,
            posted.header("access-control-expose-headers")
        ),
        (201, Some("Location, ETag"))
    );
    let location = posted.header("location").expect("a Location").to_owned();
    let path = location
        .strip_prefix(&format!("http://{}", legacy.address))
        .expect("the host of the request");
    assert!(
        legacy
            .admin("GET", path, "")
            .await
            .body
            .contains(r#""message": "hi uji", "name": "uji", "_etag""#)
    );

    let many = legacy
        .admin(
            "POST",
            "/c",
            r#"[{"_id": 1, "n": 1}, {"_id": 2, "n": 2}, {"_id": "é", "n": 3}]"#,
        )
        .await;
    assert_eq!(many.status, 200);
    assert_eq!(
        many.body,
        r#"{"links": ["/c/1?id_type=NUMBER", "/c/2?id_type=NUMBER", "/c/%C3%A9"], "inserted": 3, "deleted": 0, "modified": 0, "matched": 0}"#
    );
    assert_eq!(
        legacy
            .admin("POST", "/c", r#"{"_id": 1, "n": 9}"#)
            .await
            .status,
        200
    );
    assert_eq!(
        legacy
            .admin("POST", "/c?wm=insert", r#"{"_id": 1}"#)
            .await
            .status,
        409
    );
    assert_eq!(
        legacy.admin("GET", "/c/1?id_type=NUMBER", "").await.status,
        200
    );
    assert_eq!(
        legacy.admin("GET", "/c/_size", "").await.body,
        r#"{"_size": 4}"#
    );

    let list = async |query: &str| {
        let reply = legacy
            .admin("GET", &format!("/c?keys=%7B%22_id%22:1%7D&{query}"), "")
            .await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.body);
        reply.body
    };
    assert_eq!(
        list("filter=%7B%22n%22:%7B%22$gt%22:2%7D%7D&sort=%7B%22n%22:1%7D").await,
        r#"[{"_id": "é"}, {"_id": 1}]"#
    );
    assert_eq!(
        list("sort=%7B%22n%22:-1%7D&pagesize=2&page=2&filter=%7B%22n%22:%7B%22$gt%22:0%7D%7D")
            .await,
        r#"[{"_id": 2}]"#
    );
    assert_eq!(
        list("filter=%7B%22n%22:%7B%22$gt%22:1%7D%7D&filter=%7B%22n%22:2%7D").await,
        r#"[{"_id": 2}]"#
    );

    let filter = "?filter=%7B%22n%22:%7B%22$lt%22:9%7D%7D";
    let patched = legacy
        .admin("PATCH", &format!("/c/*{filter}"), r#"{"seen": true}"#)
        .await;
    assert_eq!(
        patched.body,
        r#"{"inserted": 0, "deleted": 0, "modified": 2, "matched": 2}"#
    );
    let deleted = legacy.admin("DELETE", &format!("/c/*{filter}"), "").await;
    assert_eq!(
        deleted.body,
        r#"{"inserted": 0, "deleted": 2, "modified": 0, "matched": 0}"#
    );
    legacy.end().await;
}

#[tokio::test]
async fn says_why_it_refuses() {
    let legacy = Legacy::start().await;
    legacy.admin("PUT", "/c", "").await;
    let cases = [
        (
            "GET",
            "/nope",
            "",
            404,
            "Not Found",
            "Collection 'nope' does not exist",
        ),
        (
            "GET",
            "/nope/_streams/s",
            "",
            404,
            "Not Found",
            "Collection 'nope' does not exist",
        ),
        (
            "GET",
            "/all/legacynope",
            "",
            404,
            "Not Found",
            "Db 'legacynope' does not exist",
        ),
        (
            "GET",
            "/c/nope",
            "",
            404,
            "Not Found",
            "document 'nope' does not exist",
        ),
        (
            "PATCH",
            "/c/nope",
            "{}",
            404,
            "Not Found",
            "document 'nope' does not exist",
        ),
        (
            "GET",
            "/c/_streams/s",
            "",
            405,
            "Method Not Allowed",
            "method GET not allowed",
        ),
        (
            "POST",
            "/c/_streams/s",
            "{}",
            405,
            "Method Not Allowed",
            "method POST not allowed",
        ),
        (
            "POST",
            "/",
            "{}",
            405,
            "Method Not Allowed",
            "method POST not allowed",
        ),
        (
            "GET",
            "/_properties",
            "",
            403,
            "Forbidden",
            "reserved resource",
        ),
        (
            "GET",
            "/all/admin/x",
            "",
            403,
            "Forbidden",
            "reserved resource",
        ),
        ("GET", "//c", "", 403, "Forbidden", "reserved resource"),
        (
            "GET",
            "/c?pagesize=x",
            "",
            400,
            "Bad Request",
            "illegal pagesize parameter, it is not a number",
        ),
        (
            "PUT",
            "/c/x",
            r#"{"$set": 1}"#,
            400,
            "Bad Request",
            "$set is for PATCH",
        ),
        (
            "DELETE",
            "/c/*",
            "",
            400,
            "Bad Request",
            "the parameter filter is missing",
        ),
    ];
    for (method, target, body, status, description, message) in cases {
        let reply = legacy.admin(method, target, body).await;
        let expected = format!(
            r#"{{"http status code": {status}, "http status description": "{description}", "message": "{message}"}}"#
        );
        assert_eq!(
            (reply.status, reply.body),
            (status, expected),
            "{method} {target}"
        );
    }
    assert_eq!(legacy.admin("PUT", "/c", "{").await.status, 400);
    assert_eq!(legacy.admin("POST", "/c", r#"[1]"#).await.status, 400);
    // MongoDB's own refusals are the client's fault too.
    assert_eq!(
        legacy
            .admin("GET", "/c?filter=%7B%22a%22:%7B%22$x%22:1%7D%7D", "")
            .await
            .status,
        400
    );
    let head = legacy.admin("HEAD", "/c", "").await;
    assert_eq!(
        (
            head.status,
            head.header("content-length"),
            head.body.as_str()
        ),
        (405, Some("112"), "")
    );
    let trace = legacy.admin("TRACE", "/c", "").await;
    assert_eq!(
        (
            trace.status,
            trace.header("access-control-allow-origin"),
            trace.body.as_str()
        ),
        (405, None, "")
    );
    legacy.end().await;
}
