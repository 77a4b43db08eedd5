/* Functions of a Go program's runtime, by probes at their beginnings; what a probe means stands in its cookie.
 * Arguments are where Go's ABIInternal has them (src/cmd/compile/abi-internal.md).
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "goroutine.h"
#include "events.h"

#define MESSAGE 256

#if defined(__TARGET_ARCH_x86)
#define FIRST(r) ((r)->ax)
#define SECOND(r) ((r)->bx)
#define THIRD(r) ((r)->cx)
#define THE_G(r) ((r)->r14)
#define STACK_TOO_SMALL(r) ((r)->flags & 0x41) /* CF or ZF: JBE goes to morestack, and the function begins again */
#define CALLER(r) go_word((r)->sp)
#elif defined(__TARGET_ARCH_arm64)
#define FIRST(r) ((r)->regs[0])
#define SECOND(r) ((r)->regs[1])
#define THIRD(r) ((r)->regs[2])
#define THE_G(r) ((r)->regs[28])
#define STACK_TOO_SMALL(r) 0
#define CALLER(r) ((r)->regs[30])
#endif
#define ON_RETRY 0x100

/* internal/abi/type.go: Type.Kind_, and the kinds whose value is, or begins with, a string. */
#define KIND_AT 23
enum { KIND = 31, POINTER = 22, STRING = 24, STRUCT = 25 };

static __always_inline int panicked(struct pt_regs *regs)
{
	__u64 string[2] = {}, data = SECOND(regs), size;
	struct event *e = begin(PANICKED, MESSAGE);
	__u8 kind = 0;

	if (!e)
		return 0;
	e->goid = go_id(THE_G(regs));
	e->numbers[0] = FIRST(regs);
	e->numbers[1] = CALLER(regs);
	if (FIRST(regs) && !bpf_probe_read_user(&kind, 1, (void *)(FIRST(regs) + KIND_AT))) {
		kind &= KIND;
		e->numbers[2] = kind;
		if (kind == STRING || kind == POINTER || kind == STRUCT)
			bpf_probe_read_user(string, sizeof(string), (void *)data);
		size = at_most(string[1], MESSAGE);
		if (string[0] && string[1] < (1 << 20) && !bpf_probe_read_user(e->text, size, (void *)string[0]))
			e->length = size;
	}
	send(e);
	return 0;
}

/* b: where the go statement is; c: the function that it starts. */
static __always_inline int started(struct pt_regs *regs)
{
	struct total_key key = {GO_BEGUN, 0, THIRD(regs), go_word(FIRST(regs))};

	add(&key, 0, 0, false);
	return 0;
}

static __always_inline int collected(struct pt_regs *regs, __u32 kind)
{
	struct event *e = begin(kind, 0);

	if (!e)
		return 0;
	e->goid = go_id(THE_G(regs));
	send(e);
	return 0;
}

SEC("uprobe")
int go_function(struct pt_regs *regs)
{
	__u64 cookie = bpf_get_attach_cookie(regs);

	if ((cookie & ON_RETRY) && STACK_TOO_SMALL(regs))
		return 0;
	count(HITS);
	switch (cookie & 0xff) {
	case PANICKED:
		return panicked(regs);
	case GO_BEGUN:
		return started(regs);
	default:
		return collected(regs, cookie & 0xff);
	}
}

char LICENSE[] SEC("license") = "GPL";
