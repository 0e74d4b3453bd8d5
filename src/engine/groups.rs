//! How many groups there may be, in all collections together.
//!
//! A plan takes a place before its session subscribes, and the group that it founds keeps it; where a group of that plan
//! is there already, the place is given back at once. So who finds no place left may still join a group that there is.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::{Plan, Refused};

/// The bounds of all groups.
#[derive(Clone, Copy, Debug)]
pub struct GroupLimits {
    /// How many there may be.
    pub groups_max: usize,
    /// How many bytes their bound pipelines may have together.
    pub bytes_max: usize,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            groups_max: Semaphore::MAX_PERMITS,
            bytes_max: Semaphore::MAX_PERMITS,
        }
    }
}

/// The places that are left.
#[derive(Debug)]
pub(super) struct Places {
    groups: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    limits: GroupLimits,
}

/// One group's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _group: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(limits: GroupLimits) -> Self {
        let limits = GroupLimits {
            groups_max: limits.groups_max.min(Semaphore::MAX_PERMITS),
            bytes_max: limits.bytes_max.min(Semaphore::MAX_PERMITS),
        };
        Self {
            groups: Arc::new(Semaphore::new(limits.groups_max)),
            bytes: Arc::new(Semaphore::new(limits.bytes_max)),
            limits,
        }
    }

    /// Takes a place for the group that this plan would found.
    ///
    /// # Errors
    /// [`Refused::Limit`] if there is none.
    pub(super) fn take(&self, plan: &Plan) -> Result<Place, Refused> {
        let none = |limit| move |_| Refused::Limit { limit };
        let bytes = u32::try_from(plan.key.bytes()).unwrap_or(u32::MAX);
        let group = Arc::clone(&self.groups).try_acquire_owned();
        let group = group.map_err(none("groups"))?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(bytes);
        Ok(Place {
            _group: group,
            _bytes: bytes.map_err(none("groups_size"))?,
        })
    }

    /// How many groups there are, those that are just being founded too.
    pub(super) fn taken(&self) -> usize {
        self.limits.groups_max - self.groups.available_permits()
    }

    /// How many bytes their pipelines have.
    pub(super) fn bytes_taken(&self) -> usize {
        self.limits.bytes_max - self.bytes.available_permits()
    }
}
