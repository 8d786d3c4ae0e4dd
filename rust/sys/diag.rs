// SPDX-License-Identifier: GPL-2.0

//! sock_diag: a family's sockets over netlink, in the messages of `include/uapi/linux/inet_diag.h`.
//!
//! A request is a `struct inet_diag_req_v2`, whose byte `pad` says which IP version is meant: AF_INET, AF_INET6, or 0 for
//! both, which only a dump may ask for. What is answered begins with a `struct inet_diag_msg`.
//!
//! All of it runs in process context, in a sendmsg() or recvmsg() of who asks, or in the close() of a netlink socket.
//!
//! C headers: `include/linux/sock_diag.h`, `include/linux/netlink.h`.

use core::marker::PhantomData;

use kernel::error::{from_result, to_result};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use kernel::sync::rcu;
use kernel::types::Opaque;

use super::bindings;
use super::errno::eopnotsupp;
use super::net::Net;
use super::proc::Uid;
use super::proto::Protocol;
use super::sock::Sock;
use super::table::{Endpoint, FlowKey, FlowTable, Found, Walk};

/// What a family tells of its sockets.
pub(crate) trait Diag: HasHandler {
    /// Whose sockets they are.
    type Protocol: Protocol;

    /// A copy of what is told of an object; it may be sent later, in a call of another thread, or never.
    type Row: Send;

    /// The table.
    fn table(namespace: &PerNetOf<Self>) -> &FlowTable<Self::Protocol>;

    /// What a dump is to tell of an object in the table. RCU is read-locked: it does not sleep.
    fn pick(found: Found<'_, Self::Protocol>, request: &Request) -> Pick<Self>;

    /// Copies a socket's. May sleep.
    fn row(sock: &Sock<Self::Protocol>, request: &Request) -> Self::Row;

    /// Writes the message.
    fn write(row: &Self::Row, request: &Request, reader: &Reader<'_>, message: &mut Message);

    /// Looks up what a request names.
    ///
    /// # Errors
    ///
    /// ENOENT when it is not there, EINVAL for a request that names nothing.
    fn find(namespace: &PerNetOf<Self>, request: &Request) -> Result<Pick<Self>>;

    /// Ends what a request names, for an administrator of the namespace. May sleep.
    ///
    /// # Errors
    ///
    /// Those of [`find`](Self::find), and EOPNOTSUPP for what cannot be ended.
    fn destroy(namespace: &PerNetOf<Self>, request: &Request) -> Result;
}

type PerNetOf<D> = <<D as Diag>::Protocol as Protocol>::PerNet;

/// An attribute of ours, beyond all that the kernel has (`INET_DIAG_MAX`): 64-bit words in the host's order, of a listener when INET_DIAG_INFO is asked for.
pub(crate) const OXTCP_DIAG_QUEUES: u32 = 4097;

/// What is told of an object.
pub(crate) enum Pick<D: Diag> {
    /// Nothing.
    Nothing,
    /// This.
    Row(D::Row),
    /// What [`Diag::row`] makes of it when it may sleep.
    Sock(ARef<Sock<D::Protocol>>),
}

/// Whether an IP version is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    V4,
    V6,
    Both,
}

/// What somebody asks.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    raw: bindings::inet_diag_req_v2,
    pub(crate) versions: Versions,
}

