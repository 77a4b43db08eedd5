/* System calls of one target: counts, errors, bytes, latency, by thread, descriptor and goroutine; added up here.
 *
 * At level 1 only the end of a call is looked at: number, result and arguments are in the registers then. Level 2 adds
 * the begin, and with it time; level 3 the goroutine. All numbers are per CPU or per thread, so nothing is shared and
 * nothing waits; the kernel runs programs at these tracepoints with preemption off, so plain additions lose nothing.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "pids.h"
#define GO_PLACES /* found out while it runs already */
#include "goroutine.h"

#define CALLS 512      /* numbers of system calls; the last stands for all beyond */
#define SLOTS 128      /* of a histogram: four for each doubling, from 2^LEAST nanoseconds on */
#define LEAST 7
#define OWN 16         /* different calls that a thread is counted by; the others are one */
#define SLOWEST 16     /* calls kept of each CPU between two looks */
#define PATH 96
#define MAX_ERRNO 4095
#define EAGAIN 11

/* A number of -1 at the end of a call: rt_sigreturn, which has put all registers back (kernel/signal.c of each
 * architecture); what looks like its result is the interrupted code's.
 */
#if defined(__TARGET_ARCH_x86)
#define SIGRETURN 15
#else
#define SIGRETURN 139
#endif

enum trait { HAS_FD = 1, BYTES = 2, READS = 4, WRITES = 8, WAITS = 16, PATH_1 = 32, PATH_2 = 64 };

const volatile __u32 level = 2;
const volatile __u32 fd_places = 1024;
const volatile __u8 traits[CALLS] = {};

/* The target's one process in the kernel's own numbers; 0 when it has several, which are in `targets`. */
__u32 only = 0;
/* The process whose descriptors are told apart, in the kernel's own numbers. */
__u32 fd_tgid = 0;
/* When this was attached: a call begun before a pause may have ended and begun again unseen. */
__u64 attached_at = 0;

struct call {
	__u64 count, errors, again, bytes, sum, most;
	__u32 slots[SLOTS];
};

struct failed_key {
	__u32 call, error;
};

struct use {
	__u64 count, errors, bytes, sum;
};

struct descriptor {
	struct use reading, writing, other;
};

struct goroutine_key {
	__u64 goid;
	__u32 call, unused;
};

struct goroutine_use {
	__u64 count, errors, bytes, sum, most;
};

struct own {
	__u32 call; /* + 1; 0 is free */
	__u32 errors;
	__u64 count, sum, most;
};

/* A thread: since when in which call, and its totals. */
struct thread {
	__u64 since, goid;
	__u32 call, unused;
	struct own own[OWN];
};

struct slow {
	__u64 began, took, goid, arguments[3];
	__s64 result;
	__u32 call, tid, tgid, unused; /* in the kernel's own numbers */
};

struct slowest {
	__u64 least;
	struct slow rows[SLOWEST];
};

struct path_key {
	__u32 call, error;
	char path[PATH];
};

struct path_use {
	__u64 count, last;
};

#define PER_CPU_ARRAY(name, entries, kind)                                                                   \
	struct {                                                                                             \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                     \
		__uint(max_entries, entries);                                                                \
		__type(key, __u32);                                                                          \
		__type(value, kind);                                                                         \
	} name SEC(".maps")

PER_CPU_ARRAY(calls, CALLS, struct call);
PER_CPU_ARRAY(descriptors, 1024, struct descriptor);
PER_CPU_ARRAY(slow_calls, 1, struct slowest);
PER_CPU_ARRAY(lost, 1, __u64);

#include "targets.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct failed_key);
	__type(value, __u64);
} failed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct goroutine_key);
	__type(value, struct goroutine_use);
} goroutines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 512);
	__type(key, struct path_key);
	__type(value, struct path_use);
} paths SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

static __always_inline bool is_target(struct task_struct *task)
{
	__u32 tgid = task->tgid, one = only;

	if (one)
		return tgid == one;
	return bpf_map_lookup_elem(&targets, &tgid) != NULL;
}

static __always_inline __u32 number_of(long id)
{
	return (__u64)id < CALLS - 1 ? (__u32)id : CALLS - 1;
}

static __always_inline long id_of(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return (long)regs->orig_ax;
#elif defined(__TARGET_ARCH_arm64)
	return regs->syscallno;
#endif
}

