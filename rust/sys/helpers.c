// SPDX-License-Identifier: GPL-2.0
#include "helpers.h"

struct net *oxtcp_helper_init_net(void)
{
	return &init_net;
}