impl Request {
    /// # Errors
    ///
    /// EINVAL for one that is too short or that nobody understands; EOPNOTSUPP for more conditions, in attributes behind it:
    /// those are the asker's to look at.
    fn parse(payload: &[u8]) -> Result<Self> {
        let mut raw = bindings::inet_diag_req_v2::default();
        let len = size_of_val(&raw);
        let bytes = payload.get(..len).ok_or(EINVAL)?;
        // SAFETY: Both are valid for `len` bytes, and any bytes are a request.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut raw).cast::<u8>(), len);
        }
        if payload.len() > len {
            return Err(eopnotsupp());
        }
        if u32::from(raw.sdiag_protocol) != bindings::IPPROTO_TCP {
            return Err(EINVAL);
        }
        let versions = match u32::from(raw.pad) {
            0 => Versions::Both,
            bindings::AF_INET => Versions::V4,
            bindings::AF_INET6 => Versions::V6,
            _ => return Err(EINVAL),
        };
        Ok(Self { raw, versions })
    }

    /// Whether sockets in a `TCP_*` state are asked for.
    pub(crate) fn wants_state(&self, state: u8) -> bool {
        self.raw.idiag_states & 1u32.checked_shl(u32::from(state)).unwrap_or(0) != 0
    }

    /// Whether more is asked for: an `INET_DIAG_*`, of which those from 1 to 8 can be.
    pub(crate) fn wants(&self, extension: u32) -> bool {
        let bit = extension.checked_sub(1).and_then(|n| 1u32.checked_shl(n));
        bit.is_some_and(|bit| u32::from(self.raw.idiag_ext) & bit != 0)
    }

    /// The local and the remote end; a port that is 0 is any.
    pub(crate) fn ends(&self) -> (Endpoint, Endpoint) {
        let id = &self.raw.id;
        let end = |words: [u32; 4], port: u16| {
            let [a, b, c, d] = words.map(u32::to_ne_bytes);
            let ip = match self.versions {
                Versions::V6 => {
                    let mut ip = [0; 16];
                    for (to, from) in ip.chunks_exact_mut(4).zip([a, b, c, d]) {
                        to.copy_from_slice(&from);
                    }
                    ip
                }
                Versions::V4 | Versions::Both => Endpoint::mapped(a),
            };
            Endpoint {
                ip,
                port: u16::from_be(port),
            }
        };
        (
            end(id.idiag_src, id.idiag_sport),
            end(id.idiag_dst, id.idiag_dport),
        )
    }

    /// The interface of link-local addresses.
    pub(crate) fn interface(&self) -> i32 {
        self.raw.id.idiag_if as i32
    }

    /// Whether sockets of an IP version are asked for.
    pub(crate) fn wants_version(&self, v6: bool) -> bool {
        match self.versions {
            Versions::V4 => !v6,
            Versions::V6 => v6,
            Versions::Both => true,
        }
    }

    /// Whether a flow has the ports that a dump asks for.
    pub(crate) fn wants_ports(&self, key: &FlowKey) -> bool {
        let (local, remote) = self.ends();
        let is = |wanted: Endpoint, end: Endpoint| wanted.port == 0 || wanted.port == end.port;
        is(local, key.local()) && is(remote, key.remote())
    }

    /// Whether the request names what has no cookie.
    pub(crate) fn has_no_cookie(&self) -> bool {
        self.raw.id.idiag_cookie == NO_COOKIE
    }

    /// Whether the request's cookie, if it has one, is this.
    pub(crate) fn is_for(&self, cookie: u64) -> bool {
        self.has_no_cookie() || self.raw.id.idiag_cookie == halves(cookie)
    }
}

/// What has no cookie, or any.
const NO_COOKIE: [u32; 2] = [bindings::INET_DIAG_NOCOOKIE as u32; 2];

/// A cookie as messages have it.
fn halves(cookie: u64) -> [u32; 2] {
    [cookie as u32, (cookie >> 32) as u32]
}

/// Who gets the answer.
///
/// # Invariants
///
/// The packet is that of a request, and stays for `'a`, as do the netlink socket that it came from, and that one's file: it is made in a
/// sendmsg() or recvmsg() of a program's.
pub(crate) struct Reader<'a> {
    skb: *const bindings::sk_buff,
    _request: PhantomData<&'a ()>,
}

impl Reader<'_> {
    /// # Safety
    ///
    /// `skb` is the packet of a request; it, the netlink socket that it came from, and the file of that stay for `'a`.
    unsafe fn of<'a>(skb: *const bindings::sk_buff) -> Reader<'a> {
        // INVARIANT: Promised by the caller.
        Reader {
            skb,
            _request: PhantomData,
        }
    }

    /// The number that the reader knows a user by.
    pub(crate) fn uid(&self, uid: Uid) -> u32 {
        // SAFETY: By the invariants.
        unsafe { bindings::oxtcp_helper_uid_seen_by_sender(uid.number(), self.skb) }
    }

    /// Whether it has CAP_NET_ADMIN in the namespace.
    pub(crate) fn is_net_admin(&self) -> bool {
        // SAFETY: By the invariants.
        unsafe { bindings::oxtcp_helper_sender_is_net_admin(self.skb) }
    }
}

