// SPDX-License-Identifier: GPL-2.0
//! What systemd is told of a unit of Type=notify (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells this to who waits at this address, `$NOTIFY_SOCKET`.
pub fn tell(address: &OsStr, what: &str) -> io::Result<()> {
    let to = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => {
            return Err(io::Error::other(
                "it is neither a path nor an abstract name",
            ))
        }
    };
    UnixDatagram::unbound()?
        .send_to_addr(what.as_bytes(), &to)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 100];
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[test]
    fn tell_by_a_path_and_by_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        tell(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&socket), "READY=1");
        let name = format!("oxtcp-notify-{}", std::process::id());
        let socket = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&socket).unwrap();
        tell(OsStr::new(&format!("@{name}")), "STOPPING=1").unwrap();
        assert_eq!(received(&socket), "STOPPING=1");
    }

    #[test]
    fn tell_where_nobody_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(tell(folder.path().join("x").as_os_str(), "READY=1").is_err());
        assert!(tell(OsStr::new("vsock:2:1234"), "READY=1").is_err());
    }
}
