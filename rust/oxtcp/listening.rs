// SPDX-License-Identifier: GPL-2.0

//! What a listener has: two queues, and how full they are.
//!
//! It is made by a socket's first listen(2) and stays until the socket is freed, so that who has found a listener can look at it
//! without a lock. A SYN takes none: what it looks at are atomic words, each for itself.

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::{rcu, Arc};

use oxtcp_engine::SocketOptions;

use crate::backlog::{Backlog, Setting};
use crate::cookies::LastSent;
use crate::crowd::{Crowds, Recent};
use crate::flood::Floods;
use crate::group::{Group, Member};
use crate::namespace::Namespace;
use crate::ports::PortRef;
use crate::protocol::{CallOptions, Socket, Tcp};
use crate::sys::lock::{new_spinlock_bh, SpinLockBh};
use crate::sys::once::Once;
use crate::sys::rcu_cell::RcuCell;
use crate::sys::sock::{Child, SockQueue};
use crate::sys::table::{Endpoint, FlowKey};

/// See above.
#[pin_data]
pub(crate) struct Listening {
    /// The connections that wait for accept(), while the socket listens. The accept lock, taken last: after any socket lock. Any
    /// context.
    #[pin]
    accept: SpinLockBh<Accept>,
    /// Copies for those who do not take the lock, written under it.
    waiting: Atomic<u32>,
    backlog: Atomic<u32>,
    asked: Atomic<u32>,
    core_limit: Atomic<u32>,
    our_limit: Atomic<u32>,
    max_seg: Atomic<u32>,
    defer_accept: Atomic<u32>,
    /// Half-open connections.
    pub(crate) half_open: HalfOpens,
    /// How many of these a prefix has.
    pub(crate) crowds: Crowds,
    /// Which came first; none where cookies were sent when the socket last called listen(2). Replaced under the socket lock, read under RCU.
    pub(crate) recent: RcuCell<Recent>,
    pub(crate) cookie_sent: LastSent,
    /// What overflowed, how often, and what was said of it.
    pub(crate) floods: Floods,
}

/// What the accept lock protects.
struct Accept {
    /// While the socket listens.
    queue: Option<AcceptQueue>,
    /// After a life that is over: the group whose members take over what it has left, if they are to.
    heirs: Option<(Life, Arc<Group>)>,
}

/// What waits for accept(), and what the connections begin with.
struct AcceptQueue {
    queue: SockQueue<Tcp>,
    /// The listener's life that this is the queue of.
    life: Life,
    /// Where it listens, as the flow table has it.
    local: Endpoint,
    /// The place in a group.
    member: Option<Member>,
    /// The hold on the port that each connection gets one of too.
    port: PortRef,
    /// The most that may wait.
    backlog: u32,
    /// What the listener's connections begin with.
    options: SocketOptions,
    calls: CallOptions,
}

/// Whether an accept queue takes one more.
pub(crate) enum Room {
    For(PortRef, SocketOptions, CallOptions),
    Full,
    /// The socket does not listen any more.
    Closed,
}

impl Listening {
    /// Of a socket that does not listen yet. Process context.
    pub(crate) fn new() -> Result<Pin<KBox<Self>>> {
        let crowds = Crowds::new()?;
        let zero = || Atomic::new(0u32);
        let new = pin_init!(Self {
            accept <- new_spinlock_bh!(Accept { queue: None, heirs: None }, "oxtcp_accept_queue"),
            waiting: zero(),
            backlog: zero(),
            asked: zero(),
            core_limit: zero(),
            our_limit: zero(),
            max_seg: zero(),
            defer_accept: zero(),
            half_open: HalfOpens::new(),
            crowds,
            recent: RcuCell::empty(),
            cookie_sent: LastSent::new(),
            floods: Floods::new(),
        });
        KBox::pin_init(new, GFP_KERNEL)
    }