/// What every message says.
pub(crate) struct Head {
    pub(crate) v6: bool,
    /// `TCP_*`.
    pub(crate) state: u8,
    /// As `/proc/net/tcp` numbers them.
    pub(crate) timer: u8,
    pub(crate) retransmits: u8,
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
    pub(crate) interface: u32,
    /// [`Sock::cookie`]; `None` for what has none.
    pub(crate) cookie: Option<u64>,
    /// Until the timer goes off.
    pub(crate) expires_ms: u32,
    pub(crate) rqueue: u32,
    pub(crate) wqueue: u32,
    pub(crate) uid: u32,
    pub(crate) inode: u32,
}

/// A message that is being written: a `struct inet_diag_msg`, and attributes behind it.
pub(crate) struct Message {
    bytes: [u8; Self::MOST],
    len: usize,
}

impl Message {
    /// More than all that is told of a socket.
    const MOST: usize = 768;

    const fn new() -> Self {
        Self {
            bytes: [0; Self::MOST],
            len: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
            self.len = end;
        }
    }

    /// Begins the message.
    pub(crate) fn begin(&mut self, head: &Head) {
        self.len = 0;
        let family = match head.v6 {
            true => bindings::AF_INET6,
            false => bindings::AF_INET,
        };
        self.push(&[family as u8, head.state, head.timer, head.retransmits]);
        for end in [&head.local, &head.remote] {
            self.push(&end.port.to_be_bytes());
        }
        for end in [&head.local, &head.remote] {
            match end.v4() {
                Some(ip) if !head.v6 => {
                    self.push(&ip);
                    self.push(&[0; 12]);
                }
                _ => self.push(&end.ip),
            }
        }
        let cookie = head.cookie.map_or(NO_COOKIE, halves);
        for word in [
            head.interface,
            cookie[0],
            cookie[1],
            head.expires_ms,
            head.rqueue,
            head.wqueue,
            head.uid,
            head.inode,
        ] {
            self.push(&word.to_ne_bytes());
        }
    }

    /// Adds an attribute, an `INET_DIAG_*`.
    pub(crate) fn attribute(&mut self, kind: u32, value: &[u8]) {
        let len = Self::ATTRIBUTE.saturating_add(value.len());
        if Self::MOST.saturating_sub(self.len) < len.next_multiple_of(4) {
            return;
        }
        self.push(&(len as u16).to_ne_bytes());
        self.push(&(kind as u16).to_ne_bytes());
        self.push(value);
        while self.len % 4 != 0 {
            self.push(&[0]);
        }
    }

    /// Bytes of an attribute's header.
    const ATTRIBUTE: usize = 4;
}

/// `begin` writes this layout.
const _: () = assert!(size_of::<bindings::inet_diag_msg>() == 4 + 4 + 32 + 8 * 4);

/// The static handler of a [`Diag`]. [`diag_handler`] declares it.
///
/// # Safety
///
/// `handler` returns the same one each time.
pub(crate) unsafe trait HasHandler: Sized + 'static {
    fn handler() -> &'static Handler<Self>
    where
        Self: Diag;
}

/// Declares the static handler of a type that implements [`Diag`].
macro_rules! diag_handler {
    ($type:ty) => {
        const _: () = {
            static HANDLER: $crate::sys::diag::Handler<$type> = $crate::sys::diag::Handler::new();

            #[allow(unsafe_code)]
            // SAFETY: There is one static variable.
            unsafe impl $crate::sys::diag::HasHandler for $type {
                fn handler() -> &'static $crate::sys::diag::Handler<Self> {
                    &HANDLER
                }
            }
        };
    };
}
pub(crate) use diag_handler;

/// C's `struct sock_diag_handler` for a [`Diag`].
pub(crate) struct Handler<D> {
    raw: Opaque<bindings::sock_diag_handler>,
    /// Requests that are being answered, and dumps from `start` to `done`.
    users: Atomic<i32>,
    _diag: PhantomData<fn(D)>,
}

// SAFETY: `raw` is written by `Registration::new` before the kernel knows of it, and only read after; there is one registration at a
// time, as there is one of the protocol. `users` is atomic.
unsafe impl<D> Sync for Handler<D> {}

