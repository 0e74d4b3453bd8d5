//! The one integration binary: one link step.

mod access;
mod admin;
mod bad_input;
mod config;
mod engine;
mod faults;
mod freshness;
mod golden;
mod hidden;
mod house;
mod http2;
mod independence;
mod legacy;
mod limits;
mod privileges;
mod proxy;
mod query;
mod reconnect;
mod reshaping;
mod resume;
mod secure;
mod session;
mod support;
mod systemd;
mod tutorial;
mod upgrade;
