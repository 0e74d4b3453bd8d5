//! Documents: their fields, put together and taken apart.

use bson::spec::ElementType;

use crate::query::expression::arrays::array;
use crate::query::expression::node::{Node, given};
use crate::query::expression::numeric::wrong_type;
use crate::query::expression::{Builder, Computed, Failure, Outcome, Scope};

/// Fields in order; a name that comes again replaces the value where it stands.
#[derive(Default)]
struct Fields<'d> {
    fields: Vec<(Vec<u8>, Computed<'d>)>,
    places: std::collections::HashMap<Vec<u8>, usize>,
}

impl<'d> Fields<'d> {
    fn set(&mut self, name: &[u8], value: Computed<'d>) {
        match self.places.get(name) {
            Some(place) => self.fields[*place].1 = value,
            None => {
                self.places.insert(name.to_vec(), self.fields.len());
                self.fields.push((name.to_vec(), value));
            }
        }
    }

    fn set_all(&mut self, document: &Computed<'d>) {
        for (name, value) in document
            .value()
            .container()
            .into_iter()
            .flat_map(|d| d.elements())
        {
            self.set(name, document.part(value));
        }
    }

    fn document(self) -> Outcome<'d> {
        let mut document = Builder::new();
        for (name, value) in &self.fields {
            document.field(name, value.value());
        }
        document.document().map(Some)
    }
}

pub(super) fn merge<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let mut merged = Fields::default();
    let mut take = |value: Computed<'d>| {
        if value.is_document() {
            merged.set_all(&value);
            return Ok(());
        }
        match value.is_nullish() {
            true => Ok(()),
            false => Err(wrong_type(40400, "$mergeObjects", Some(&value))),
        }
    };
    for argument in arguments {
        match argument.evaluate(scope)? {
            Some(array) if array.is_array() && arguments.len() == 1 => {
                array.elements().try_for_each(&mut take)?;
            }
            Some(value) => take(value)?,
            None => (),
        }
    }
    merged.document()
}

/// Either all elements are pairs, or all are documents of `k` and `v`.
pub(super) fn from_array<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [node] = arguments else {
        return Ok(None);
    };
    let Some(array) = array(node, scope, 40386, "$arrayToObject")? else {
        return Ok(Some(Computed::null()));
    };
    let mut fields = Fields::default();
    let mut kind = None;
    for element in array.elements() {
        if *kind.get_or_insert(element.kind()) != element.kind() {
            return Err(Failure::new(40391, "$arrayToObject of pairs and documents"));
        }
        let pair = match element.kind() {
            ElementType::Array => {
                let pair: Vec<Computed<'d>> = element.elements().take(3).collect();
                match <[Computed<'d>; 2]>::try_from(pair) {
                    Ok(pair) => pair,
                    Err(_) => return Err(Failure::new(40397, "$arrayToObject of no pair")),
                }
            }
            ElementType::EmbeddedDocument => {
                let is_pair = element.elements().count() == 2;
                match (element.get(b"k"), element.get(b"v")) {
                    (Some(key), Some(value)) if is_pair => [key, value],
                    _ => return Err(Failure::new(40392, "$arrayToObject without k and v")),
                }
            }
            _ => return Err(wrong_type(40398, "$arrayToObject", Some(&element))),
        };
        let [key, value] = pair;
        if key.kind() != ElementType::String {
            return Err(wrong_type(40395, "$arrayToObject with a key", Some(&key)));
        }
        let name = key.value().text();
        if name.contains(&0) {
            return Err(Failure::new(4940400, "$arrayToObject with NUL in a key"));
        }
        fields.set(name, value);
    }
    fields.document()
}

pub(super) fn to_array<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [node] = arguments else {
        return Ok(None);
    };
    let Some(document) = given(node, scope)? else {
        return Ok(Some(Computed::null()));
    };
    if !document.is_document() {
        return Err(wrong_type(40390, "$objectToArray", Some(&document)));
    }
    let mut result = Builder::new();
    for (name, value) in document
        .value()
        .container()
        .into_iter()
        .flat_map(|d| d.elements())
    {
        let mut pair = Builder::new();
        pair.field(b"k", Computed::string(name).value());
        pair.field(b"v", value);
        result.element(pair.document()?.value());
        result.check()?;
    }
    result.array().map(Some)
}

/// `[name, input]`; the name is a constant text.
pub(super) fn get_field<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [name, input] = arguments else {
        return Ok(None);
    };
    let name = name.evaluate(scope)?;
    let input = input.evaluate(scope)?;
    match (name, input) {
        (Some(name), Some(input)) if input.is_document() => Ok(input.get(name.value().text())),
        (_, Some(input)) if input.is_nullish() => Ok(Some(Computed::null())),
        _ => Ok(None),
    }
}

/// `[name, input, value]`; a missing value takes the field away.
pub(super) fn set_field<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [name, input, value] = arguments else {
        return Ok(None);
    };
    let name = name.evaluate(scope)?;
    let input = input.evaluate(scope)?;
    let Some(input) = input.filter(|input| !input.is_nullish()) else {
        return Ok(Some(Computed::null()));
    };
    if !input.is_document() {
        return Err(wrong_type(4161105, "$setField", Some(&input)));
    }
    let name = name.as_ref().map_or(&[][..], |name| name.value().text());
    let mut value = value.evaluate(scope)?;
    let mut result = Builder::new();
    for (field, old) in input
        .value()
        .container()
        .into_iter()
        .flat_map(|d| d.elements())
    {
        match (field == name, value.take()) {
            (false, kept) => {
                value = kept;
                result.field(field, old);
            }
            (true, Some(new)) => result.field(field, new.value()),
            (true, None) => (),
        }
    }
    if let Some(value) = value {
        result.field(name, value.value());
    }
    result.document().map(Some)
}