impl<D> Handler<D> {
    /// For the static's initialiser.
    pub(crate) const fn new() -> Self {
        Self {
            raw: Opaque::zeroed(),
            users: Atomic::new(0),
            _diag: PhantomData,
        }
    }
}

/// A protocol whose family answers sock_diag while this lives.
///
/// # Invariants
///
/// `D`'s handler is registered.
pub(crate) struct Registration<D: Diag> {
    /// Dropped when nobody is answered any more: answers look at the namespaces' values.
    _protocol: super::proto::Registration<D::Protocol>,
}

impl<D: Diag> Registration<D> {
    /// Registers the handler for the family of `protocol`.
    ///
    /// # Errors
    ///
    /// EBUSY when the family has one; the protocol is not registered any more then.
    pub(crate) fn new(
        module: &'static ThisModule,
        protocol: super::proto::Registration<D::Protocol>,
    ) -> Result<Self> {
        let handler = D::handler().raw.get();
        // SAFETY: There is one registration of a protocol, and it is ours: nobody else writes, and C does not know of the handler yet.
        // That is static, the family an index of C's table.
        to_result(unsafe {
            (*handler).owner = module.as_ptr().cast();
            (*handler).family = protocol.number().get() as u8;
            (*handler).dump = Some(Callbacks::<D>::request);
            (*handler).destroy = Some(Callbacks::<D>::destroy);
            bindings::sock_diag_register(handler)
        })?;
        // INVARIANT: Just registered.
        Ok(Self {
            _protocol: protocol,
        })
    }
}

impl<D: Diag> Drop for Registration<D> {
    /// Waits until nobody is answered any more. Sleeps.
    fn drop(&mut self) {
        kernel::task::might_sleep();
        // SAFETY: Registered by the invariant. Who is about to take a hold on the module is an RCU reader; after the grace period there are no
        // new ones.
        unsafe {
            bindings::sock_diag_unregister(D::handler().raw.get());
            bindings::synchronize_rcu();
        }
        // Each holds the module, also between that and being counted. So as the module ends there are none.
        while D::handler().users.load(Acquire) != 0 {
            // SAFETY: No conditions; may sleep, as seen above.
            unsafe { bindings::msleep(10) };
        }
    }
}

/// Who is being answered.
struct User<D: Diag>(PhantomData<D>);

impl<D: Diag> User<D> {
    fn new() -> Self {
        D::handler().users.fetch_add(1, Relaxed);
        Self(PhantomData)
    }
}

impl<D: Diag> Drop for User<D> {
    fn drop(&mut self) {
        D::handler().users.fetch_sub(1, Release);
    }
}

/// Sockets that a dump takes from the table at once.
const BATCH: usize = 8;

/// A dump that is under way.
#[pin_data]
struct Dump<D: Diag> {
    #[pin]
    walk: Walk<'static, D::Protocol>,
    request: Request,
    /// Whether the walk is at its end.
    ended: bool,
    /// What was taken and not yet sent.
    rows: [Option<D::Row>; BATCH],
    message: Message,
    /// Dropped last.
    _user: User<D>,
}

impl<D: Diag> Dump<D> {
    /// Objects that are looked at without a pause.
    const STRETCH: usize = 256;

    fn new(table: &'static FlowTable<D::Protocol>, request: Request) -> impl PinInit<Self> {
        pin_init!(Self {
            walk <- Walk::new(table),
            request,
            ended: false,
            rows: [const { None }; BATCH],
            message: Message::new(),
            _user: User::new(),
        })
    }

    /// Takes the next rows. There may be none, and more behind.
    fn take(self: Pin<&mut Self>) {
        let mut this = self.project();
        let mut socks: [Option<ARef<Sock<D::Protocol>>>; BATCH] = [const { None }; BATCH];
        // SAFETY: Paused below, in this function, and nothing sleeps till then.
        unsafe { this.walk.as_mut().resume() };
        let mut places = this.rows.iter_mut().zip(socks.iter_mut());
        let mut place = places.next();
        for _ in 0..Self::STRETCH {
            let Some((row, sock)) = &mut place else {
                break;
            };
            let Some(found) = this.walk.as_mut().next() else {
                *this.ended = true;
                break;
            };
            match D::pick(found, this.request) {
                Pick::Nothing => continue,
                Pick::Row(picked) => **row = Some(picked),
                Pick::Sock(picked) => **sock = Some(picked),
            }
            place = places.next();
        }
        this.walk.pause();
        for (row, sock) in this.rows.iter_mut().zip(socks) {
            if let Some(sock) = sock {
                *row = Some(D::row(&sock, this.request));
            }
        }
        // SAFETY: In a process, with no lock but netlink's mutex.
        unsafe { bindings::oxtcp_helper_cond_resched() };
    }
}

