//! The body of a request on its way to the upstream.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::body::{Body, Frame, SizeHint};

use super::pace::Pace;
use crate::proxy::{BodyError, ClientBody, timer::Deadline};

/// The body of a request to the upstream.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    Client {
        body: ClientBody,
        upload: Arc<Upload>,
        /// How much longer the upstream's leave to send it is waited for.
        patience: Deadline,
        pace: Pace,
    },
}

impl RequestBody {
    /// `waits`: nothing is sent before [`Upload::go_on`], or before it was waited for too long. The client's own
    /// `100 Continue` is written when the body is first asked for, so it comes no earlier than the upstream's.
    ///
    /// `rate`: how many bytes a second the client must send; 0: any.
    pub(crate) fn new(body: ClientBody, waits: bool, rate: u64) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        let upload = Upload {
            is_waiting: AtomicBool::new(waits),
            ..Upload::default()
        };
        Self::Client {
            body,
            upload: Arc::new(upload),
            patience: Deadline::default(),
            pace: Pace::new(rate),
        }
    }

    /// Returns what can be known of this body while it is sent.
    pub(crate) fn upload(&self) -> Option<Arc<Upload>> {
        match self {
            Self::Empty => None,
            Self::Client { upload, .. } => Some(Arc::clone(upload)),
        }
    }
}

/// What is known of a body that is being sent.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    has_moved: AtomicBool,
    has_ended: AtomicBool,
    is_waiting: AtomicBool,
    sender: AtomicWaker,
}

impl Upload {
    /// Returns whether a part was sent since this was last asked: an upload may last longer than an answer may.
    pub(crate) fn has_moved(&self) -> bool {
        self.has_moved.swap(false, Ordering::Relaxed)
    }

    /// Returns whether the client has sent it whole.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Returns whether it waits for the upstream's leave.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Acquire)
    }

    /// Lets it be sent.
    pub(crate) fn go_on(&self) {
        self.is_waiting.store(false, Ordering::Release);
        self.sender.wake();
    }

    fn poll_leave(&self, patience: &mut Deadline, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_waiting() {
            return Poll::Ready(());
        }
        if !patience.is_set() {
            patience.set(LEAVE_WAIT_MAX);
        }
        self.sender.register(cx.waker());
        // Once more, for what came between the look and the registration.
        if self.is_waiting() {
            ready!(patience.poll(cx));
            self.is_waiting.store(false, Ordering::Release);
        }
        Poll::Ready(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Client {
                body,
                upload,
                patience,
                pace,
            } => {
                ready!(upload.poll_leave(patience, cx));
                let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else {
                    let too_slow = ready!(pace.poll_too_slow(cx));
                    return Poll::Ready(Some(Err(too_slow.into())));
                };
                if let Some(Ok(frame)) = &frame {
                    pace.note(frame.data_ref().map_or(0, Bytes::len));
                }
                upload.has_moved.store(true, Ordering::Relaxed);
                if frame.is_none() || body.is_end_stream() {
                    upload.has_ended.store(true, Ordering::Relaxed);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client { body, .. } => body.size_hint(),
        }
    }
}

/// An upstream that does not know `Expect` waits for the body without a word; curl waits for as long.
///
/// Source: RFC 9110 §10.1.1, a client does not wait for an indefinite time.
const LEAVE_WAIT_MAX: Duration = Duration::from_secs(1);
