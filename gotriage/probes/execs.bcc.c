/* Programs that the target and its children start, and how they end: for BCC, with tracepoints alone.
 * Events are those of events.h. TARGET_PID is the target's PID.
 */
#include <uapi/linux/ptrace.h>

#define EXECED 1
#define EXITED 2
#define EXEC_FAILED 3
#define PATH 256
#define STACK 32
#define WORDS 16
#define WORD 128

struct event {
	u64 at, took, goid;
	s64 result;
	u64 numbers[4];
	u32 kind, tgid, tid, other, flags, length;
	char comm[16];
	char path[PATH];
	u64 stack[STACK];
	char words[WORDS][WORD]; /* each begins with its length, 0 is the last */
};
struct child {
	u64 execed;
	u32 parent, unused;
};

BPF_PERF_OUTPUT(events);
BPF_HASH(children, u32, struct child);
BPF_HASH(beginnings, u32, u64);
BPF_PERCPU_ARRAY(rooms, struct event, 1);

static __always_inline u32 tgid_of(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline struct event *begin(u32 kind, struct child *child)
{
	int zero = 0;
	struct event *e = rooms.lookup(&zero);

	if (!e)
		return NULL;
	e->at = bpf_ktime_get_ns();
	e->took = e->goid = 0;
	e->result = 0;
	e->numbers[0] = e->numbers[1] = e->numbers[2] = e->numbers[3] = 0;
	e->kind = kind;
	e->tgid = tgid_of();
	e->tid = bpf_get_current_pid_tgid();
	e->other = child ? child->parent : 0;
	e->flags = e->length = 0;
	e->path[0] = 0;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	return e;
}

TRACEPOINT_PROBE(sched, sched_process_fork)
{
	u32 from = tgid_of(), task = args->child_pid;
	struct child new = {0, from, 0};

	if (from == TARGET_PID || children.lookup(&from))
		children.update(&task, &new);
	return 0;
}

/* The arguments are told before, for only here they are at hand: flags 1 says that this is no start yet. */
TRACEPOINT_PROBE(syscalls, sys_enter_execve)
{
	u32 tgid = tgid_of();
	struct child *child = children.lookup(&tgid);
	const char *const *argv = args->argv;
	struct event *e;
	const char *word = NULL;

	if (tgid != TARGET_PID && !child)
		return 0;
	e = begin(EXECED, child);
	if (!e)
		return 0;
	e->flags = 1;
	bpf_probe_read_user_str(e->path, sizeof(e->path), args->filename);
#pragma unroll
	for (int i = 0; i < WORDS; i++) {
		e->words[i][0] = 0;
		word = NULL;
		bpf_probe_read_user(&word, sizeof(word), &argv[i]);
		if (word) {
			bpf_probe_read_user_str(&e->words[i][1], WORD - 1, word);
			e->words[i][0] = 1;
		}
	}
	events.perf_submit(args, e, sizeof(*e));
	return 0;
}

TRACEPOINT_PROBE(syscalls, sys_exit_execve)
{
	u32 tgid = tgid_of();
	struct child *child = children.lookup(&tgid);
	struct event *e;

	if (args->ret >= 0 || (tgid != TARGET_PID && !child))
		return 0;
	e = begin(EXEC_FAILED, child);
	if (!e)
		return 0;
	e->result = args->ret;
	events.perf_submit(args, e, offsetof(struct event, stack));
	return 0;
}

TRACEPOINT_PROBE(sched, sched_process_exec)
{
	u32 tgid = tgid_of();
	struct child *child = children.lookup(&tgid);
	struct event *e;

	if (tgid != TARGET_PID && !child)
		return 0;
	e = begin(EXECED, child);
	if (!e)
		return 0;
	beginnings.update(&tgid, &e->at);
	TP_DATA_LOC_READ_STR(e->path, filename, sizeof(e->path));
	events.perf_submit(args, e, offsetof(struct event, stack));
	return 0;
}

TRACEPOINT_PROBE(syscalls, sys_enter_exit_group)
{
	u32 tgid = tgid_of();
	struct child *child = children.lookup(&tgid);

	if (child)
		child->execed = 1 + (args->error_code & 0xff);
	return 0;
}

TRACEPOINT_PROBE(sched, sched_process_exit)
{
	u32 tgid = tgid_of(), tid = bpf_get_current_pid_tgid();
	struct child *child = children.lookup(&tgid);
	struct event *e;
	u64 *begun;

	if (tgid != tid) {
		children.delete(&tid);
		return 0;
	}
	if (!child)
		return 0;
	e = begin(EXITED, child);
	if (e) {
		begun = beginnings.lookup(&tgid);
		e->numbers[1] = begun ? *begun : 0;
		e->numbers[2] = 1;
		e->took = begun ? e->at - *begun : 0;
		e->numbers[3] = child->execed; /* exit_group was called with this status + 1; 0: it was killed */
		e->flags = 2;
		events.perf_submit(args, e, offsetof(struct event, stack));
	}
	beginnings.delete(&tgid);
	children.delete(&tgid);
	return 0;
}
