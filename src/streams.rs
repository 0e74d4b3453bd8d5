//! What the metadata says a stream is, and what one request makes of it.
//!
//! [`definition`] reads the `streams` of a collection, [`catalog`] keeps them as a snapshot, [`variables`] gathers what a
//! request binds, [`screen`] forbids what no pipeline may hold, and [`pipeline::bind`] puts it all together: definition,
//! variables, read filter and hidden fields become one bound pipeline, within [`limits`]. Who subscribes to it, and how users are found, is
//! not known here.
//!
//! Source: `restheart-compat.md` section 2; `design.md` sections 5 and 8.

pub mod catalog;
pub mod definition;
pub mod limits;
pub mod pipeline;
pub mod screen;
pub mod variables;

mod java;
#[cfg(test)]
mod testing;

pub use catalog::{Catalog, Change, Entry, StaticStream};
pub use definition::{CollectionDefinitions, Definition, DefinitionError};
pub use limits::PipelineLimits;
pub use pipeline::{BindError, BindRequest, BoundPipeline, bind};
pub use variables::{Caller, VariableError, Variables};
