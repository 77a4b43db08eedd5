/* What the programs of the probe library share: who is the target, one form for everything that they tell, and the
 * types of the kernel that they read (names of their own, "___p": the part before is what libbpf looks for).
 * Include after kernel.h, bpf_helpers.h, bpf_core_read.h, bpf_tracing.h and goroutine.h.
 */
#ifndef GOTRIAGE_EVENTS_H
#define GOTRIAGE_EVENTS_H

enum kind {
	EXECED = 1, EXITED = 2, EXEC_FAILED = 3, SIGNALLED = 4, OOM_KILLED = 5,
	OPENED = 10, ACCEPTED = 11, ASKED = 12, ANSWERED = 13, SLOW_FILE = 14, SYNCED = 15, MAPPED = 16, WAITED = 17,
	CONNECTED = 20, RETRANSMITTED = 21, RESET_SENT = 22, RESET_CAME = 23,
	QUEUED = 30, THROTTLED = 31, BLOCK_IO = 32, FAULTED = 33,
	GC_BEGUN = 40, GC_MARKED = 41, GO_BEGUN = 42, PANICKED = 43,
};

/* Something that happened; `numbers` and what is in `text` depend on the kind (collectors/probes). */
struct event {
	__u64 at, took, goid;
	__s64 result;
	__u64 numbers[4];
	__u32 kind, tgid, tid, other, flags, length;
	char comm[16];
	char text[];
};

/* Something that happens so often that it is added up here; times in ns, slots by powers of two of 1024 ns. */
#define SLOTS 26
struct total_key {
	__u32 kind, a;
	__u64 b, c;
};
struct total {
	__u64 count, errors, bytes, sum, most;
	__u32 slots[SLOTS];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct atomic___p {
	int counter;
};
struct signal_struct___p {
	struct atomic___p live;
};
struct qstr___p {
	__u32 len;
	const unsigned char *name;
};
struct dentry___p {
	struct qstr___p d_name;
};
struct path___p {
	struct dentry___p *dentry;
};
struct inode___p {
	unsigned short i_mode;
	unsigned long i_ino;
};
struct file___p {
	struct path___p f_path;
	struct inode___p *f_inode;
	void *private_data;
};
struct fdtable___p {
	unsigned int max_fds;
	struct file___p **fd;
};
struct files_struct___p {
	struct fdtable___p *fdt;
};
struct mm_struct___p {
	unsigned long arg_start, arg_end;
};
struct cfs_rq___p {
	int throttle_count;
};
struct sched_entity___p {
	struct cfs_rq___p *cfs_rq;
};
struct task_struct___p {
	int exit_code;
	unsigned int __state;
	bool throttled;
	struct signal_struct___p *signal;
	struct files_struct___p *files;
	struct mm_struct___p *mm;
	struct sched_entity___p se;
};
struct task_struct___before_5_14 {
	long state;
};
struct in6_addr___p {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};
struct sock_common___p {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	struct in6_addr___p skc_v6_daddr;
};
struct socket___p {
	struct sock___p *sk;
};
struct socket_alloc___p {
	struct socket___p socket;
	struct inode___p vfs_inode;
};
struct sock___p {
	struct sock_common___p __sk_common;
	int sk_err;
	__u16 sk_protocol;
	struct socket___p *sk_socket;
};
struct linux_binprm {
	const char *filename;
};

#pragma clang attribute pop

#include "targets.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 * 1024);
} events SEC(".maps");

enum { HITS = 0, LOST = 1, LEFT_OUT = 2 };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} meter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct total_key);
	__type(value, struct total);
} totals SEC(".maps");

static const struct total no_total = {};

/* The size, or the most that there is room for, in a form that the verifier follows. */
static __always_inline __u64 at_most(__u64 size, const __u64 most)
{
	asm volatile("if %[size] < %[most] goto +1\n%[size] = %[most]" : [size] "+r"(size) : [most] "i"(most));
	return size;
}

static __always_inline void count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&meter, &which);

	if (n)
		*n += 1;
}

/* The PID namespace in which processes are told, where it is not the kernel's own. */
const volatile __u64 ns_dev = 0, ns_ino = 0;

static __always_inline __u32 my_tgid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline __u32 my_tid(void)
{
	return bpf_get_current_pid_tgid();
}

