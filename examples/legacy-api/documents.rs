//! Documents: one, a page of them, or all that a filter finds.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;
use http::{StatusCode, header};
use mongodb::options::ReturnDocument;
use mongodb::{Collection, Database};

use crate::accounts;
use crate::answer::{Answer, Failure, Outcome, etag_text};
use crate::json;
use crate::properties::{self, new_etag};
use crate::request::{Asked, Contents, encode};

/// The documents of one collection.
pub(crate) struct Documents {
    pub(crate) database: Database,
    pub(crate) collection: Collection<Document>,
    /// How a client calls the collection.
    pub(crate) path: String,
    pub(crate) holds_users: bool,
}

impl Documents {
    /// One page: a bare array, or with `rep=SHAL` an object with the collection's properties and links.
    pub(crate) async fn list(&self, asked: &Asked) -> Outcome {
        let page = asked.number("page", 1, 1..=u32::MAX)?;
        let size = asked.number("pagesize", PAGE_SIZE, 0..=PAGE_SIZE_MAX)?;
        let mut found = Vec::new();
        if size > 0 {
            let find = self.collection.find(asked.filter()?.unwrap_or_default());
            let find = find.sort(asked.object("sort")?.unwrap_or_else(|| doc! { "_id": -1 }));
            let find = find.projection(asked.object("keys")?.unwrap_or_default());
            let find = find
                .skip(u64::from(page - 1) * u64::from(size))
                .limit(i64::from(size));
            found = find.await?.try_collect().await?;
        }
        let found = found
            .into_iter()
            .map(|document| Bson::Document(self.shown(document)));
        let found = found.collect::<Vec<_>>();
        let stored =
            properties::find(&self.database, &properties::id_of(self.collection.name())).await?;
        let properties = properties::named(stored, self.collection.name());
        let etag = properties.get("_etag").cloned();
        let is_shal = asked
            .parameter("rep")
            .is_some_and(|rep| rep.eq_ignore_ascii_case("SHAL"));
        let body = match is_shal {
            false => Bson::Array(found),
            true => self.with_links(found, properties, asked).await?.into(),
        };
        Ok(Answer::body(body).etag(etag.as_ref()))
    }

    async fn with_links(
        &self,
        found: Vec<Bson>,
        properties: Document,
        asked: &Asked,
    ) -> Result<Document, Failure> {
        let links = links(&self.path, &properties);
        let mut body = doc! { "_returned": i64::try_from(found.len()).unwrap_or(i64::MAX), "_embedded": found };
        if asked.parameter("count").is_some() {
            body.insert("_size", self.count(asked).await?);
        }
        body.extend(properties);
        body.insert("_links", links);
        Ok(body)
    }

    /// How many documents there are.
    pub(crate) async fn size(&self, asked: &Asked) -> Outcome {
        Ok(Answer::body(doc! { "_size": self.count(asked).await? }))
    }

