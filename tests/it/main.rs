//! The one integration binary: one link step.

mod bad_input;
mod freshness;
mod golden;
mod house;
mod independence;
mod support;
mod tutorial;
