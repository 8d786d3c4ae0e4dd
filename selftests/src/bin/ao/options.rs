// SPDX-License-Identifier: GPL-2.0
//! TCP_AO_ADD_KEY, TCP_AO_DEL_KEY, TCP_AO_INFO and TCP_AO_GET_KEYS: what they take, refuse and tell.

use super::*;

/// As tcp_ao_add_cmd(), tcp_ao_del_cmd() and tcp_ao_info_cmd() have it.
pub fn option__what_is_refused(stack: Stack) {
    need_ao(alone(stack));
    let sock = Sock::open(stack);
    let peer = stack.loopback();
    let good = AoKey::new(peer, FIRST, KEY);
    let refused = |key: AoKey, errno| expect_errno(key.add(&sock), errno);
    let other_family: IpAddr = match stack.ip {
        Ip::V4 => "::1".parse().expect("an address"),
        Ip::V6 => [127, 0, 0, 1].into(),
    };
    let invalid = |change: &dyn Fn(&mut AoKey)| {
        let mut key = good.clone();
        change(&mut key);
        refused(key, libc::EINVAL);
    };
    invalid(&|key| key.peer.set_ip(other_family));
    invalid(&|key| key.peer.set_port(80));
    invalid(&|key| key.key_len = 81);
    invalid(&|key| key.reserved = 1);
    invalid(&|key| key.reserved2 = 1);
    invalid(&|key| key.prefix = 0);
    invalid(&|key| key.prefix += 1);
    // Bits beyond the prefix.
    invalid(&|key| key.prefix = 8);
    invalid(&|key| key.flags = 4);
    invalid(&|key| key.ifindex = 1);
    // A device that is no VRF, or none.
    for ifindex in [1, 9999] {
        invalid(&|key| (key.ifindex, key.flags) = (ifindex, TCP_AO_KEYF_IFINDEX));
    }
    invalid(&|key| {
        key.peer.set_ip(stack.unspecified());
        key.prefix = 8;
    });
    let named = |algorithm| AoKey {
        algorithm,
        ..good.clone()
    };
    refused(named("hmac(md5)"), libc::ENOENT);
    refused(named(""), libc::ENOENT);
    // This name is for keys of 16 bytes.
    refused(named("cmac(aes)"), libc::ENOENT);
    let long = |mac_len| AoKey {
        mac_len,
        ..good.clone()
    };
    refused(long(17), libc::EMSGSIZE);
    refused(long(255), libc::EMSGSIZE);
    for option in [TCP_AO_ADD_KEY, TCP_AO_DEL_KEY, TCP_AO_INFO] {
        let len = match option {
            TCP_AO_ADD_KEY => 288,
            TCP_AO_DEL_KEY => 144,
            _ => 48,
        };
        let short = vec![0; len - 1];
        expect_errno(sock.set_bytes(libc::SOL_TCP, option, &short), libc::EINVAL);
    }
    // Longer values are read as far as is known, if there are zeros.
    let mut more = good.bytes();
    more.extend([0, 1]);
    expect_errno(
        sock.set_bytes(libc::SOL_TCP, TCP_AO_ADD_KEY, &more),
        libc::E2BIG,
    );
    expect_errno(AoInfo::get(&sock), libc::ENOENT);
    expect_errno(Listed::all().get(&sock, 1), libc::ENOENT);
    expect_errno(good.delete(&sock), libc::ENOENT);
    more[289] = 0;
    sock.set_bytes(libc::SOL_TCP, TCP_AO_ADD_KEY, &more)
        .expect("more");
    expect_errno(
        sock.set_bytes(libc::SOL_TCP, TCP_AO_GET_KEYS, &more),
        libc::ENOPROTOOPT,
    );
    // The numbers of keys for the same peer (RFC 5925 section 3.1).
    for ids in [FIRST, (FIRST.0, 9), (9, FIRST.1)] {
        expect_errno(AoKey::new(peer, ids, OTHER).add(&sock), libc::EEXIST);
    }
    let everybody = |ids| AoKey {
        prefix: 0,
        ..AoKey::new(stack.unspecified(), ids, KEY)
    };
    expect_errno(everybody(FIRST).add(&sock), libc::EEXIST);
    add(&everybody((1, 2)), &sock);
    add(&AoKey::new(stack.foreign(0).ip(), FIRST, OTHER), &sock);

    let mut deletion = good.deletion();
    deletion.reserved = 1;
    expect_errno(deletion.set(&sock), libc::EINVAL);
    deletion.reserved = 0;
    deletion.del_async = true;
    expect_errno(deletion.set(&sock), libc::EINVAL);
    deletion.del_async = false;
    deletion.flags = TCP_AO_KEYF_EXCLUDE_OPT;
    expect_errno(deletion.set(&sock), libc::EINVAL);
    deletion.flags = 0;
    deletion.current = Some(77);
    expect_errno(deletion.set(&sock), libc::ENOENT);

    let info = |info: AoInfo| info.set(&sock);
    let chosen = AoInfo {
        current: Some(77),
        ..AoInfo::default()
    };
    expect_errno(info(chosen), libc::ENOENT);
    let mut reserved = AoInfo::default().bytes();
    reserved[1] = 1;
    expect_errno(
        sock.set_bytes(libc::SOL_TCP, TCP_AO_INFO, &reserved),
        libc::EINVAL,
    );

    // A listener has no current key.
    let (listener, _) = listening(stack, 1);
    let mut chosen = good.clone();
    chosen.set_current = true;
    expect_errno(chosen.add(&listener), libc::EINVAL);
    add(&good, &listener);
    let mut deletion = good.deletion();
    deletion.rnext = Some(FIRST.1);
    expect_errno(deletion.set(&listener), libc::EINVAL);
    let rnext = AoInfo {
        rnext: Some(FIRST.1),
        ..AoInfo::default()
    };
    expect_errno(rnext.set(&listener), libc::EINVAL);
    let mut deletion = good.deletion();
    deletion.del_async = true;
    deletion.set(&listener).expect("TCP_AO_DEL_KEY");
    expect_errno(deletion.set(&listener), libc::ENOENT);
}