/// The C functions for `D`.
struct Callbacks<D: Diag>(PhantomData<D>);

impl<D: Diag> Callbacks<D> {
    /// The namespace's part of what somebody asks for.
    ///
    /// # Errors
    ///
    /// ENODEV where there is none.
    ///
    /// # Safety
    ///
    /// `skb` is a netlink packet that a program has sent, whose netlink socket (`NETLINK_CB(skb).sk`, of the same namespace as `skb->sk`)
    /// stays for `'a`; and there is a [`User`] for `'a`, made while the handler was registered.
    unsafe fn namespace<'a>(skb: *const bindings::sk_buff) -> Result<&'a PerNetOf<D>> {
        // SAFETY: Promised by the caller: a program's socket holds its namespace.
        let net = unsafe { Net::from_raw(bindings::oxtcp_helper_skb_net(skb)) };
        let found = net.get::<PerNetOf<D>>(&rcu::read_lock()).is_some();
        // SAFETY: The value is there, as we have seen. It is dropped as the namespace ends, which is held, or the registration of the
        // protocol, which waits for users.
        let namespace = unsafe { net.assume() }.filter(|_| found);
        namespace.ok_or(ENODEV)
    }

    /// # Safety
    ///
    /// `nlh` is a netlink message that was checked to be whole.
    unsafe fn parse(nlh: *const bindings::nlmsghdr) -> Result<Request> {
        let mut len = 0;
        // SAFETY: Promised by the caller; so many bytes are there.
        Request::parse(unsafe {
            let payload = bindings::oxtcp_helper_nlmsg_payload(nlh, &mut len);
            core::slice::from_raw_parts(payload.cast::<u8>(), len)
        })
    }

    /// `SOCK_DIAG_BY_FAMILY`.
    ///
    /// # Safety
    ///
    /// To be called by sock_diag, which holds the module.
    unsafe extern "C" fn request(
        skb: *mut bindings::sk_buff,
        nlh: *mut bindings::nlmsghdr,
    ) -> c_int {
        // For a dump until it has one of its own.
        let _user = User::<D>::new();
        // SAFETY: sock_diag calls us with a message that it has checked.
        if unsafe { bindings::oxtcp_helper_nlmsg_is_dump(nlh) } {
            // SAFETY: As above; the callbacks are those of a dump, and the module is ours.
            return unsafe {
                bindings::oxtcp_helper_diag_dump_start(
                    skb,
                    nlh,
                    Some(Self::start),
                    Some(Self::dump),
                    Some(Self::done),
                    (*D::handler().raw.get()).owner,
                )
            };
        }
        from_result(|| {
            // SAFETY: As above. The socket stays for the call, and so does the user.
            let (request, namespace) = unsafe { (Self::parse(nlh)?, Self::namespace(skb)?) };
            let row = match D::find(namespace, &request)? {
                Pick::Nothing => return Err(ENOENT),
                Pick::Row(row) => row,
                Pick::Sock(sock) => D::row(&sock, &request),
            };
            let mut message = Message::new();
            // SAFETY: As above.
            let reader = unsafe { Reader::of(skb) };
            D::write(&row, &request, &reader, &mut message);
            let payload = message.bytes();
            // SAFETY: As above; the payload is valid for reads of its length.
            to_result(unsafe {
                bindings::oxtcp_helper_diag_reply(skb, nlh, payload.as_ptr().cast(), payload.len())
            })?;
            Ok(0)
        })
    }

    /// `SOCK_DESTROY`.
    ///
    /// # Safety
    ///
    /// To be called by sock_diag, which holds the module.
    unsafe extern "C" fn destroy(
        skb: *mut bindings::sk_buff,
        nlh: *mut bindings::nlmsghdr,
    ) -> c_int {
        let _user = User::<D>::new();
        from_result(|| {
            // SAFETY: sock_diag calls us with a message that it has checked. The socket stays for the call, and so does the user.
            let (request, namespace) = unsafe { (Self::parse(nlh)?, Self::namespace(skb)?) };
            // SAFETY: As above.
            let reader = unsafe { Reader::of(skb) };
            if !reader.is_net_admin() {
                return Err(EPERM);
            }
            D::destroy(namespace, &request)?;
            Ok(0)
        })
    }

