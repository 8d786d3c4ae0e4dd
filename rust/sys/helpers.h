/* SPDX-License-Identifier: GPL-2.0 */
/* C helpers for what is static inline or a macro in the kernel's headers. */
#ifndef OXTCP_HELPERS_H
#define OXTCP_HELPERS_H

#include <net/net_namespace.h>

struct net *oxtcp_helper_init_net(void);

#endif