/// A key is its peer's, prefix's and numbers': what has others is another.
pub fn option__keys_come_and_go(stack: Stack) {
    need_ao(alone(stack));
    let sock = Sock::open(stack);
    let key = AoKey::new(stack.loopback(), FIRST, KEY);
    let other = AoKey::new(stack.loopback(), SECOND, OTHER);
    add(&key, &sock);
    add(&other, &sock);
    let mut wrong = key.deletion();
    wrong.ids = (FIRST.0, SECOND.1);
    expect_errno(wrong.set(&sock), libc::ENOENT);
    let mut wrong = key.deletion();
    wrong.prefix -= 1;
    expect_errno(wrong.set(&sock), libc::ENOENT);
    let mut wrong = key.deletion();
    wrong.flags = TCP_AO_KEYF_IFINDEX;
    expect_errno(wrong.set(&sock), libc::ENOENT);
    assert_eq!(info(&sock), AoInfo::default());
    // What is chosen cannot be what goes.
    let mut kept = key.deletion();
    (kept.current, kept.rnext) = (Some(FIRST.0), Some(SECOND.1));
    expect_errno(kept.set(&sock), libc::ENOENT);
    kept.current = Some(SECOND.0);
    kept.set(&sock).expect("TCP_AO_DEL_KEY");
    let told = info(&sock);
    assert_eq!((told.current, told.rnext), (Some(SECOND.0), Some(SECOND.1)));
    expect_errno(other.delete(&sock), libc::EBUSY);
    add(&key, &sock);
    let choice = AoInfo {
        current: Some(FIRST.0),
        rnext: Some(FIRST.1),
        required: true,
        accept_icmps: true,
        ..AoInfo::default()
    };
    choice.set(&sock).expect("TCP_AO_INFO");
    assert_eq!(info(&sock), choice);
    other.delete(&sock).expect("TCP_AO_DEL_KEY");
}

