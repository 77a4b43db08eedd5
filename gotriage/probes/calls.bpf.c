/* System calls of the target that the probe library looks at closely: opens, accepts, DNS messages, files that are
 * slow, syncs, mappings, futex waits. Which call is looked at for what stands in `wanted`, by its number.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "goroutine.h"
#include "events.h"

#define CALLS 512
#define PATH 256
#define NAME 64
#define MESSAGE 512
#define DNS 53
#define EAGAIN 11

enum purpose {
	OPENS = 1, OPENS_FAILED = 2, ACCEPTS = 4, CONNECTS = 8, SENDS = 16, RECEIVES = 32, CLOSES = 64,
	SLOW_FILES = 128, SYNCS = 256, MAPPINGS = 512, WAITS = 1024,
};

/* What a call is looked at for, and in which form it has its message: the buffer itself, a msghdr, an array of those. */
struct spec {
	__u32 purposes;
	__u8 text, form, address, unused; /* text, address: number of the argument + 1 */
};
enum form { BUFFER = 0, HEADER = 1, HEADERS = 2 };

const volatile __u64 slow_ns = 10000000;
const volatile struct spec wanted[CALLS] = {};
/* All purposes that are in `wanted`: code for others is not even verified. */
const volatile __u32 used = 0;
#define FOR(which) ((used & (which)) && (purposes & (which)))

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} begun SEC(".maps");

/* Descriptors that lead to a DNS server. */
struct server {
	__u64 address[2];
	__u32 family;
};
struct descriptor {
	__u32 tgid, fd;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct descriptor);
	__type(value, struct server);
} servers SEC(".maps");

struct user_vector {
	__u64 base, length;
};
struct user_header {
	__u64 name;
	__u32 name_length, unused;
	__u64 vectors, count;
};

/* A call that has ended: its number, arguments, result. */
struct call {
	struct spec spec;
	__u32 number;
	__u64 arguments[6];
	__s64 result;
	__u64 took;
};

static __always_inline void read_arguments(struct call *call, struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	call->number = regs->orig_ax;
	call->arguments[0] = regs->di;
	call->arguments[1] = regs->si;
	call->arguments[2] = regs->dx;
	call->arguments[3] = regs->r10;
	call->arguments[4] = regs->r8;
	call->arguments[5] = regs->r9;
#elif defined(__TARGET_ARCH_arm64)
	call->number = regs->syscallno;
	call->arguments[0] = regs->orig_x0;
	call->arguments[1] = regs->regs[1];
	call->arguments[2] = regs->regs[2];
	call->arguments[3] = regs->regs[3];
	call->arguments[4] = regs->regs[4];
	call->arguments[5] = regs->regs[5];
#endif
}

static __always_inline __u64 argument(struct call *call, __u32 place)
{
	switch (place) { /* no index that the verifier would have to follow */
	case 0: return call->arguments[0];
	case 1: return call->arguments[1];
	case 2: return call->arguments[2];
	case 3: return call->arguments[3];
	case 4: return call->arguments[4];
	default: return call->arguments[5];
	}
}

static __always_inline bool server_at(__u64 sockaddr, struct server *found)
{
	__u16 head[2] = {};

	if (!sockaddr || bpf_probe_read_user(head, sizeof(head), (void *)sockaddr))
		return false;
	if (head[1] != __builtin_bswap16(DNS) || (head[0] != 2 && head[0] != 10))
		return false;
	found->family = head[0];
	found->address[0] = found->address[1] = 0;
	if (head[0] == 10)
		bpf_probe_read_user(found->address, 16, (void *)(sockaddr + 8));
	else
		bpf_probe_read_user(found->address, 4, (void *)(sockaddr + 4));
	return true;
}

static __always_inline void opened(struct call *call, __u32 purposes)
{
	struct event *e;

	if (!(purposes & OPENS) && call->result >= 0)
		return;
	e = begin(OPENED, PATH);
	if (!e)
		return;
	e->goid = my_goid();
	e->took = call->took;
	e->result = call->result;
	e->numbers[0] = call->number;
	e->numbers[1] = argument(call, call->spec.text); /* flags follow the path, but in openat2 and creat */
	e->flags = purposes & (OPENS | OPENS_FAILED);
	if (bpf_probe_read_user_str(e->text, PATH, (void *)argument(call, call->spec.text - 1)) <= 0)
		e->text[0] = 0;
	e->length = PATH;
	send(e);
}

static __always_inline void accepted(struct call *call)
{
	struct sock___p *sk;
	struct event *e;

	if (call->result == -EAGAIN)
		return;
	e = begin(ACCEPTED, 0);
	if (!e)
		return;
	e->goid = my_goid();
	e->took = call->took;
	e->result = call->result;
	e->numbers[0] = call->result;
	sk = call->result >= 0 ? socket_of(call->result) : NULL;
	if (sk)
		tell_socket(e, sk);
	send(e);
}

static __noinline int tell_message(struct server *server, __u32 fd, __u32 kind, __u64 at, __u64 size)
{
	struct event *e;

	if (!server)
		return 0;
	e = begin(kind, MESSAGE);
	if (!e)
		return 0;
	e->goid = my_goid();
	e->numbers[0] = fd;
	e->numbers[1] = server->address[0];
	e->numbers[2] = server->address[1];
	e->numbers[3] = size;
	e->flags = server->family;
	size = at_most(size, MESSAGE);
	if (!bpf_probe_read_user(e->text, size, (void *)at))
		e->length = size;
	send(e);
	return 0;
}

