// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU's that counts how often each piece of straight code runs:
 * `scripts/profile` says in which functions that is. A line per piece: address,
 * instructions, times.
 *
 * The plugin interface is QEMU's <qemu-plugin.h>, which Debian does not ship:
 * what is used of version 4 is declared here.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
					   void (*fn)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  void (*fn)(unsigned int, void *), int flags, void *data);
void qemu_plugin_register_atexit_cb(plugin_id id, void (*fn)(plugin_id, void *), void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 4;

#define BITS 16

struct piece {
	uint64_t address, instructions, times;
	struct piece *next;
};

static struct piece *pieces[1 << BITS];
static const char *out;

/* The same code is translated more than once. One processor runs, so nothing is locked. */
static struct piece *piece_of(uint64_t address, uint64_t instructions)
{
	struct piece **at = &pieces[address * 0x9e3779b97f4a7c15 >> (64 - BITS)];

	for (struct piece *piece = *at; piece; piece = piece->next)
		if (piece->address == address && piece->instructions == instructions)
			return piece;
	struct piece *piece = calloc(1, sizeof(*piece));

	if (!piece)
		abort();
	*piece = (struct piece){ .address = address, .instructions = instructions, .next = *at };
	return *at = piece;
}

static void on_run(unsigned int cpu, void *piece)
{
	((struct piece *)piece)->times++;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb)
{
	struct piece *piece = piece_of(qemu_plugin_tb_vaddr(tb), qemu_plugin_tb_n_insns(tb));

	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_run, 0, piece);
}

static void on_exit_write(plugin_id id, void *data)
{
	FILE *file = fopen(out, "w");

	if (!file) {
		perror(out);
		return;
	}
	for (size_t i = 0; i < 1 << BITS; i++)
		for (struct piece *piece = pieces[i]; piece; piece = piece->next)
			if (piece->times)
				fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", piece->address,
					piece->instructions, piece->times);
	if (fclose(file))
		perror(out);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], "out=", 4))
			out = strdup(argv[i] + 4);
	if (!out) {
		fprintf(stderr, "profile.so: no out=FILE\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_write, NULL);
	return 0;
}