static __always_inline __u64 first_of(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return regs->di;
#elif defined(__TARGET_ARCH_arm64)
	return regs->orig_x0; /* x0 holds the result by now */
#endif
}

static __always_inline __u64 second_of(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return regs->si;
#elif defined(__TARGET_ARCH_arm64)
	return regs->regs[1];
#endif
}

static __always_inline __u64 third_of(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return regs->dx;
#elif defined(__TARGET_ARCH_arm64)
	return regs->regs[2];
#endif
}

/* The slot of a duration: the doubling that it lies in, and which quarter of that. */
static __always_inline __u32 slot_of(__u64 took)
{
	__u32 power = 0, slot;
	__u64 rest = took;

	if (took >> LEAST == 0)
		return 0;
	if (rest >> 32) { power += 32; rest >>= 32; }
	if (rest >> 16) { power += 16; rest >>= 16; }
	if (rest >> 8) { power += 8; rest >>= 8; }
	if (rest >> 4) { power += 4; rest >>= 4; }
	if (rest >> 2) { power += 2; rest >>= 2; }
	if (rest >> 1) power += 1;
	slot = (power - LEAST) * 4 + ((took >> (power - 2)) & 3) + 1;
	return slot < SLOTS ? slot : SLOTS - 1;
}

static __always_inline void lose(void)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&lost, &zero);

	if (n)
		*n += 1;
}

static __always_inline void count_error(__u32 nr, __u32 error)
{
	struct failed_key key = {nr, error};
	__u64 one = 1, *n = bpf_map_lookup_elem(&failed, &key);

	if (n)
		*n += 1;
	else if (bpf_map_update_elem(&failed, &key, &one, BPF_ANY))
		lose();
}

static __noinline int count_path(__u32 nr, __u32 error, const char *path)
{
	struct path_key key = {nr, error, {}};
	struct path_use *use, first = {1, 0};

	if (bpf_probe_read_user_str(key.path, sizeof(key.path), path) < 0)
		return 0;
	use = bpf_map_lookup_elem(&paths, &key);
	if (use) {
		__sync_fetch_and_add(&use->count, 1);
		use->last = bpf_ktime_get_ns();
		return 0;
	}
	first.last = bpf_ktime_get_ns();
	bpf_map_update_elem(&paths, &key, &first, BPF_ANY);
	return 0;
}

static __always_inline void count_descriptor(__u32 fd, __u8 trait, bool bad, __u64 bytes, __u64 took)
{
	struct descriptor *d;
	struct use *use;

	if (fd >= fd_places)
		fd = fd_places - 1;
	d = bpf_map_lookup_elem(&descriptors, &fd);
	if (!d)
		return;
	use = trait & READS ? &d->reading : trait & WRITES ? &d->writing : &d->other;
	use->count += 1;
	use->errors += bad;
	use->bytes += bytes;
	use->sum += took;
}

static __always_inline void count_own(struct thread *thread, __u32 nr, bool bad, __u64 took)
{
	__u32 at = nr;
	struct own *own = NULL;

	for (int i = 0; i < 4; i++, at++) {
		own = &thread->own[at % OWN];
		if (own->call == nr + 1)
			break;
		if (!own->call) {
			own->call = nr + 1;
			break;
		}
		own = NULL;
	}
	if (!own)
		return;
	own->count += 1;
	own->errors += bad;
	own->sum += took;
	if (took > own->most)
		own->most = took;
}

static __always_inline void count_goroutine(__u64 goid, __u32 nr, bool bad, __u64 bytes, __u64 took)
{
	struct goroutine_key key = {goid, nr, 0};
	struct goroutine_use *use = bpf_map_lookup_elem(&goroutines, &key);

	if (!use) {
		struct goroutine_use first = {1, bad, bytes, took, took};

		if (bpf_map_update_elem(&goroutines, &key, &first, BPF_ANY))
			lose();
		return;
	}
	use->count += 1;
	use->errors += bad;
	use->bytes += bytes;
	use->sum += took;
	if (took > use->most)
		use->most = took;
}

