// SPDX-License-Identifier: GPL-2.0

//! Pieces of pages that hold a send buffer's bytes.

use core::ptr::NonNull;

use super::bindings;

/// A 128th of the memory that buffers can be in, in bytes: what Linux lets one buffer take at most (`tcp_init`). Any context.
pub(crate) fn buffer_share() -> u64 {
    // SAFETY: No conditions.
    let pages = unsafe { bindings::nr_free_buffer_pages() } as u64;
    pages.saturating_mul(kernel::page::PAGE_SIZE as u64) >> 7
}

/// A run of bytes in a page (or compound page), with a reference on it.
///
/// # Invariants
///
/// `page` is valid and this holds one reference on it; `offset + len` does not exceed its size.
/// The bytes have been written before the fragment was made and are never written again.
pub(crate) struct PageFragment {
    page: NonNull<bindings::page>,
    offset: u32,
    len: u32,
}

// SAFETY: A reference on a page may be given up from any CPU and context; the bytes are read only.
unsafe impl Send for PageFragment {}

impl PageFragment {
    /// Takes a new reference on `page`.
    ///
    /// # Safety
    ///
    /// `page` is valid during the call, and `offset..offset + len` of it has been written and will
    /// not be written again.
    pub(super) unsafe fn new(page: NonNull<bindings::page>, offset: u32, len: u32) -> Self {
        // SAFETY: The caller promises that the page is valid.
        unsafe { bindings::oxtcp_helper_get_page(page.as_ptr()) };
        // INVARIANT: The reference was just taken; the rest is promised by the caller.
        Self { page, offset, len }
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Takes `next` in if its bytes come right behind these in the same page.
    ///
    /// Gives `next` back otherwise.
    pub(crate) fn join(&mut self, next: PageFragment) -> Result<(), PageFragment> {
        let follows =
            self.page == next.page && self.offset.checked_add(self.len) == Some(next.offset);
        match self.len.checked_add(next.len) {
            Some(len) if follows => {
                // INVARIANT: `next` satisfied the invariants for its part, of the same page.
                self.len = len;
                Ok(())
            }
            _ => Err(next),
        }
    }

    /// Lets go of the first `bytes` of them, or of all.
    pub(crate) fn skip(&mut self, bytes: u32) {
        let bytes = bytes.min(self.len);
        // INVARIANT: The end stays where it is, and the beginning does not pass it.
        self.offset = self.offset.wrapping_add(bytes);
        self.len = self.len.wrapping_sub(bytes);
    }

    pub(super) fn page(&self) -> *mut bindings::page {
        self.page.as_ptr()
    }

    pub(super) fn offset(&self) -> u32 {
        self.offset
    }
}

impl Drop for PageFragment {
    fn drop(&mut self) {
        // SAFETY: By the invariant the reference is ours to give up.
        unsafe { bindings::oxtcp_helper_put_page(self.page.as_ptr()) };
    }
}