/* The message of a msghdr: what its first vector holds. */
static __always_inline void tell_header(struct server *server, __u32 fd, __u32 kind, __u64 header, __u64 size)
{
	struct user_header h = {};
	struct user_vector v = {};

	bpf_probe_read_user(&h, sizeof(h), (void *)header);
	bpf_probe_read_user(&v, sizeof(v), (void *)h.vectors);
	tell_message(server, fd, kind, v.base, size < v.length ? size : v.length);
}

static __always_inline void message(struct call *call, __u32 purposes)
{
	struct descriptor key = {my_tgid(), call->arguments[0]};
	__u32 kind = purposes & SENDS ? ASKED : ANSWERED;
	struct server *known, found = {};
	struct user_header h = {};
	__u64 address = 0;

	if (call->result <= 0)
		return;
	known = bpf_map_lookup_elem(&servers, &key);
	if (!known) {
		if (call->spec.address)
			address = argument(call, call->spec.address - 1);
		else if (call->spec.form && !bpf_probe_read_user(&h, sizeof(h), (void *)call->arguments[1]))
			address = h.name;
		if (!server_at(address, &found))
			return;
		if (kind == ASKED)
			bpf_map_update_elem(&servers, &key, &found, BPF_ANY);
		known = &found;
	}
	if (call->spec.form == BUFFER) {
		tell_message(known, key.fd, kind, call->arguments[1], call->result);
	} else if (call->spec.form == HEADER) {
		tell_header(known, key.fd, kind, call->arguments[1], call->result);
	} else {
		tell_header(known, key.fd, kind, call->arguments[1], MESSAGE);
		if (call->result > 1) /* struct mmsghdr has 64 bytes; a resolver asks for A and AAAA at once */
			tell_header(known, key.fd, kind, call->arguments[1] + 64, MESSAGE);
	}
}

static __always_inline void connected(struct call *call)
{
	struct descriptor key = {my_tgid(), call->arguments[0]};
	struct server found = {};

	if (server_at(call->arguments[1], &found))
		bpf_map_update_elem(&servers, &key, &found, BPF_ANY);
	else
		bpf_map_delete_elem(&servers, &key);
}

static __always_inline void slow_file(struct call *call)
{
	struct file___p *file = file_of(call->arguments[0]);
	struct dentry___p *entry;
	struct event *e;
	__u16 mode;

	if (!file)
		return;
	mode = BPF_CORE_READ(file, f_inode, i_mode) & 0170000;
	if (mode != 0100000 && mode != 0040000 && mode != 0060000)
		return; /* files, folders and disks; whoever waits on a pipe or socket waits for somebody */
	e = begin(SLOW_FILE, NAME);
	if (!e)
		return;
	e->goid = my_goid();
	e->took = call->took;
	e->result = call->result;
	e->numbers[0] = call->number;
	e->numbers[1] = call->arguments[0];
	e->numbers[2] = BPF_CORE_READ(file, f_inode, i_ino);
	entry = BPF_CORE_READ(file, f_path.dentry);
	if (bpf_probe_read_kernel_str(e->text, NAME, BPF_CORE_READ(entry, d_name.name)) <= 0)
		e->text[0] = 0;
	e->length = NAME;
	send(e);
}

/* FUTEX_WAIT, _LOCK_PI, _WAIT_BITSET, _WAIT_REQUEUE_PI, _LOCK_PI2 of include/uapi/linux/futex.h. */
static __always_inline bool is_wait(__u32 op)
{
	op &= 127;
	return op == 0 || op == 6 || op == 9 || op == 11 || op == 13;
}

static __always_inline void counted(struct call *call, __u32 purposes)
{
	struct total_key key = {0, call->number, 0, 0};
	bool bad = call->result < 0 && call->result >= -4095;

	if (purposes & SYNCS) {
		key.kind = SYNCED;
		add(&key, call->took, 0, bad);
	}
	if (purposes & MAPPINGS) {
		key.kind = MAPPED;
		add(&key, call->took, call->arguments[1], bad);
	}
	if (purposes & WAITS && is_wait(call->arguments[1])) {
		key.kind = WAITED;
		key.a = 0;
		key.b = call->arguments[0];
		add(&key, call->took, 0, bad && call->result != -EAGAIN);
	}
}

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long number)
{
	__u64 now;
	__u32 tid;

	if ((__u64)number >= CALLS || !wanted[number].purposes || !is_target(my_tgid()))
		return 0;
	now = bpf_ktime_get_ns();
	tid = my_tid();
	bpf_map_update_elem(&begun, &tid, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(leave, struct pt_regs *regs, long result)
{
	struct call call = {};
	__u32 tid, purposes;
	__u64 *since;

	if (!is_target(my_tgid()))
		return 0;
	read_arguments(&call, regs);
	if (call.number >= CALLS)
		return 0;
	call.spec.purposes = purposes = wanted[call.number].purposes;
	if (!purposes)
		return 0;
	call.spec.text = wanted[call.number].text;
	call.spec.form = wanted[call.number].form;
	call.spec.address = wanted[call.number].address;
	call.result = result;
	count(HITS);
	tid = my_tid();
	since = bpf_map_lookup_elem(&begun, &tid);
	if (since) {
		call.took = bpf_ktime_get_ns() - *since;
		bpf_map_delete_elem(&begun, &tid);
	}
	if (FOR(OPENS | OPENS_FAILED))
		opened(&call, purposes);
	if (FOR(ACCEPTS))
		accepted(&call);
	if (FOR(CONNECTS))
		connected(&call);
	if (FOR(CLOSES)) {
		struct descriptor key = {my_tgid(), call.arguments[0]};

		bpf_map_delete_elem(&servers, &key);
	}
	if (FOR(SENDS | RECEIVES))
		message(&call, purposes);
	if (FOR(SLOW_FILES) && call.took >= slow_ns)
		slow_file(&call);
	if (FOR(SYNCS | MAPPINGS | WAITS))
		counted(&call, purposes);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
