// SPDX-License-Identifier: GPL-2.0
/* Makes the tracepoints of trace.h, and the functions by which Rust fires them. */
#include <linux/skbuff.h>
#include <linux/unaligned.h>

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "trace.h"