    /// The socket listens from now on; half-open connections may come in. Process context.
    pub(crate) fn begin(
        &self,
        (local, member): (Endpoint, Option<Member>),
        port: PortRef,
        backlog: Backlog,
        options: SocketOptions,
        calls: CallOptions,
    ) {
        let life = self.half_open.next_life();
        let mut accept = self.accept.lock();
        accept.queue = Some(AcceptQueue {
            queue: SockQueue::new(),
            life,
            local,
            member,
            port,
            backlog: backlog.granted(),
            options,
            calls,
        });
        self.copy_backlog(backlog);
        self.copy_options(&options, &calls);
        drop(accept);
        self.cookie_sent.forget();
        self.floods.begin();
        self.crowds.clear(life);
        self.half_open.begin(life);
    }

    /// The place in a group, while the socket listens. Process context.
    pub(crate) fn member(&self) -> Option<Member> {
        self.accept.lock().queue.as_ref()?.member.clone()
    }

    /// The socket listens no more: what has waited. The group gets what it leaves if `inherits` says so. Process context.
    pub(crate) fn end(&self, inherits: bool) -> Option<(SockQueue<Tcp>, Life)> {
        let mut accept = self.accept.lock();
        let ended = accept.queue.take()?;
        let group = ended.member.filter(|_| inherits).map(|member| member.group);
        let former = core::mem::replace(&mut accept.heirs, group.map(|group| (ended.life, group)));
        drop(accept);
        drop(former);
        self.waiting.store(0, Relaxed);
        self.half_open.end();
        Some((ended.queue, ended.life))
    }

    /// Who takes over what that life of the listener has left, if it is over. Any context.
    pub(crate) fn heirs(&self, life: Life) -> Option<Arc<Group>> {
        match &self.accept.lock().heirs {
            Some((of, group)) if *of == life => Some(group.clone()),
            _ => None,
        }
    }

    /// listen(2) again. Process context.
    pub(crate) fn set_backlog(&self, backlog: Backlog) {
        if let Some(queue) = &mut self.accept.lock().queue {
            queue.backlog = backlog.granted();
            self.copy_backlog(backlog);
        }
    }

    /// Has the oldest half-open connections known, so many as there may be with that backlog, if there are no cookies: the settings of a listen(2), the
    /// first or another. What is known stays known. Process context; the socket is owned.
    pub(crate) fn remember(&self, namespace: &Namespace, backlog: u32) {
        if namespace.sysctls.syncookies() != 0 {
            return;
        }
        // Of a backlog that was larger there may be more: who is not known would not give way.
        let most = most(namespace, backlog).max(self.half_open.count());
        let most = Recent::bounded(most);
        let is_there = |recent: &Recent| recent.len() == most;
        if self.recent.get(&rcu::read_lock()).is_some_and(is_there) {
            return;
        }
        // Without it the newest are dropped, as in Linux.
        let Ok(new) = Recent::new(most) else {
            return;
        };
        if let Some(old) = self.recent.get(&rcu::read_lock()) {
            old.copy_to(&new);
        }
        let _ = self.recent.replace(Some(new), GFP_KERNEL);
    }

    /// Connections made from now on begin with these. Process context.
    pub(crate) fn set_options(&self, options: SocketOptions, calls: CallOptions) {
        if let Some(queue) = &mut self.accept.lock().queue {
            queue.options = options;
            queue.calls = calls;
            self.copy_options(&options, &calls);
        }
    }

    fn copy_backlog(&self, backlog: Backlog) {
        self.backlog.store(backlog.granted(), Relaxed);
        self.asked.store(backlog.asked, Relaxed);
        self.core_limit.store(backlog.core, Relaxed);
        self.our_limit.store(backlog.ours, Relaxed);
    }

    fn copy_options(&self, options: &SocketOptions, calls: &CallOptions) {
        let max_seg = options.max_seg.map_or(0, |max_seg| max_seg.get());
        self.max_seg.store(u32::from(max_seg), Relaxed);
        self.defer_accept
            .store(u32::from(calls.defer_accept), Relaxed);
    }

