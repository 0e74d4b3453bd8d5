//! A collection of users in memory, requests from their wire form, values from Extended JSON.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bson::{Bson, Document};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::access::{Access, AccessSettings, Denied, Grant, RequestHead, Unavailable, Users};

/// "pw", cost 4.
pub(super) const PW: &str = "$2a$04$bAjRLVo/JBv8/05x478xSuXdHmC7sWR3dGlshGTPnMc5Bp6M0IKTO";
pub(super) const JWT_KEY: &str = "0123456789abcdef0123456789abcdef";

/// Documents in memory, found by a property.
#[derive(Default)]
pub(super) struct Store {
    documents: Mutex<Vec<Arc<Document>>>,
    name_property: &'static str,
}

impl Store {
    pub(super) fn new(name_property: &'static str) -> Arc<Self> {
        Arc::new(Self {
            documents: Mutex::default(),
            name_property,
        })
    }

    pub(super) fn put(&self, document: Document) {
        let mut documents = self.documents.lock().unwrap();
        documents.retain(|known| known.get("_id") != document.get("_id"));
        documents.push(Arc::new(document));
    }

    pub(super) fn remove(&self, id: &Bson) {
        self.documents
            .lock()
            .unwrap()
            .retain(|known| known.get("_id") != Some(id));
    }

    pub(super) fn by_id(&self, id: &Bson) -> Option<Document> {
        let documents = self.documents.lock().unwrap();
        documents
            .iter()
            .find(|known| known.get("_id") == Some(id))
            .map(|known| known.as_ref().clone())
    }

    pub(super) fn all(&self) -> Vec<Document> {
        self.documents
            .lock()
            .unwrap()
            .iter()
            .map(|known| known.as_ref().clone())
            .collect()
    }
}

impl Users for Store {
    fn find<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Document>>, Unavailable>> {
        let documents = self.documents.lock().unwrap();
        let is_it = |known: &&Arc<Document>| {
            known
                .get_str(self.name_property)
                .is_ok_and(|found| found == name)
        };
        let found = documents.iter().find(is_it).cloned();
        Box::pin(async move { Ok(found) })
    }
}

/// An access over users and permissions, with RESTHeart's settings.
pub(super) fn access(users: Vec<Document>, permissions: Vec<Document>) -> (Access, Arc<Store>) {
    let store = Store::new("_id");
    users.into_iter().for_each(|user| store.put(user));
    let access = Access::new(
        AccessSettings::default(),
        Arc::clone(&store) as Arc<dyn Users>,
    );
    assert_eq!(access.replace_permissions(permissions), []);
    (access, store)
}

/// The head of a request as the golden files write it.
pub(in crate::access) fn head(request: &Value) -> RequestHead {
    let target = request["target"]
        .as_str()
        .unwrap()
        .split('#')
        .next()
        .unwrap();
    let origin = target
        .split_once("://")
        .map_or(target, |(_, rest)| &rest[rest.find('/').unwrap()..]);
    let (raw_path, query_string) = origin.split_once('?').unwrap_or((origin, ""));
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("127.0.0.1:8080"));
    if let Some(auth) = request["auth"].as_str() {
        let value = format!("Basic {}", BASE64_STANDARD.encode(auth));
        headers.append(AUTHORIZATION, value.parse().unwrap());
    }
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        let values = value
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![value.clone()]);
        for value in values {
            let name: HeaderName = name.parse().unwrap();
            headers.append(
                name,
                HeaderValue::from_bytes(value.as_str().unwrap().as_bytes()).unwrap(),
            );
        }
    }
    RequestHead {
        method: request["method"]
            .as_str()
            .map_or(Method::GET, |method| method.parse().unwrap()),
        path: RequestHead::decode_path(raw_path),
        raw_path: raw_path.to_owned(),
        query: RequestHead::decode_query(query_string),
        query_string: query_string.to_owned(),
        headers,
        peer: "127.0.0.1:50000".parse().unwrap(),
        local: "127.0.0.1:8080".parse().unwrap(),
        scheme: "http",
    }
}

/// A GET of a target, with Basic credentials if there are any.
pub(super) async fn get(
    access: &Access,
    target: &str,
    auth: Option<&str>,
) -> Result<Grant, Denied> {
    access
        .decide(head(&serde_json::json!({ "target": target, "auth": auth })))
        .await
}

/// Extended JSON to BSON.
pub(super) fn bson(value: &Value) -> Bson {
    serde_json::from_value(value.clone()).unwrap()
}

pub(super) fn document(value: &Value) -> Document {
    match bson(value) {
        Bson::Document(document) => document,
        other => panic!("{other} is no document"),
    }
}
