//! What goes over the wire: change events as text, byte for byte as RESTHeart writes them.
//!
//! [`json`] writes BSON as Extended JSON in RESTHeart's five modes, straight from raw BSON. [`frame`] makes of a change
//! event the text that a client gets, with a [`Veil`] over what the client may not see, and wraps texts as WebSocket
//! frames and SSE events; [`deflate`] makes frames smaller. What is made here is shared by all receivers; who they are is not known here.
//!
//! Source: `restheart-compat.md` section 3, recorded in `tests/golden/streams/{jsonmode,events}.json`.

pub mod deflate;
pub mod frame;
pub mod json;
mod veil;

#[cfg(test)]
pub(crate) mod testing;

pub use json::JsonMode;
pub use veil::Veil;