    /// The dump of a callback, while it is under way.
    ///
    /// # Safety
    ///
    /// `cb` is that of a dump that [`Self::start`] has begun, and nobody else uses it: under netlink's mutex, or as the last reference
    /// on the netlink socket's file goes.
    unsafe fn dump_of<'a>(cb: *mut bindings::netlink_callback) -> Option<Pin<&'a mut Dump<D>>> {
        // SAFETY: Promised by the caller. The word is null, or what `start` left there, which is pinned.
        unsafe {
            let at = (*bindings::oxtcp_helper_diag_dump_state(cb)).cast::<Dump<D>>();
            at.as_mut().map(|dump| Pin::new_unchecked(dump))
        }
    }

    /// # Safety
    ///
    /// To be called by netlink, which holds the module from here until `done` has returned, and its mutex for the call.
    unsafe extern "C" fn start(cb: *mut bindings::netlink_callback) -> c_int {
        from_result(|| {
            // SAFETY: netlink calls us, in `request`, which has a user. The request's packet is the dump's until its end, and so is the socket that sent it: the
            // dump ends as that is closed, and it holds its namespace until `done` has dropped the walk. The dump has a user of its own.
            let (request, namespace): (_, &'static PerNetOf<D>) =
                unsafe { (Self::parse((*cb).nlh)?, Self::namespace((*cb).skb)?) };
            let dump = KBox::pin_init(Dump::<D>::new(D::table(namespace), request), GFP_KERNEL)?;
            // SAFETY: The callback is ours to write in. `done` takes the box out again, and nobody moves it.
            unsafe {
                let raw = KBox::into_raw(Pin::into_inner_unchecked(dump));
                *bindings::oxtcp_helper_diag_dump_state(cb) = raw.cast();
            }
            Ok(0)
        })
    }

    /// Fills a packet. Returns its length: 0 means that there is no more.
    ///
    /// # Safety
    ///
    /// To be called by netlink, as `start` says.
    unsafe extern "C" fn dump(
        skb: *mut bindings::sk_buff,
        cb: *mut bindings::netlink_callback,
    ) -> c_int {
        // SAFETY: netlink calls us.
        let Some(mut dump) = (unsafe { Self::dump_of(cb) }) else {
            return 0;
        };
        // SAFETY: As above: the request's packet stays.
        let reader = unsafe { Reader::of((*cb).skb) };
        loop {
            let this = dump.as_mut().project();
            for place in this.rows.iter_mut() {
                let Some(row) = place else {
                    continue;
                };
                D::write(row, this.request, &reader, this.message);
                let payload = this.message.bytes();
                // SAFETY: As above; the payload is valid for reads of its length.
                let added = unsafe {
                    bindings::oxtcp_helper_diag_dump_add(
                        skb,
                        cb,
                        payload.as_ptr().cast(),
                        payload.len(),
                    )
                };
                if !added {
                    // SAFETY: As above.
                    return unsafe { (*skb).len } as c_int;
                }
                *place = None;
            }
            if *this.ended {
                // SAFETY: As above.
                return unsafe { (*skb).len } as c_int;
            }
            // SAFETY: No conditions.
            if unsafe { bindings::oxtcp_helper_fatal_signal() } {
                return EINTR.to_errno();
            }
            dump.as_mut().take();
        }
    }

    /// # Safety
    ///
    /// To be called by netlink, once for each dump, as `start` says.
    unsafe extern "C" fn done(cb: *mut bindings::netlink_callback) -> c_int {
        // SAFETY: netlink calls us. The word is null, or what `start` left there; it is not looked at again.
        unsafe {
            let at = bindings::oxtcp_helper_diag_dump_state(cb);
            let dump = core::mem::replace(&mut *at, core::ptr::null_mut()).cast::<Dump<D>>();
            if !dump.is_null() {
                drop(Pin::new_unchecked(KBox::from_raw(dump)));
            }
        }
        0
    }
}
