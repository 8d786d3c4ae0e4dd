// SPDX-License-Identifier: GPL-2.0

//! The socket layer's error numbers, which the kernel crate has no names for.

use kernel::error::Error;

use super::bindings;

macro_rules! declare {
    ($($function:ident = $name:ident;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of `errno.h`.")]
            #[inline]
            pub(crate) fn $function() -> Error {
                const ERRNO: kernel::ffi::c_int = -(bindings::$name as kernel::ffi::c_int);
                Error::from_errno(ERRNO)
            }
        )*
    };
}

declare! {
    eaddrinuse = EADDRINUSE;
    eaddrnotavail = EADDRNOTAVAIL;
    eafnosupport = EAFNOSUPPORT;
    ebusy = EBUSY;
    econnaborted = ECONNABORTED;
    econnrefused = ECONNREFUSED;
    econnreset = ECONNRESET;
    ehostdown = EHOSTDOWN;
    ehostunreach = EHOSTUNREACH;
    eisconn = EISCONN;
    ekeyrejected = EKEYREJECTED;
    enetunreach = ENETUNREACH;
    enobufs = ENOBUFS;
    enoprotoopt = ENOPROTOOPT;
    enonet = ENONET;
    enotconn = ENOTCONN;
    enxio = ENXIO;
    eopnotsupp = EOPNOTSUPP;
    eproto = EPROTO;
    eprotonosupport = EPROTONOSUPPORT;
    esocktnosupport = ESOCKTNOSUPPORT;
}
