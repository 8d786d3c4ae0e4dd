// SPDX-License-Identifier: GPL-2.0

//! Control messages, taken apart.

use crate::backend::{Control, ControlData};

/// `struct cmsghdr`: length, level, type.
const HEADER: usize = 16;

const SOL_IP: i32 = 0;
const SOL_SOCKET: i32 = 1;
const SOL_TCP: i32 = 6;
const SOL_IPV6: i32 = 41;
const IP_RECVERR: i32 = 11;
const IPV6_RECVERR: i32 = 25;
const TCP_CM_INQ: i32 = 36;
const SCM_TIMESTAMPING: i32 = 37;

/// The messages in `bytes`. `wall` is the wall clock at the script's start, in microseconds.
///
/// # Errors
///
/// Names a message that is not known.
pub(super) fn controls(mut bytes: &[u8], wall: i64) -> Result<Vec<Control>, String> {
    let mut found = Vec::new();
    while let Some((header, _)) = bytes.split_at_checked(HEADER) {
        let len = u64_at(header, 0) as usize;
        let (level, kind) = (i32_at(header, 8), i32_at(header, 12));
        let data = bytes
            .get(HEADER..len)
            .ok_or(format!("a control message of {len} bytes"))?;
        let data = match (level, kind, data.len()) {
            (SOL_SOCKET, SCM_TIMESTAMPING, 48) => time(data, wall),
            (SOL_IP, IP_RECVERR, 16..) | (SOL_IPV6, IPV6_RECVERR, 16..) => error(data),
            (SOL_TCP, TCP_CM_INQ, 4) => ControlData::Int(i64::from(i32_at(data, 0))),
            (level, kind, len) => {
                return Err(format!(
                    "a control message of level {level} and type {kind} with {len} bytes is unknown"
                ))
            }
        };
        found.push(Control {
            level: i64::from(level),
            kind: i64::from(kind),
            data,
        });
        // The next one is aligned.
        bytes = bytes.get(len.next_multiple_of(8)..).unwrap_or(&[]);
    }
    Ok(found)
}

/// `struct scm_timestamping`: three times, of which the first is the software's.
fn time(data: &[u8], wall: i64) -> ControlData {
    let (seconds, nanos) = (u64_at(data, 0) as i64, u64_at(data, 8) as i64);
    ControlData::Time(seconds * 1_000_000 + nanos / 1000 - wall)
}

/// `struct sock_extended_err`
fn error(data: &[u8]) -> ControlData {
    let byte = |at: usize| i64::from(data[at]);
    let word = |at: usize| i64::from(i32_at(data, at) as u32);
    ControlData::Error([word(0), byte(4), byte(5), byte(6), word(8), word(12)])
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    i32::from_ne_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + data.len()) as u64).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn controls__one_after_the_other() {
        let mut time = [0u8; 48];
        time[..8].copy_from_slice(&5i64.to_ne_bytes());
        time[8..16].copy_from_slice(&20_000_000i64.to_ne_bytes());
        let mut error = [0u8; 32];
        error[0] = 42;
        error[4] = 4;
        error[12..16].copy_from_slice(&99u32.to_ne_bytes());
        let bytes = [
            message(SOL_TCP, TCP_CM_INQ, &9000i32.to_ne_bytes()),
            message(SOL_SOCKET, SCM_TIMESTAMPING, &time),
            message(SOL_IPV6, IPV6_RECVERR, &error),
        ]
        .concat();
        let data: Vec<ControlData> = controls(&bytes, 5_000_000)
            .unwrap()
            .into_iter()
            .map(|control| control.data)
            .collect();
        assert_eq!(
            data,
            [
                ControlData::Int(9000),
                ControlData::Time(20_000),
                ControlData::Error([42, 4, 0, 0, 0, 99])
            ]
        );
    }

    #[test]
    fn controls__what_is_unknown_is_named() {
        let bytes = message(SOL_SOCKET, 1, &[0; 4]);
        let error = controls(&bytes, 0).unwrap_err();
        assert!(error.contains("level 1 and type 1"), "{error}");
        assert!(controls(&message(SOL_TCP, TCP_CM_INQ, &[0; 4])[..17], 0).is_err());
        assert_eq!(controls(&[], 0), Ok(Vec::new()));
    }
}
