//! The addresses of a host, and those that it had when its name could last be looked up.
//!
//! While names cannot be looked up requests go where they went before. One lookup is under way at a time: one that gets no answer
//! occupies a thread until the system gives it up, and who comes meanwhile must not wait for it.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

/// What is known of one host. It is always asked about the same one.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Names {
    known: Mutex<Option<Known>>,
    /// Held by who looks the name up.
    turn: tokio::sync::Mutex<()>,
    is_lost: AtomicBool,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Arc<[SocketAddr]>,
    at: Instant,
}

impl Names {
    /// Connects to one of the host's addresses. The caller sets the time limit.
    pub(super) async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return TcpStream::connect((address, port)).await;
        }
        let asked = async { Ok(lookup_host((host, port)).await?.collect()) };
        let addresses = self.addresses(host, asked).await?;
        TcpStream::connect(&*addresses).await
    }

    async fn addresses(
        &self,
        host: &str,
        asked: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    ) -> io::Result<Arc<[SocketAddr]>> {
        let known = self.known();
        let _turn = match (self.turn.try_lock(), &known) {
            (Ok(turn), _) => turn,
            (Err(_), Some(known)) => return Ok(Arc::clone(known)),
            (Err(_), None) => {
                let turn = self.turn.lock().await;
                if let Some(found) = self.known() {
                    return Ok(found);
                }
                turn
            }
        };
        let answer = match &known {
            Some(_) => timeout(ANSWER_MAX, asked).await,
            None => Ok(asked.await),
        };
        let why = match answer {
            Ok(Ok(found)) if !found.is_empty() => {
                let addresses = Arc::<[SocketAddr]>::from(found);
                self.note(host, &addresses);
                return Ok(addresses);
            }
            Ok(Ok(_)) => io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "no answer about the name"),
        };
        let Some(known) = known else {
            return Err(why);
        };
        if !self.is_lost.swap(true, Ordering::Relaxed) {
            tracing::warn!(host, error = %why, "a name cannot be looked up, its last addresses are used");
        }
        Ok(known)
    }

    fn note(&self, host: &str, addresses: &Arc<[SocketAddr]>) {
        let known = Known {
            addresses: Arc::clone(addresses),
            at: Instant::now(),
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        if self.is_lost.swap(false, Ordering::Relaxed) {
            tracing::info!(host, "the name can be looked up again");
        }
    }

    /// The last addresses, if they are not too old to be relied on: another host may have them by then.
    fn known(&self) -> Option<Arc<[SocketAddr]>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref()?;
        (known.at.elapsed() < KNOWN_FOR).then(|| Arc::clone(&known.addresses))
    }
}

/// How long a lookup is waited for where an earlier answer is there.
const ANSWER_MAX: Duration = Duration::from_secs(1);
const KNOWN_FOR: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 80))
    }

    async fn ask(
        names: &Names,
        answer: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    ) -> Option<SocketAddr> {
        let addresses = names.addresses("host", answer).await.ok()?;
        addresses.first().copied()
    }

    fn fails() -> impl Future<Output = io::Result<Vec<SocketAddr>>> {
        ready(Err(io::Error::other("no such name")))
    }

    fn found(last: u8) -> impl Future<Output = io::Result<Vec<SocketAddr>>> {
        ready(Ok(vec![address(last)]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_gone_leads_where_it_led_for_a_while() {
        let names = Names::default();
        assert_eq!(ask(&names, fails()).await, None);
        assert_eq!(ask(&names, found(1)).await, Some(address(1)));
        assert_eq!(ask(&names, fails()).await, Some(address(1)));
        assert_eq!(ask(&names, ready(Ok(vec![]))).await, Some(address(1)));
        assert_eq!(ask(&names, found(2)).await, Some(address(2)));
        tokio::time::advance(KNOWN_FOR / 2).await;
        assert_eq!(ask(&names, fails()).await, Some(address(2)));
        tokio::time::advance(KNOWN_FOR / 2).await;
        assert_eq!(ask(&names, fails()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_for_an_answer_that_does_not_come() {
        let names = Names::default();
        assert_eq!(ask(&names, found(1)).await, Some(address(1)));
        let begun = Instant::now();
        let mut first = std::pin::pin!(ask(&names, pending()));
        assert!(futures_util::poll!(&mut first).is_pending());
        // Who comes while it is asked about does not wait at all.
        assert_eq!(ask(&names, pending()).await, Some(address(1)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(first.await, Some(address(1)));
        assert_eq!(begun.elapsed(), ANSWER_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn who_knows_nothing_yet_gets_the_answer_that_another_waits_for() {
        let names = Names::default();
        let slow = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok(vec![address(1)])
        };
        let (first, second) = tokio::join!(ask(&names, slow), ask(&names, pending()));
        assert_eq!([first, second], [Some(address(1)); 2]);
    }
}
