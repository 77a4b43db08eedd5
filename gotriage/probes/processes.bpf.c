/* Programs that the target starts and how they end, signals sent to it, and kills for want of memory.
 *
 * Its children are known from the fork on, and theirs too: what the first of them was started by (thread, goroutine)
 * is told of all that come from it.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "goroutine.h"
#include "events.h"

#define PATH 256
#define ARGUMENTS 1024
#define FRAMES 32
#define SIGURG 23

const volatile __u32 execve_number = 59;
const volatile __u32 execveat_number = 322;

/* A child: numbers[] of its events are taken from here. */
struct child {
	__u64 forked, execed, goid;
	__u32 parent, caller; /* caller: thread of the target */
	__u64 stack[FRAMES];  /* of that thread, when it forked */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct child);
} children SEC(".maps");

static const struct child no_child = {};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct kernel_siginfo {
	int si_signo, si_errno, si_code;
};
struct trace_event_raw_mark_victim___p {
	unsigned int uid;
};
#pragma clang attribute pop

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *task)
{
	__u32 tgid = task->tgid, from = parent->tgid;
	bool first = is_target(from);
	struct child *new, *known = NULL;

	if (task->pid != tgid)
		return 0; /* a thread */
	if (!first)
		known = bpf_map_lookup_elem(&children, &from);
	if (!first && !known)
		return 0;
	count(HITS);
	bpf_map_update_elem(&children, &tgid, known ?: &no_child, BPF_ANY);
	new = bpf_map_lookup_elem(&children, &tgid);
	if (!new)
		return 0;
	if (first) {
		new->caller = parent->pid;
		new->goid = my_goid();
		bpf_get_stack(ctx, new->stack, sizeof(new->stack), BPF_F_USER_STACK);
	}
	new->parent = name_of(from);
	new->execed = 0;
	new->forked = bpf_ktime_get_ns();
	return 0;
}

static __always_inline void tell_child(struct event *e, struct child *child)
{
	if (!child)
		return;
	e->goid = child->goid;
	e->other = child->parent;
	e->numbers[2] = child->forked;
	e->numbers[3] = child->caller;
}

/* text: the file, then the stack of who started it, then the arguments, each with its zero. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(execed, struct task_struct *task, int old, struct linux_binprm *program)
{
	__u32 tgid = my_tgid();
	struct child *child = bpf_map_lookup_elem(&children, &tgid);
	struct mm_struct___p *mm;
	struct event *e;
	__u64 start, size;
	long length;

	if (!child && !is_target(tgid))
		return 0;
	count(HITS);
	e = begin(EXECED, PATH + sizeof(child->stack) + ARGUMENTS);
	if (!e)
		return 0;
	tell_child(e, child);
	if (child)
		child->execed = e->at;
	length = bpf_probe_read_kernel_str(e->text, PATH, BPF_CORE_READ(program, filename));
	if (length <= 0)
		e->text[0] = 0;
	if (child)
		__builtin_memcpy(e->text + PATH, child->stack, sizeof(child->stack));
	else
		__builtin_memset(e->text + PATH, 0, sizeof(child->stack));
	mm = BPF_CORE_READ((struct task_struct___p *)task, mm);
	start = BPF_CORE_READ(mm, arg_start);
	size = BPF_CORE_READ(mm, arg_end) - start;
	e->numbers[0] = size;
	size = at_most(size, ARGUMENTS);
	if (!bpf_probe_read_user(e->text + PATH + sizeof(child->stack), size, (void *)start))
		e->length = size;
	send(e);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exited, struct task_struct *task)
{
	__u32 tgid = task->tgid;
	struct task_struct___p *t = (void *)task;
	struct child *child;
	struct event *e;

	child = bpf_map_lookup_elem(&children, &tgid);
	if (!child && !is_target(tgid))
		return 0;
	if (BPF_CORE_READ(t, signal, live.counter))
		return 0; /* threads are left */
	count(HITS);
	e = begin(EXITED, 0);
	if (e) {
		tell_child(e, child);
		e->result = BPF_CORE_READ(t, exit_code);
		if (child) {
			e->numbers[1] = child->execed;
			e->took = e->at - (child->execed ?: child->forked);
		}
		send(e);
	}
	if (child)
		bpf_map_delete_elem(&children, &tgid);
	return 0;
}

/* What execve(2) could not start: the shell's look for a command, or a file that is not there. */
SEC("tp_btf/sys_exit")
int BPF_PROG(refused, struct pt_regs *regs, long result)
{
	__u32 tgid, number;
	struct child *child;
	struct event *e;
	__u64 path;

	if (result >= 0)
		return 0;
#if defined(__TARGET_ARCH_x86)
	number = regs->orig_ax;
	path = number == execveat_number ? regs->si : regs->di;
#elif defined(__TARGET_ARCH_arm64)
	number = regs->syscallno;
	path = number == execveat_number ? regs->regs[1] : regs->orig_x0;
#endif
	if (number != execve_number && number != execveat_number)
		return 0;
	tgid = my_tgid();
	child = bpf_map_lookup_elem(&children, &tgid);
	if (!child && !is_target(tgid))
		return 0;
	count(HITS);
	e = begin(EXEC_FAILED, PATH);
	if (!e)
		return 0;
	tell_child(e, child);
	e->result = result;
	if (bpf_probe_read_user_str(e->text, PATH, (void *)path) <= 0)
		e->text[0] = 0;
	e->length = PATH;
	send(e);
	return 0;
}

/* tgid: whom it is for; other: who sent it. */
SEC("tp_btf/signal_generate")
int BPF_PROG(signalled, int number, struct kernel_siginfo *info, struct task_struct *task, int group, int outcome)
{
	__u32 tgid = task->tgid;
	int code = 0;
	struct event *e;

	if (!is_target(tgid))
		return 0;
	count(HITS);
	if (number == SIGURG && my_tgid() == tgid) {
		count(LEFT_OUT); /* Go's scheduler preempts goroutines so */
		return 0;
	}
	e = begin(SIGNALLED, 0);
	if (!e)
		return 0;
	e->other = e->tgid;
	e->tgid = name_of(tgid);
	e->tid = task->pid;
	e->result = outcome;
	e->numbers[0] = number;
	if ((unsigned long)info > 1)
		bpf_probe_read_kernel(&code, sizeof(code), &info->si_code);
	e->numbers[1] = (unsigned long)info > 1 ? (__u64)(__s64)code : info ? 0x80 : 0; /* SEND_SIG_PRIV: SI_KERNEL */
	e->numbers[2] = group;
	send(e);
	return 0;
}

/* tgid: who is killed; other: who asked for the memory that there was not. Older kernels hand over its number only. */
SEC("tp_btf/mark_victim")
int oom_killed(__u64 *context)
{
	struct event *e;

	count(HITS);
	e = begin(OOM_KILLED, 16);
	if (!e)
		return 0;
	e->other = e->tgid;
	e->text[0] = 0;
	if (bpf_core_field_exists(struct trace_event_raw_mark_victim___p, uid)) {
		struct task_struct *victim = (void *)context[0];

		e->result = is_target(BPF_CORE_READ(victim, tgid));
		e->tgid = name_of(BPF_CORE_READ(victim, tgid));
		bpf_probe_read_kernel(e->text, 16, &victim->comm);
		e->length = 16;
	} else {
		e->result = is_target(context[0]);
		e->tgid = name_of(context[0]);
	}
	send(e);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
