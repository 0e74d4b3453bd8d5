//! What a service manager is told: systemd's `Type=notify`. Nothing, where nobody asked (`NOTIFY_SOCKET` is not set).

use sd_notify::NotifyState;

/// Says that all is served.
pub fn tell_ready() {
    tell(NotifyState::Ready);
}

/// Says that this process, which has taken over, is the service from now on. It is said by the one that was: systemd believes
/// nobody else by default.
pub fn tell_main(process: u32) {
    tell(NotifyState::MainPid(process));
}

/// Says that the end has begun.
pub fn tell_stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told: {error}");
    }
}
