// SPDX-License-Identifier: GPL-2.0
/*
 * A module with planted bugs, for the debug kernel: each must make the scan of the kernel's log fail.
 * That shows that a clean log of the real module means something. Never load it on a kernel that you need.
 *
 *   insmod planted.ko bug=uaf|oob|sleep|abba|leak
 */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static char *bug = "";
module_param(bug, charp, 0);
MODULE_PARM_DESC(bug, "uaf, oob, sleep, abba or leak");

/* Reads one byte where the compiler cannot see that it must not. */
static u8 look(u8 *at)
{
	OPTIMIZER_HIDE_VAR(at);
	return READ_ONCE(*at);
}

static void use_after_free(void)
{
	u8 *bytes = kmalloc(64, GFP_KERNEL);

	if (!bytes)
		return;
	kfree(bytes);
	pr_info("planted: %d\n", look(bytes + 8));
}

static void out_of_bounds(void)
{
	u8 *bytes = kzalloc(60, GFP_KERNEL);

	if (!bytes)
		return;
	pr_info("planted: %d\n", look(bytes + 61));
	kfree(bytes);
}

static void sleep_under_spin_lock(void)
{
	static DEFINE_SPINLOCK(lock);

	spin_lock(&lock);
	/* An allocation that may sleep. */
	kfree(kmalloc(64, GFP_KERNEL));
	spin_unlock(&lock);
}

static void ab_ba(void)
{
	static DEFINE_MUTEX(a);
	static DEFINE_MUTEX(b);

	mutex_lock(&a);
	mutex_lock(&b);
	mutex_unlock(&b);
	mutex_unlock(&a);

	mutex_lock(&b);
	mutex_lock(&a);
	mutex_unlock(&a);
	mutex_unlock(&b);
}

static void leak(void)
{
	int i;

	/* Several, as a stale pointer on a stack can hide one of them. */
	for (i = 0; i < 8; i++) {
		u8 *bytes = kmalloc(256, GFP_KERNEL);

		if (bytes)
			memset(bytes, i, 256);
	}
}

static const struct {
	const char *name;
	void (*plant)(void);
} bugs[] = {
	{ "uaf", use_after_free },
	{ "oob", out_of_bounds },
	{ "sleep", sleep_under_spin_lock },
	{ "abba", ab_ba },
	{ "leak", leak },
};

static int __init planted_init(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bugs); i++) {
		if (!strcmp(bug, bugs[i].name)) {
			bugs[i].plant();
			return 0;
		}
	}
	pr_err("planted: no bug named \"%s\"\n", bug);
	return -EINVAL;
}

static void __exit planted_exit(void)
{
}

module_init(planted_init);
module_exit(planted_exit);
MODULE_DESCRIPTION("Planted bugs, to test the scan of the kernel's log");
MODULE_LICENSE("GPL");
