//! Tests at the door of `access`.

mod golden;
mod live;
pub(super) mod support;
