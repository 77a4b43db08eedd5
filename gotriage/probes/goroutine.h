/* Which goroutine does this: the g that the current thread runs, and its id.
 *
 * Go keeps g in thread-local storage: on amd64 at a fixed distance from fsbase, which user space finds out for each
 * program (go_tls); on arm64 in register x28. The offsets are those of the target's own runtime (runtime/runtime2.go).
 * Include after kernel.h and bpf_helpers.h.
 */
#ifndef GOTRIAGE_GOROUTINE_H
#define GOTRIAGE_GOROUTINE_H

/* Constants of the program's load; who includes this may define GO_PLACES as nothing: then they may be set later. */
#ifndef GO_PLACES
#define GO_PLACES const volatile
#endif

/* amd64: distance of g from fsbase, bytes; unused on arm64. */
GO_PLACES __s64 go_tls = -8;
/* Offsets in bytes: g.goid, g.m, m.curg; go_goid 0 turns all of this off. */
GO_PLACES __u64 go_goid = 0;
GO_PLACES __u64 go_m = 0;
GO_PLACES __u64 go_curg = 0;

static __always_inline __u64 go_word(__u64 address)
{
	__u64 word = 0;

	return bpf_probe_read_user(&word, sizeof(word), (void *)address) ? 0 : word;
}

/* The g that a thread of Go runs, 0 when it runs none. `regs` are the thread's registers in user space. */
static __always_inline __u64 go_g(struct task_struct *task, struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	__u64 base = task->thread.fsbase;

	return base ? go_word(base + go_tls) : 0;
#elif defined(__TARGET_ARCH_arm64)
	return BPF_CORE_READ(regs, regs[28]);
#endif
}

/* The id of goroutine g; of the one that it works for when g is a thread's own scheduling stack (g0, whose id is 0);
 * 0 when that is none.
 */
static __always_inline __u64 go_id(__u64 g)
{
	__u64 id, m;

	if (!g || !go_goid)
		return 0;
	id = go_word(g + go_goid);
	if (id)
		return id;
	m = go_word(g + go_m);
	if (!m)
		return 0;
	g = go_word(m + go_curg);
	return g ? go_word(g + go_goid) : 0;
}

#endif