/// TCP_AO_GET_KEYS.
pub fn option__what_is_told(stack: Stack) {
    need_ao(alone(stack));
    let sock = Sock::open(stack);
    let peer = stack.loopback();
    let bits = if stack.ip == Ip::V4 { 32 } else { 128 };
    let mut first = AoKey::new(peer, FIRST, KEY);
    first.flags = TCP_AO_KEYF_EXCLUDE_OPT;
    first.set_current = true;
    let mut second = AoKey::new(stack.unspecified(), SECOND, OTHER);
    second.prefix = 0;
    second.mac_len = 9;
    second.set_rnext = true;
    add(&first, &sock);
    add(&second, &sock);
    let get = |filter: Listed, most| filter.get(&sock, most);
    let (keys, count) = get(Listed::all(), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!((keys.len(), count), (2, 2));
    let listed = |key: &AoKey| Listed {
        address: Listed::address(key.peer.ip()),
        prefix: key.prefix,
        algorithm: key.algorithm.to_owned(),
        key: key.key.clone(),
        is_current: key.set_current,
        is_rnext: key.set_rnext,
        ids: (key.send_id, key.recv_id),
        mac_len: if key.mac_len == 0 { 12 } else { key.mac_len },
        flags: key.flags,
        ..Listed::default()
    };
    // The latest comes first.
    assert_eq!(keys, [listed(&second), listed(&first)]);
    let (keys, count) = get(Listed::all(), 1).expect("TCP_AO_GET_KEYS");
    assert_eq!((keys, count), (vec![listed(&second)], 2));
    let one = |is_current, is_rnext| Listed {
        is_current,
        is_rnext,
        ..Listed::default()
    };
    let (keys, _) = get(one(true, false), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!(keys, [listed(&first)]);
    let (keys, _) = get(one(false, true), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!(keys, [listed(&second)]);
    let by_address = |ids| Listed {
        address: Listed::address(peer),
        prefix: bits,
        ids,
        ..Listed::default()
    };
    let (keys, count) = get(by_address(FIRST), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!((keys, count), (vec![listed(&first)], 1));
    let (keys, _) = get(by_address(SECOND), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!(keys, [listed(&second)]);
    let (_, count) = get(by_address((1, 1)), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!(count, 0);
    let mut filter = Listed::all();
    filter.is_current = true;
    expect_errno(get(filter, 8), libc::EINVAL);
    let mut filter = Listed::all();
    filter.address = Listed::address(peer);
    expect_errno(get(filter, 8), libc::EINVAL);
    expect_errno(get(Listed::default(), 8), libc::EAFNOSUPPORT);
    let mut filter = by_address(FIRST);
    filter.good = 1;
    expect_errno(get(filter, 8), libc::EINVAL);
    let mut filter = by_address(FIRST);
    filter.ifindex = 1;
    expect_errno(get(filter, 8), libc::EINVAL);
    let mut filter = by_address(FIRST);
    filter.prefix = bits + 1;
    expect_errno(get(filter, 8), libc::EINVAL);
    // Made 16 bytes of what has not 16 (RFC 5926 section 3.1.1.2).
    let cmac = AoKey {
        algorithm: AES_CMAC,
        ..AoKey::new(peer, (7, 7), b"testvector")
    };
    match cmac.add(&sock) {
        Err(error) => assert_eq!(errno::of(&error), libc::ENOENT, "{error}"),
        Ok(()) => {
            let (keys, _) = get(by_address((7, 7)), 1).expect("TCP_AO_GET_KEYS");
            assert_eq!((keys[0].key.len(), &*keys[0].algorithm), (16, "cmac(aes)"));
        }
    }
}

/// Keys count against net.core.optmem_max, and what is taken away does not.
pub fn option__memory_is_bounded(stack: Stack) {
    need_ao(alone(stack));
    let sock = Sock::open(stack);
    let key = |peer| AoKey::new(peer, FIRST, KEY);
    let room = signed::room(stack, |peer| key(peer).add(&sock));
    // 128 KB by default.
    assert!((200..2000).contains(&room), "{room}");
    let key = |n| key(signed::peer(stack, n));
    key(1).delete(&sock).expect("TCP_AO_DEL_KEY");
    add(&key(5000), &sock);
    expect_errno(key(5001).add(&sock), libc::ENOMEM);
}

/// A peer is spoken to by one of the two.
pub fn option__not_beside_md5(stack: Stack) {
    need_ao(alone(stack));
    let peer = stack.loopback();
    let other = stack.foreign(0).ip();
    let md5 = |peer, key| Md5Sig::new(peer, key);
    if let Err(error) = md5(peer, KEY).set(&Sock::open(stack)) {
        match errno::of(&error) {
            libc::ENOPROTOOPT => ktap::skip("this kernel has no TCP_MD5SIG"),
            _ => panic!("TCP_MD5SIG_EXT: {error}"),
        }
    }
    let sock = Sock::open(stack);
    add(&AoKey::new(peer, FIRST, KEY), &sock);
    expect_errno(md5(peer, KEY).set(&sock), libc::EKEYREJECTED);
    expect_errno(
        Md5Sig::of_prefix(peer, 8, KEY).set(&sock),
        libc::EKEYREJECTED,
    );
    md5(other, KEY).set(&sock).expect("for another peer");
    expect_errno(
        AoKey::new(other, SECOND, KEY).add(&sock),
        libc::EKEYREJECTED,
    );
    let required = AoInfo {
        required: true,
        ..AoInfo::default()
    };
    expect_errno(required.set(&sock), libc::EKEYREJECTED);
    // One that is not there is taken away as ever.
    expect_errno(md5(peer, b"").set(&sock), libc::ENOENT);
    md5(other, b"").set(&sock).expect("to take it away");
    required.set(&sock).expect("TCP_AO_INFO");
    expect_errno(md5(other, KEY).set(&sock), libc::EKEYREJECTED);
    // Of two that meet by a prefix, connect() finds out.
    let sock = Sock::open(stack);
    let (_listener, address) = listening(stack, 1);
    md5(peer, KEY).set(&sock).expect("TCP_MD5SIG_EXT");
    let everybody = AoKey {
        prefix: 0,
        ..AoKey::new(stack.unspecified(), FIRST, KEY)
    };
    add(&everybody, &sock);
    expect_errno(sock.connect(&address), libc::EKEYREJECTED);
}

/// There is no TCP_REPAIR here, and in Linux none that is not asked for.
pub fn option__repair(stack: Stack) {
    need_ao(alone(stack));
    let sock = Sock::open(stack);
    add(&AoKey::new(stack.loopback(), FIRST, KEY), &sock);
    expect_errno(
        sock.set_bytes(libc::SOL_TCP, TCP_AO_REPAIR, &[0; 16]),
        libc::EPERM,
    );
    expect_errno(
        sock.get_bytes(libc::SOL_TCP, TCP_AO_REPAIR, &mut [0; 16]),
        libc::EPERM,
    );
}

/// Keys, and none for the peer: the connection would not be signed, and so there is none. Those for others are given up.
pub fn connect__needs_a_key_for_the_peer(stack: Stack) {
    need_ao(alone(stack));
    let (listener, address) = listening(stack, 1);
    let sock = Sock::open(stack);
    add(&AoKey::new(stack.foreign(0).ip(), FIRST, KEY), &sock);
    expect_errno(sock.connect(&address), libc::EKEYREJECTED);
    add(&AoKey::new(stack.loopback(), FIRST, KEY), &sock);
    add(
        &AoKey::new(stack.loopback(), (FIRST.1, FIRST.0), KEY),
        &listener,
    );
    sock.connect(&address)
        .unwrap_or_else(|error| panic!("connect: {error}"));
}
