//! `$redact`: each document, from the outside in, says whether it is kept, left out, or looked into.

use bson::spec::ElementType;

use crate::query::expression::{Expression, Failure, Scope};
use crate::query::stages::output::{Output, Places};
use crate::query::value::{Doc, Value};

/// What `$redact`'s expression says of one document.
enum Verdict {
    Keep,
    Prune,
    Descend,
}

/// Writes what `$redact` leaves of `document`; returns whether it leaves it at all.
///
/// # Errors
/// Where the expression fails or says something else, and at the limits of documents.
pub(super) fn redact<'d>(
    expression: &'d Expression,
    document: Doc<'d>,
    out: &mut Output,
) -> Result<bool, Failure> {
    let mut redaction = Redaction {
        expression,
        scope: Scope::new(document),
        out,
    };
    match redaction.judge(document)? {
        Verdict::Prune => return Ok(false),
        Verdict::Keep => redaction.out.document(document)?,
        Verdict::Descend => {
            let start = redaction.out.open_root();
            redaction.elements(document)?;
            redaction.out.close(start)?;
        }
    }
    Ok(true)
}

struct Redaction<'d, 'o> {
    expression: &'d Expression,
    scope: Scope<'d>,
    out: &'o mut Output,
}

impl<'d> Redaction<'d, '_> {
    fn judge(&mut self, document: Doc<'d>) -> Result<Verdict, Failure> {
        self.scope.set_current(document);
        let says = self.expression.evaluate(&mut self.scope)?;
        let text = says.as_ref().and_then(|says| says.value().as_str());
        match text {
            Some("keep") => Ok(Verdict::Keep),
            Some("prune") => Ok(Verdict::Prune),
            Some("descend") => Ok(Verdict::Descend),
            _ => Err(Failure::new(
                NO_VERDICT,
                "$redact's expression gives none of $$KEEP, $$PRUNE and $$DESCEND",
            )),
        }
    }

    /// Writes what is left of the fields of a document that is looked into. Empty places go.
    fn elements(&mut self, document: Doc<'d>) -> Result<(), Failure> {
        for (name, value) in document.elements() {
            self.element(name, value)?;
        }
        Ok(())
    }

    /// Writes what is left of a value; returns whether anything is.
    fn element(&mut self, name: &[u8], value: Value<'d>) -> Result<bool, Failure> {
        match (value.kind, value.container()) {
            (_, None) => self.out.value(name, value)?,
            (ElementType::Array, Some(array)) => {
                let start = self.out.open(ElementType::Array, name)?;
                let mut places = Places::default();
                for (_, element) in array.slots() {
                    match element {
                        None => self.out.empty(places.name()),
                        Some(element) => {
                            if self.element(places.name(), element)? {
                                places.advance();
                            }
                        }
                    }
                }
                self.out.close(start)?;
            }
            (kind, Some(document)) => match self.judge(document)? {
                Verdict::Prune => return Ok(false),
                Verdict::Keep => self.out.value(name, value)?,
                Verdict::Descend => {
                    let start = self.out.open(kind, name)?;
                    self.elements(document)?;
                    self.out.close(start)?;
                }
            },
        }
        Ok(true)
    }
}

/// MongoDB's number of that error.
const NO_VERDICT: i32 = 17053;
