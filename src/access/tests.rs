//! Tests at the door of `access`.

mod decisions;
mod golden;
mod live;
pub(super) mod support;