    async fn count(&self, asked: &Asked) -> Result<i64, Failure> {
        let count = self
            .collection
            .count_documents(asked.filter()?.unwrap_or_default())
            .await?;
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(crate) async fn show(&self, id: Bson, asked: &Asked) -> Outcome {
        let Some(document) = self.collection.find_one(doc! { "_id": &id }).await? else {
            return Err(unknown(&id));
        };
        let etag = document.get("_etag").cloned();
        if etag.is_some() && etag == asked.if_none_match() {
            return Ok(Answer::empty(StatusCode::NOT_MODIFIED).etag(etag.as_ref()));
        }
        Ok(Answer::body(self.shown(document)).etag(etag.as_ref()))
    }

    /// One document, or many at once.
    pub(crate) async fn post(&self, asked: &Asked) -> Outcome {
        let mode = Mode::of(asked, Mode::Upsert)?;
        match asked.contents()? {
            Contents::One(content) => self.post_one(content, mode, asked).await,
            Contents::Many(contents) => self.post_many(contents, mode, asked).await,
        }
    }

    async fn post_one(&self, content: Document, mode: Mode, asked: &Asked) -> Outcome {
        let (id, written) = self.write(content, mode, asked.if_match()).await?;
        let host = asked
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let location = format!("http://{}{}", host.unwrap_or_default(), self.path_of(&id));
        Ok(written.answer().location(location))
    }

    async fn post_many(&self, contents: Vec<Document>, mode: Mode, asked: &Asked) -> Outcome {
        let mut paths = Vec::new();
        let (mut inserted, mut modified) = (0, 0);
        for content in contents {
            let (id, written) = self.write(content, mode, asked.if_match()).await?;
            paths.push(Bson::String(self.path_of(&id)));
            *if written.is_new {
                &mut inserted
            } else {
                &mut modified
            } += 1;
        }
        let counts = counts(inserted, 0, modified, modified);
        let mut body = doc! { "links": paths };
        body.extend(counts);
        Ok(Answer::body(body))
    }

    /// Writes what a POST brings, under its own `_id` or a new one.
    async fn write(
        &self,
        mut content: Document,
        mode: Mode,
        if_match: Option<Bson>,
    ) -> Result<(Bson, Written), Failure> {
        self.hash_passwords(&mut content).await?;
        let id = content.get("_id").cloned();
        let id = id.unwrap_or_else(|| Bson::ObjectId(ObjectId::new()));
        let written = self.replace(id.clone(), content, mode, if_match).await?;
        Ok((id, written))
    }

    pub(crate) async fn put(&self, id: Bson, asked: &Asked) -> Outcome {
        let mode = Mode::of(asked, Mode::Upsert)?;
        let mut content = asked.content()?;
        self.hash_passwords(&mut content).await?;
        Ok(self
            .replace(id, content, mode, asked.if_match())
            .await?
            .answer())
    }

    async fn replace(
        &self,
        id: Bson,
        content: Document,
        mode: Mode,
        if_match: Option<Bson>,
    ) -> Result<Written, Failure> {
        match mode {
            Mode::Insert => {
                let (content, etag) = dressed(id, content)?;
                self.collection.insert_one(content).await?;
                Ok(Written { etag, is_new: true })
            }
            Mode::Update => replace(&self.collection, id, content, if_match, false).await,
            Mode::Upsert => replace(&self.collection, id, content, if_match, true).await,
        }
    }

    pub(crate) async fn patch(&self, id: Bson, asked: &Asked) -> Outcome {
        let mode = Mode::of(asked, Mode::Update)?;
        let mut content = asked.content()?;
        self.hash_passwords(&mut content).await?;
        let change_to = Change::from_content(content);
        let upsert = mode != Mode::Update;
        Ok(
            change(&self.collection, id, change_to, asked.if_match(), upsert)
                .await?
                .answer(),
        )
    }

    pub(crate) async fn delete(&self, id: Bson, asked: &Asked) -> Outcome {
        let if_match = asked.if_match();
        let deleted = self
            .collection
            .find_one_and_delete(matching(&id, if_match.as_ref()))
            .await?;
        match deleted {
            Some(_) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
            None => Err(missing(&self.collection, &id, if_match).await?),
        }
    }

    pub(crate) async fn patch_many(&self, asked: &Asked) -> Outcome {
        let filter = asked.filter()?.ok_or_else(no_filter)?;
        let mut content = asked.content()?;
        self.hash_passwords(&mut content).await?;
        let Change { update, .. } = Change::from_content(content);
        let done = self.collection.update_many(filter, update).await?;
        Ok(Answer::body(counts(
            0,
            0,
            number(done.modified_count),
            number(done.matched_count),
        )))
    }

    pub(crate) async fn delete_many(&self, asked: &Asked) -> Outcome {
        let filter = asked.filter()?.ok_or_else(no_filter)?;
        let done = self.collection.delete_many(filter).await?;
        Ok(Answer::body(counts(0, number(done.deleted_count), 0, 0)))
    }

    async fn hash_passwords(&self, content: &mut Document) -> Result<(), Failure> {
        match self.holds_users {
            true => accounts::hash_passwords(content).await,
            false => Ok(()),
        }
    }

    fn shown(&self, mut document: Document) -> Document {
        if self.holds_users {
            document.remove(accounts::PASSWORD);
        }
        document
    }

    fn path_of(&self, id: &Bson) -> String {
        match id {
            Bson::String(text) => format!("{}/{}", self.path, encode(text)),
            Bson::ObjectId(id) => format!("{}/{id}", self.path),
            other => format!(
                "{}/{}?id_type=NUMBER",
                self.path,
                encode(&json::text(other))
            ),
        }
    }
}

/// What a write did.
pub(crate) struct Written {
    pub(crate) etag: Bson,
    is_new: bool,
}

impl Written {
    fn answer(&self) -> Answer {
        let status = if self.is_new {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        Answer::empty(status).etag(Some(&self.etag))
    }
}

/// Puts a document in another's place; with `upsert`, also where there is none.
pub(crate) async fn replace(
    collection: &Collection<Document>,
    id: Bson,
    content: Document,
    if_match: Option<Bson>,
    upsert: bool,
) -> Result<Written, Failure> {
    let (content, etag) = dressed(id.clone(), content)?;
    let upsert = upsert && if_match.is_none();
    let old = collection
        .find_one_and_replace(matching(&id, if_match.as_ref()), content)
        .upsert(upsert)
        .return_document(ReturnDocument::Before)
        .await?;
    match old {
        None if !upsert => Err(missing(collection, &id, if_match).await?),
        old => Ok(Written {
            etag,
            is_new: old.is_none(),
        }),
    }
}

/// Changes parts of a document; with `upsert`, also where there is none.
pub(crate) async fn change(
    collection: &Collection<Document>,
    id: Bson,
    change: Change,
    if_match: Option<Bson>,
    upsert: bool,
) -> Result<Written, Failure> {
    let upsert = upsert && if_match.is_none();
    let old = collection
        .find_one_and_update(matching(&id, if_match.as_ref()), change.update)
        .upsert(upsert)
        .return_document(ReturnDocument::Before)
        .await?;
    match old {
        None if !upsert => Err(missing(collection, &id, if_match).await?),
        old => Ok(Written {
            etag: change.etag,
            is_new: old.is_none(),
        }),
    }
}

/// A change in MongoDB's words, with the new ETag in it.
pub(crate) struct Change {
    update: Document,
    etag: Bson,
}

impl Change {
    /// Update operators stay what they are; every other key is set.
    pub(crate) fn from_content(content: Document) -> Self {
        let etag = new_etag();
        let mut set = Document::new();
        let mut update = Document::new();
        for (key, value) in content {
            match (key.as_str(), value) {
                ("$set", Bson::Document(fields)) => set.extend(fields),
                ("_id" | "_etag", _) => (),
                (_, value) if key.starts_with('$') => {
                    update.insert(key, value);
                }
                (_, value) => {
                    set.insert(key, value);
                }
            }
        }
        set.insert("_etag", etag.clone());
        update.insert("$set", set);
        Self { update, etag }
    }
}

/// What a document is written with: its `_id` and a new ETag, after the client's own fields.
fn dressed(id: Bson, mut content: Document) -> Result<(Document, Bson), Failure> {
    if let Some(operator) = content.keys().find(|key| key.starts_with('$')) {
        return Err(Failure::bad_request(format!("{operator} is for PATCH")));
    }
    let etag = new_etag();
    content.remove("_id");
    content.remove("_etag");
    content.insert("_id", id);
    content.insert("_etag", etag.clone());
    Ok((content, etag))
}

fn matching(id: &Bson, etag: Option<&Bson>) -> Document {
    let mut filter = doc! { "_id": id };
    if let Some(etag) = etag {
        filter.insert("_etag", etag);
    }
    filter
}

/// Why nothing was found: there is nothing, or it has another ETag.
async fn missing(
    collection: &Collection<Document>,
    id: &Bson,
    if_match: Option<Bson>,
) -> Result<Failure, Failure> {
    let is_there = if_match.is_some() && collection.find_one(doc! { "_id": id }).await?.is_some();
    Ok(if is_there {
        Failure::precondition_failed()
    } else {
        unknown(id)
    })
}

fn unknown(id: &Bson) -> Failure {
    Failure::not_found(format!("document '{}' does not exist", etag_text(id)))
}

fn no_filter() -> Failure {
    Failure::bad_request("the parameter filter is missing")
}

fn counts(inserted: i64, deleted: i64, modified: i64, matched: i64) -> Document {
    doc! { "inserted": inserted, "deleted": deleted, "modified": modified, "matched": matched }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A link for each named entry of the property `streams`: plain data to this API, like any other property.
fn links(path: &str, properties: &Document) -> Document {
    let entries = properties
        .get_array("streams")
        .map(Vec::as_slice)
        .unwrap_or_default();
    let names = entries
        .iter()
        .filter_map(|entry| entry.as_document()?.get_str("uri").ok());
    names
        .map(|name| {
            (
                name.to_owned(),
                doc! { "href": format!("{path}/_streams/{}", encode(name)) }.into(),
            )
        })
        .collect()
}

/// What a write may find.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing, or it is an error.
    Insert,
    /// Something, or it is an error.
    Update,
    /// Either.
    Upsert,
}

impl Mode {
    fn of(asked: &Asked, default: Self) -> Result<Self, Failure> {
        match asked
            .parameter("wm")
            .or_else(|| asked.parameter("writeMode"))
        {
            None => Ok(default),
            Some("insert") => Ok(Self::Insert),
            Some("update") => Ok(Self::Update),
            Some("upsert") => Ok(Self::Upsert),
            Some(other) => Err(Failure::bad_request(format!("unknown write mode {other}"))),
        }
    }
}

const PAGE_SIZE: u32 = 100;
const PAGE_SIZE_MAX: u32 = 1000;
