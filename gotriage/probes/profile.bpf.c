/* Who is on a CPU, with both stacks and the goroutine: run by the software clock of each CPU, some 99 times a second.
 *
 * A sample is written as it is, with as much of the user stack as there is: there are so few of them that adding up
 * here would save nothing. What the frame pointers miss, the caller of a function that has not set up its own yet, lies
 * at the top of the stack or in the link register: these words go along.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "goroutine.h"

#define KERNEL 48 /* addresses that are kept of each stack; the outermost ones of a deeper one are cut off */
#define USER 127
#define WORDS 4
#define OUTER 24 /* addresses of Go code below a call into C */

/* Offsets in bytes in runtime.g; 0 is not known. m.g0 is the first word of runtime.m. */
const volatile __u64 go_gopc = 0;
const volatile __u64 go_startpc = 0;
const volatile __u64 go_labels = 0;
const volatile __u64 go_syscallsp = 0;
const volatile __u64 go_syscallpc = 0;
const volatile __u64 go_syscallbp = 0;
/* The thread pointer tells where g is: 0 in programs where that was not found; then only Go code's own register does. */
const volatile __u32 go_thread_local = 0;
const volatile __u32 kernel_stacks = 1;

struct sample {
	__u64 at;
	__u32 pid, tid; /* pid: the value of `targets`; tid: the kernel's own number */
	__u64 goid, gopc, startpc, labels, link, words[WORDS];
	char comm[16];
	__u32 kernel_count, user_count;
	__u64 outer_count;
	__u64 outer[OUTER];
	__u64 kernel[KERNEL];
	__u64 user[USER]; /* last: no more of it is sent than there is */
};

#include "targets.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sample);
} scratch SEC(".maps");

struct counts {
	__u64 hits, lost;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counted SEC(".maps");

/* Whether it is a g: its m knows it, as the one that it runs or as its own stack for the scheduler. */
static __always_inline bool is_g(__u64 g)
{
	__u64 m = g ? go_word(g + go_m) : 0;

	return m && (go_word(m + go_curg) == g || go_word(m) == g);
}

/* The user's goroutine that the thread works for, also on the thread's own stack; 0 for none. */
static __always_inline __u64 goroutine(struct task_struct *task, struct pt_regs *regs)
{
	__u64 g = 0, m;

	if (!go_goid)
		return 0;
#if defined(__TARGET_ARCH_x86)
	g = BPF_CORE_READ(regs, r14);
#elif defined(__TARGET_ARCH_arm64)
	g = BPF_CORE_READ(regs, regs[28]);
#endif
	if (!is_g(g) && go_thread_local)
		g = go_g(task, regs);
	if (!is_g(g))
		return 0;
	m = go_word(g + go_m);
	return go_word(m + go_curg);
}

/* The Go code from which the goroutine has called into C (or the kernel), by the frame pointers from there on: those of
 * C seldom lead back. */
static __always_inline void walk_outer(struct sample *sample, __u64 g)
{
	__u64 frame[2], bp;
	int i;

	sample->outer_count = 0;
	if (!g || !go_syscallbp || !go_word(g + go_syscallsp)) /* the others keep what they were last */
		return;
	sample->outer[0] = go_word(g + go_syscallpc);
	bp = go_word(g + go_syscallbp);
	if (!sample->outer[0])
		return;
	sample->outer_count = 1;
	for (i = 1; i < OUTER; i++) {
		if (!bp || bpf_probe_read_user(frame, sizeof(frame), (void *)bp) || !frame[1])
			break;
		sample->outer[i] = frame[1];
		sample->outer_count = i + 1;
		if (frame[0] <= bp) /* callers lie higher */
			break;
		bp = frame[0];
	}
}

SEC("perf_event")
int on_cpu(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 zero = 0, tgid = task->tgid, *pid;
	struct counts *counts;
	struct sample *sample;
	struct pt_regs *regs;
	__u64 g, sp;
	long size;

	pid = bpf_map_lookup_elem(&targets, &tgid);
	sample = bpf_map_lookup_elem(&scratch, &zero);
	counts = bpf_map_lookup_elem(&counted, &zero);
	if (!pid || !sample || !counts)
		return 0;
	counts->hits++;
	sample->at = bpf_ktime_get_ns();
	sample->pid = *pid;
	sample->tid = task->pid;
	bpf_get_current_comm(sample->comm, sizeof(sample->comm));

	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	g = goroutine(task, regs);
	sample->goid = g ? go_word(g + go_goid) : 0;
	sample->gopc = g && go_gopc ? go_word(g + go_gopc) : 0;
	sample->startpc = g && go_startpc ? go_word(g + go_startpc) : 0;
	sample->labels = g && go_labels ? go_word(g + go_labels) : 0;
	walk_outer(sample, g);
	sp = BPF_CORE_READ(regs, sp);
#if defined(__TARGET_ARCH_arm64)
	sample->link = BPF_CORE_READ(regs, regs[30]);
#else
	sample->link = 0;
#endif
	if (bpf_probe_read_user(sample->words, sizeof(sample->words), (void *)sp))
		__builtin_memset(sample->words, 0, sizeof(sample->words));

	size = kernel_stacks ? bpf_get_stack(ctx, sample->kernel, sizeof(sample->kernel), 0) : 0;
	sample->kernel_count = size > 0 ? size / 8 : 0;
	size = bpf_get_stack(ctx, sample->user, sizeof(sample->user), BPF_F_USER_STACK);
	if (size < 0)
		size = 0;
	if (size > sizeof(sample->user))
		size = sizeof(sample->user);
	sample->user_count = size / 8;
	if (bpf_ringbuf_output(&samples, sample, __builtin_offsetof(struct sample, user) + size, BPF_RB_NO_WAKEUP))
		counts->lost++;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