    /// Whether that life's listener has room for one more connection, of the flow `key`, and what it begins with. Any context.
    pub(crate) fn room(&self, life: Life, key: &FlowKey) -> Room {
        match &self.accept.lock().queue {
            Some(accept) if accept.life != life || !accept.serves(key.local()) => Room::Closed,
            Some(accept) if accept.queue.len() > accept.backlog => Room::Full,
            Some(accept) => Room::For(accept.port.child(), accept.options, accept.calls),
            None => Room::Closed,
        }
    }

    /// Lets a connection wait. Any context.
    ///
    /// # Errors
    ///
    /// The connection, when that life of the listener is over.
    pub(crate) fn push(&self, child: Child<Tcp>, life: Life) -> Result<(), Child<Tcp>> {
        match &mut self.accept.lock().queue {
            Some(accept) if accept.life == life => {
                accept.queue.push(child);
                let waiting = accept.queue.len();
                self.waiting.store(waiting, Relaxed);
                self.floods.note_waiting(waiting);
                Ok(())
            }
            _ => Err(child),
        }
    }

    /// The connection that has waited longest. Any context.
    pub(crate) fn pop(&self) -> Option<Child<Tcp>> {
        let mut accept = self.accept.lock();
        let queue = &mut accept.queue.as_mut()?.queue;
        let first = queue.pop();
        self.waiting.store(queue.len(), Relaxed);
        first
    }

    /// Counts a half-open connection in, unless there are `most` already, or that life is over. Any context, no lock, as what follows.
    pub(crate) fn enter(
        &self,
        namespace: &Namespace,
        key: &FlowKey,
        life: Life,
        most: u32,
    ) -> bool {
        let Some(count) = self.half_open.enter(life, most) else {
            return false;
        };
        self.crowds.enter(namespace, key, life);
        self.floods.note_half_open(count);
        true
    }

    /// Counts it out.
    pub(crate) fn leave(&self, namespace: &Namespace, key: &FlowKey, life: Life) {
        if self.half_open.leave(life) {
            self.crowds.leave(namespace, key, life);
        }
    }

    /// The most that may be half open: as in Linux a backlog of n lets n + 1 be.
    pub(crate) fn most_half_open(&self, namespace: &Namespace) -> u32 {
        most(namespace, self.backlog.read_once())
    }

    /// How many connections wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.read_once()
    }

    pub(crate) fn backlog(&self) -> Backlog {
        Backlog {
            asked: self.asked.load(Relaxed),
            core: self.core_limit.load(Relaxed),
            ours: self.our_limit.load(Relaxed),
        }
    }

    /// What [`most_half_open`](Self::most_half_open) is by.
    pub(crate) fn half_open_setting(&self, namespace: &Namespace) -> Setting {
        let backlog = self.backlog();
        match self.most_half_open(namespace) <= backlog.granted() {
            true => Setting::MaxSynBacklog,
            false => backlog.setting(),
        }
    }

    /// Whether one more is one too many; as in Linux a backlog of n lets n + 1 wait.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting() > self.backlog.read_once()
    }

    /// TCP_MAXSEG, if it is set.
    pub(crate) fn max_seg(&self) -> Option<core::num::NonZeroU16> {
        core::num::NonZeroU16::new(self.max_seg.read_once() as u16)
    }

    /// TCP_DEFER_ACCEPT, in timeouts of a SYN-ACK.
    pub(crate) fn defer_accept(&self) -> u8 {
        self.defer_accept.load(Relaxed) as u8
    }
}

impl AcceptQueue {
    /// Whether connections to `local` are this listener's: who has found a listener finds another one, perhaps, when the socket has begun
    /// to listen elsewhere meanwhile.
    fn serves(&self, local: Endpoint) -> bool {
        let Endpoint { ip, port } = self.local;
        let any = ip == [0; 16] || ip == Endpoint::mapped([0; 4]);
        port == local.port && (any || ip == local.ip)
    }
}

