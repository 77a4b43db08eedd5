/* The threads of a process, once, when read: their numbers in the kernel's own PID namespace, by which programs at
 * tracepoints know them, in the reader's and in their own, and where their thread-local storage begins.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "pids.h"

/* The process, by its number in the reader's PID namespace. */
const volatile __u32 wanted = 0;

struct row {
	__u32 tid, own_tid, kernel_tid, kernel_tgid;
	__u64 base;
};

SEC("iter/task")
int list(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task, *leader;
	struct row row = {};

	if (!task)
		return 0;
	leader = task->group_leader;
	if (!leader || pid_for_reader(leader) != wanted)
		return 0;
	row.tid = pid_for_reader(task);
	row.own_tid = pid_for_itself(task);
	row.kernel_tid = task->pid;
	row.kernel_tgid = task->tgid;
#if defined(__TARGET_ARCH_x86)
	row.base = task->thread.fsbase;
#endif
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
