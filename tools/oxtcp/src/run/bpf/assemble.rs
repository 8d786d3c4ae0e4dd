// SPDX-License-Identifier: GPL-2.0
//! Instructions of BPF (`Documentation/bpf/standardization/instruction-set.rst`), as far as they are used here.

/// A register, 0 to 10. Calls take 1 to 5, answer in 0, and keep 6 to 9; 10 is the end of the stack.
pub type Register = u8;

/// A place in a program.
#[derive(Clone, Copy)]
pub struct Label(usize);

/// A program that is being written.
#[derive(Default)]
pub struct Code {
    words: Vec<u64>,
    /// Where the labels are.
    places: Vec<Option<usize>>,
    /// The jumps, and to which labels.
    jumps: Vec<(usize, Label)>,
}

impl Code {
    /// A label, to be put somewhere.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Puts a label in front of the next instruction.
    pub fn put(&mut self, label: Label) {
        self.places[label.0] = Some(self.words.len());
    }

    /// `to = from`
    pub fn copy(&mut self, to: Register, from: Register) {
        self.push(0xbf, to, from, 0, 0);
    }

    /// `to = value`
    pub fn set(&mut self, to: Register, value: i32) {
        self.push(0xb7, to, 0, 0, value);
    }

    /// `to += value`
    pub fn add(&mut self, to: Register, value: i32) {
        self.push(0x07, to, 0, 0, value);
    }

    /// `to += from`
    pub fn add_register(&mut self, to: Register, from: Register) {
        self.push(0x0f, to, from, 0, 0);
    }

    /// `to &= value`, and its upper half is 0.
    pub fn and(&mut self, to: Register, value: i32) {
        self.push(0x54, to, 0, 0, value);
    }

    /// `to = *(u64 *)(from + offset)`
    pub fn load(&mut self, to: Register, from: Register, offset: i16) {
        self.push(0x79, to, from, offset, 0);
    }

    /// `to = *(u32 *)(from + offset)`
    pub fn load_half(&mut self, to: Register, from: Register, offset: i16) {
        self.push(0x61, to, from, offset, 0);
    }

    /// `*(u32 *)(to + offset) = from`
    pub fn store_half(&mut self, to: Register, offset: i16, from: Register) {
        self.push(0x63, to, from, offset, 0);
    }

    /// `*(u64 *)(to + offset) = from`
    pub fn store(&mut self, to: Register, offset: i16, from: Register) {
        self.push(0x7b, to, from, offset, 0);
    }

    /// `*(u64 *)to += from`, atomically
    pub fn add_to(&mut self, to: Register, from: Register) {
        self.push(0xdb, to, from, 0, 0);
    }

    /// `to` is these bytes, as in memory.
    pub fn set_bytes(&mut self, to: Register, bytes: [u8; 8]) {
        let value = u64::from_ne_bytes(bytes);
        self.push(0x18, to, 0, 0, value as i32);
        self.words
            .push(instruction(0, 0, 0, 0, (value >> 32) as i32));
    }

    /// `to` is the map with this descriptor.
    pub fn map(&mut self, to: Register, number: i32) {
        self.push(0x18, to, 1, 0, number);
        self.words.push(0);
    }

    /// `to` points to the first value of the array with this descriptor.
    pub fn map_value(&mut self, to: Register, number: i32) {
        self.push(0x18, to, 2, 0, number);
        self.words.push(0);
    }

    /// Calls one of the kernel's functions for programs, by its number.
    pub fn call(&mut self, function: i32) {
        self.push(0x85, 0, 0, 0, function);
    }

    /// Goes on at the label.
    pub fn jump(&mut self, label: Label) {
        self.push_jump(0x05, (0, 0), 0, label);
    }

    /// Goes on at the label if the lower half of a register, an int, is this.
    pub fn jump_if(&mut self, register: Register, value: i32, label: Label) {
        self.push_jump(0x16, (register, 0), value, label);
    }

    /// Goes on at the label if the lower half of a register, an int, is not this.
    pub fn jump_unless(&mut self, register: Register, value: i32, label: Label) {
        self.push_jump(0x56, (register, 0), value, label);
    }

    /// Goes on at the label if a register, which has a pointer, has none.
    pub fn jump_if_null(&mut self, register: Register, label: Label) {
        self.push_jump(0x15, (register, 0), 0, label);
    }

    /// Goes on at the label if a register, which may have a pointer, has one.
    pub fn jump_unless_null(&mut self, register: Register, label: Label) {
        self.push_jump(0x55, (register, 0), 0, label);
    }

    /// Goes on at the label if all of one register is not all of the other.
    pub fn jump_if_different(&mut self, one: Register, other: Register, label: Label) {
        self.push_jump(0x5d, (one, other), 0, label);
    }

    /// Goes on at the label if a register, with a sign, is less than this.
    pub fn jump_if_less(&mut self, register: Register, value: i32, label: Label) {
        self.push_jump(0xc5, (register, 0), value, label);
    }

    /// Answers with what is in register 0.
    pub fn exit(&mut self) {
        self.push(0x95, 0, 0, 0, 0);
    }

    /// All of it.
    ///
    /// # Panics
    ///
    /// When there is a jump to a label that was not put anywhere.
    pub fn finish(mut self) -> Vec<u64> {
        for (at, label) in self.jumps {
            let to = self.places[label.0].expect("a label that is put somewhere");
            // Counted from the next instruction.
            let offset = (to as i64 - at as i64 - 1) as i16;
            self.words[at] |= instruction(0, 0, 0, offset, 0);
        }
        self.words
    }

    fn push(&mut self, code: u8, to: Register, from: Register, offset: i16, value: i32) {
        self.words.push(instruction(code, to, from, offset, value));
    }

    fn push_jump(&mut self, code: u8, pair: (Register, Register), value: i32, label: Label) {
        self.jumps.push((self.words.len(), label));
        self.push(code, pair.0, pair.1, 0, value);
    }
}

/// `struct bpf_insn`: the operation, both registers in a byte, an offset and a value.
fn instruction(code: u8, to: Register, from: Register, offset: i16, value: i32) -> u64 {
    let [a, b] = offset.to_ne_bytes();
    let [c, d, e, f] = value.to_ne_bytes();
    let registers = match cfg!(target_endian = "little") {
        true => to | (from << 4),
        false => from | (to << 4),
    };
    u64::from_ne_bytes([code, registers, a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finish_resolves_jumps_both_ways() {
        let mut code = Code::default();
        let (again, end) = (code.label(), code.label());
        code.put(again);
        code.jump_if(1, 2, end);
        code.map(1, 7);
        code.jump(again);
        code.put(end);
        code.exit();
        let words = code.finish();
        let offset = |at: usize| {
            let bytes = words[at].to_ne_bytes();
            i16::from_ne_bytes([bytes[2], bytes[3]])
        };
        assert_eq!(words.len(), 5);
        assert_eq!((offset(0), offset(3)), (3, -4));
    }

    #[test]
    #[should_panic(expected = "a label that is put somewhere")]
    fn finish_without_a_label() {
        let mut code = Code::default();
        let nowhere = code.label();
        code.jump(nowhere);
        code.finish();
    }
}