/// See [`Listening::most_half_open`]. As many as [`Crowds`] can count, 2 GB of them.
fn most(namespace: &Namespace, backlog: u32) -> u32 {
    u32::try_from(namespace.sysctls.max_syn_backlog())
        .unwrap_or(0)
        .min(backlog.saturating_add(1))
        .min(Crowds::COUNT_MOST)
}

/// What `sock` has as a listener, if it ever was one. Any context, no lock.
pub(crate) fn of(sock: &Socket) -> Option<&Listening> {
    sock.shared()
        .listening
        .as_ref()
        .map(|listening| &**listening)
}

/// A socket's time as a listener, from listen(2) to the end of listening. After 32,768 the numbers come again: by then
/// every half-open connection has run out of retransmissions long ago.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life(u16);

impl Life {
    /// Which of 256 in turn: enough to tell a life from those that a softirq may still be busy with.
    pub(crate) fn tag(self) -> u8 {
        (self.0 >> 1) as u8
    }
}

/// How many half-open connections a listener has, and in which of its lives it is. Any context, no lock.
///
/// Who stops listening does not look for his half-open connections: he begins the next life, and they end when
/// their timer or a segment finds them, as in Linux. A life with an odd number is one of a listener, between two of them is one in which
/// the socket does not listen.
pub(crate) struct HalfOpens(Atomic<u64>);

impl HalfOpens {
    /// The life stands above the count.
    const LIFE_SHIFT: u32 = 32;

    fn new() -> Self {
        Self(Atomic::new(0))
    }

    fn life_of(word: u64) -> Life {
        Life((word >> Self::LIFE_SHIFT) as u16)
    }

    fn count_of(word: u64) -> u32 {
        word as u32
    }

    /// Changes the word as `change` says, until that says `None`.
    fn update(&self, mut change: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        let mut old = self.0.load(Relaxed);
        loop {
            match self.0.cmpxchg(old, change(old)?, Full) {
                Ok(_) => return Some(old),
                Err(now) => old = now,
            }
        }
    }

    /// The life that is now, if the socket listens.
    pub(crate) fn life(&self) -> Option<Life> {
        let life = Self::life_of(self.0.read_once());
        (life.0 & 1 == 1).then_some(life)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        Self::count_of(self.0.read_once())
    }

    /// Counts one in, unless there are `most` already, or that life is over. How many there are then.
    fn enter(&self, life: Life, most: u32) -> Option<u32> {
        let may = |word| Self::life_of(word) == life && Self::count_of(word) < most;
        let before = self.update(|word| may(word).then(|| word.wrapping_add(1)))?;
        Some(Self::count_of(before).wrapping_add(1))
    }

    /// Counts one out; `false` for one of an earlier life, which is not counted any more.
    fn leave(&self, life: Life) -> bool {
        let may = |word| Self::life_of(word) == life && Self::count_of(word) > 0;
        self.update(|word| may(word).then(|| word.wrapping_sub(1)))
            .is_some()
    }

    /// The life of a listener that is to begin. Nobody else begins one, as the socket is owned.
    fn next_life(&self) -> Life {
        Life(Self::life_of(self.0.load(Relaxed)).0 | 1)
    }

    /// Begins the life of a listener.
    fn begin(&self, life: Life) {
        let _ = self.update(|_| Some(Self::start_of(life.0)));
    }

    /// Ends it: all half-open connections are nobody's.
    fn end(&self) {
        let _ =
            self.update(|word| Some(Self::start_of(Self::life_of(word).0.wrapping_add(1) & !1)));
    }

    /// A life without half-open connections.
    fn start_of(life: u16) -> u64 {
        u64::from(life) << Self::LIFE_SHIFT
    }

    /// Whether it is that life still.
    pub(crate) fn lives(&self, life: Life) -> bool {
        self.life() == Some(life)
    }
}
