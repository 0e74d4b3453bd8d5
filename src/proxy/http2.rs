//! HTTP/2 towards clients: its requests and answers, and how they are those of HTTP/1.1.
//!
//! Nobody behind the listener knows of HTTP/2. A request becomes one of HTTP/1.1 ([`Http2Request`]) before anybody looks at
//! it, and goes the way of all others, with a target that h2 would not take ([`Http2Io`]); what is answered, be it a message or a raw head, becomes an answer of HTTP/2
//! ([`answer_head`], [`raw_answer_head`]).

pub use super::{
    answer::http2::{answer_head, has_body, interim_heads, raw_answer_head, trailers},
    head::http2::{Http2Io, Http2Request},
};