/* What a process of the target is called where gotriage runs; others keep the kernel's number. */
static __always_inline __u32 name_of(__u32 tgid)
{
	__u32 *known = ns_ino ? bpf_map_lookup_elem(&targets, &tgid) : NULL;

	return known ? *known : tgid;
}

static __always_inline void tell_who(struct event *e)
{
	struct bpf_pidns_info inside = {};

	e->tgid = my_tgid();
	e->tid = my_tid();
	if (ns_ino && !bpf_get_ns_current_pid_tgid(ns_dev, ns_ino, &inside, sizeof(inside))) {
		e->tgid = inside.tgid;
		e->tid = inside.pid;
	}
}

static __always_inline bool is_target(__u32 tgid)
{
	return bpf_map_lookup_elem(&targets, &tgid) != NULL;
}

/* The process whose goroutines are known. */
const volatile __u32 go_tgid = 0;

static __always_inline __u64 my_goid(void)
{
	struct task_struct *task;

	if (!go_goid || my_tgid() != go_tgid)
		return 0;
	task = bpf_get_current_task_btf();
#if defined(__TARGET_ARCH_arm64)
	return go_id(go_g(task, (void *)bpf_task_pt_regs(task)));
#else
	return go_id(go_g(task, NULL));
#endif
}

/* Room for an event with that much text, filled in as far as that is the same for all; NULL when there is none. */
static __always_inline struct event *begin(__u32 kind, __u32 text)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(struct event) + text, 0);

	if (!e) {
		count(LOST);
		return NULL;
	}
	e->at = bpf_ktime_get_ns();
	e->took = 0;
	e->goid = 0;
	e->result = 0;
	e->numbers[0] = e->numbers[1] = e->numbers[2] = e->numbers[3] = 0;
	e->kind = kind;
	tell_who(e);
	e->other = 0;
	e->flags = 0;
	e->length = 0;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	return e;
}

static __always_inline void send(struct event *e)
{
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

static __always_inline __u32 slot_of(__u64 took)
{
	__u32 value, slot = 0;

	took >>= 10;
	value = took > 0xffffffff ? 0xffffffff : took;
	if (value >> 16) { slot += 16; value >>= 16; }
	if (value >> 8) { slot += 8; value >>= 8; }
	if (value >> 4) { slot += 4; value >>= 4; }
	if (value >> 2) { slot += 2; value >>= 2; }
	if (value >> 1) slot += 1;
	return slot < SLOTS ? slot : SLOTS - 1;
}

static __always_inline void add(struct total_key *key, __u64 took, __u64 bytes, bool bad)
{
	struct total *total = bpf_map_lookup_elem(&totals, key);
	__u32 slot = slot_of(took);

	if (!total) {
		bpf_map_update_elem(&totals, key, &no_total, BPF_NOEXIST);
		total = bpf_map_lookup_elem(&totals, key);
	}
	if (!total) {
		count(LOST);
		return;
	}
	__sync_fetch_and_add(&total->count, 1);
	if (bad)
		__sync_fetch_and_add(&total->errors, 1);
	if (bytes)
		__sync_fetch_and_add(&total->bytes, bytes);
	__sync_fetch_and_add(&total->sum, took);
	if (took > total->most)
		total->most = took;
	if (slot < SLOTS)
		__sync_fetch_and_add(&total->slots[slot], 1);
}

/* Both ends of a socket: numbers 1 and 2 the peer's address, 3 its port above our own; the family as `flags`. */
static __always_inline void tell_socket(struct event *e, struct sock___p *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family), own = BPF_CORE_READ(sk, __sk_common.skc_num);

	e->flags = family;
	if (family != 10)
		e->numbers[1] = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	else if (bpf_core_field_exists(sk->__sk_common.skc_v6_daddr))
		bpf_core_read(&e->numbers[1], 16, &sk->__sk_common.skc_v6_daddr);
	e->numbers[3] = (__u64)__builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport)) << 16 | own;
}

/* The file behind a descriptor of the current process, NULL when there is none. */
static __always_inline struct file___p *file_of(__u32 fd)
{
	struct task_struct___p *task = (void *)bpf_get_current_task();
	struct fdtable___p *table = BPF_CORE_READ(task, files, fdt);
	struct file___p *file = NULL;

	if (fd < BPF_CORE_READ(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
	return file;
}

static __always_inline struct sock___p *socket_of(__u32 fd)
{
	struct file___p *file = file_of(fd);
	struct socket___p *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & 0170000) != 0140000)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

#endif
