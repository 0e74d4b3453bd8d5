//! The one integration binary: one link step.

mod golden;
mod house;
mod support;
