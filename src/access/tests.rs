//! Tests at the door of `access`.

mod golden;
mod live;
mod support;