/* Keep a call that is among the slowest of this CPU since the last look. */
static __noinline int keep_slow(struct slow *call)
{
	__u32 zero = 0, place = 0;
	__u64 least = ~0ULL;
	struct slowest *kept = bpf_map_lookup_elem(&slow_calls, &zero);

	if (!kept)
		return 0;
	for (__u32 i = 0; i < SLOWEST; i++) {
		if (kept->rows[i].took < least) {
			least = kept->rows[i].took;
			place = i;
		}
	}
	if (place < SLOWEST)
		kept->rows[place] = *call;
	least = ~0ULL;
	for (__u32 i = 0; i < SLOWEST; i++)
		if (kept->rows[i].took < least)
			least = kept->rows[i].took;
	kept->least = least;
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *thread;

	if (!is_target(task))
		return 0;
	thread = bpf_task_storage_get(&threads, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!thread) {
		lose();
		return 0;
	}
	thread->call = number_of(id);
	if (level >= 3)
		thread->goid = go_id(go_g(task, regs));
	thread->since = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(leave, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 took = 0, bytes = 0, began = 0;
	struct thread *thread = NULL;
	struct call *call;
	__u8 trait;
	bool bad;
	__u32 nr;
	long id;

	if (!is_target(task))
		return 0;
	id = id_of(regs);
	nr = id == -1 ? SIGRETURN : number_of(id);
	call = bpf_map_lookup_elem(&calls, &nr);
	if (!call)
		return 0;
	trait = traits[nr & (CALLS - 1)];
	if (level >= 2) {
		thread = bpf_task_storage_get(&threads, task, NULL, 0);
		if (thread && thread->since) {
			if (thread->since >= attached_at && thread->call == nr) {
				began = thread->since;
				took = bpf_ktime_get_ns() - began;
			}
			thread->since = 0;
		}
	}
	bad = id != -1 && (__u64)result >= (__u64)-MAX_ERRNO;
	call->count += 1;
	if (bad) {
		call->errors += 1;
		if (result == -EAGAIN)
			call->again += 1;
		else
			count_error(nr, -result);
		if (trait & (PATH_1 | PATH_2))
			count_path(nr, -result, (const char *)(trait & PATH_1 ? first_of(regs) : second_of(regs)));
	} else if (trait & BYTES) {
		bytes = result;
		call->bytes += bytes;
	}
	if (trait & HAS_FD && (__u32)task->tgid == fd_tgid)
		count_descriptor(first_of(regs), trait, bad, bytes, took);
	if (level < 2 || !began)
		return 0;
	call->sum += took;
	if (took > call->most)
		call->most = took;
	call->slots[slot_of(took) & (SLOTS - 1)] += 1;
	if (thread)
		count_own(thread, nr, bad, took);
	if (level >= 3 && thread)
		count_goroutine(thread->goid, nr, bad, bytes, took);
	if (!(trait & WAITS)) {
		__u32 zero = 0;
		struct slowest *kept = bpf_map_lookup_elem(&slow_calls, &zero);

		if (kept && took > kept->least) {
			struct slow row = {
				.began = began,
				.took = took,
				.goid = level >= 3 && thread ? thread->goid : go_id(go_g(task, regs)),
				.arguments = {first_of(regs), second_of(regs), third_of(regs)},
				.result = result,
				.call = nr,
				.tid = task->pid,
				.tgid = task->tgid,
			};

			keep_slow(&row);
		}
	}
	return 0;
}

/* A thread of the target as it is now, its number in the reader's and in its own PID namespace first. */
struct thread_row {
	__u32 tid, own_tid, kernel_tid, kernel_tgid;
	char comm[16];
	struct thread thread;
};

SEC("iter/task")
int list(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct seq_file *seq = ctx->meta->seq;
	struct thread *thread;
	char comm[16];
	__u32 ids[4];

	if (!task || !is_target(task))
		return 0;
	thread = bpf_task_storage_get(&threads, task, NULL, 0);
	if (!thread)
		return 0;
	ids[0] = pid_for_reader(task);
	ids[1] = pid_for_itself(task);
	ids[2] = task->pid;
	ids[3] = task->tgid;
	bpf_seq_write(seq, ids, sizeof(ids));
	if (bpf_probe_read_kernel(comm, sizeof(comm), task->comm)) /* 6.1 writes only what is ours */
		return 0;
	bpf_seq_write(seq, comm, sizeof(comm));
	bpf_seq_write(seq, thread, sizeof(*thread));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
