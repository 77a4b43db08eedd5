/* What the target waits for without asking: a CPU, its CPU quota, a disk, memory that is not there yet. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "goroutine.h"
#include "events.h"

/* Waits that are told one by one, besides being added up. */
const volatile __u64 slow_ns = 10000000;

struct waiting {
	__u64 since;
	__u32 throttled, unused;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct waiting);
} queue SEC(".maps");

struct io {
	__u64 since, own;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct io);
} requests SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct block_device___p {
	__u32 bd_dev;
};
struct request___p {
	__u32 cmd_flags;
	unsigned int __data_len;
	struct block_device___p *part;
};
#pragma clang attribute pop

static __always_inline void waits(__u32 tid, __u32 throttled)
{
	struct waiting new = {bpf_ktime_get_ns(), throttled};

	if (bpf_map_update_elem(&queue, &tid, &new, BPF_ANY))
		count(LOST);
}

static __always_inline int woken(struct task_struct *task)
{
	if (is_target(task->tgid))
		waits(task->pid, 0);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(wakeup, struct task_struct *task)
{
	return woken(task);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(wakeup_new, struct task_struct *task)
{
	return woken(task);
}

static __always_inline bool runnable(struct task_struct___p *task)
{
	struct task_struct___before_5_14 *older = (void *)task;

	if (bpf_core_field_exists(task->__state))
		return !BPF_CORE_READ(task, __state);
	return !BPF_CORE_READ(older, state);
}

/* Whether the group's CPU quota is used up: told of the thread since Linux 6.18, before of its queue. */
static __always_inline bool is_throttled(struct task_struct___p *task)
{
	struct cfs_rq___p *queue = NULL;

	if (bpf_core_field_exists(task->throttled))
		return BPF_CORE_READ(task, throttled);
	if (!bpf_core_field_exists(queue->throttle_count))
		return false;
	queue = BPF_CORE_READ(task, se.cfs_rq);
	return BPF_CORE_READ(queue, throttle_count) > 0;
}

static __always_inline void told(__u32 kind, struct task_struct *task, struct task_struct *before, __u64 took)
{
	struct event *e = begin(kind, 16);

	if (!e)
		return;
	e->tgid = name_of(task->tgid);
	e->tid = task->pid;
	e->took = took;
	e->other = before->tgid;
	bpf_probe_read_kernel(e->comm, sizeof(e->comm), &task->comm);
	bpf_probe_read_kernel(e->text, 16, &before->comm);
	e->length = 16;
	send(e);
}

static __always_inline void runs(struct task_struct *task, struct task_struct *before)
{
	struct total_key key = {QUEUED};
	struct waiting *since;
	__u32 tid = task->pid;
	__u64 took;

	since = bpf_map_lookup_elem(&queue, &tid);
	if (!since)
		return;
	took = bpf_ktime_get_ns() - since->since;
	count(HITS);
	if (since->throttled)
		key.kind = THROTTLED;
	add(&key, took, 0, false);
	if (since->throttled || took >= slow_ns)
		told(key.kind, task, before, took);
	bpf_map_delete_elem(&queue, &tid);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempted, struct task_struct *before, struct task_struct *next)
{
	struct task_struct___p *task = (void *)before;

	if (is_target(before->tgid)) {
		bool throttled = is_throttled(task);

		if (throttled || runnable(task))
			waits(before->pid, throttled);
	}
	if (is_target(next->tgid))
		runs(next, before);
	return 0;
}

/* a: device; b: operation (include/linux/blk_types.h, enum req_op), 256 more for what the target waits for itself. */
SEC("tp_btf/block_rq_issue")
int BPF_PROG(issued, struct request___p *request)
{
	struct io new = {bpf_ktime_get_ns(), is_target(my_tgid())};
	__u64 key = (__u64)request;

	bpf_map_update_elem(&requests, &key, &new, BPF_ANY);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(completed, struct request___p *request, int error, unsigned int bytes)
{
	__u64 key = (__u64)request, took;
	struct io *io = bpf_map_lookup_elem(&requests, &key);
	struct total_key total = {BLOCK_IO};

	if (!io)
		return 0;
	count(HITS);
	took = bpf_ktime_get_ns() - io->since;
	total.a = BPF_CORE_READ(request, part, bd_dev);
	total.b = (BPF_CORE_READ(request, cmd_flags) & 0xff) | (io->own ? 256 : 0);
	add(&total, took, bytes, error != 0);
	bpf_map_delete_elem(&requests, &key);
	return 0;
}

/* a: the processor's error code, b: the address in steps of 2 MB. */
SEC("tp_btf/page_fault_user")
int BPF_PROG(faulted, unsigned long address, struct pt_regs *regs, unsigned long code)
{
	struct total_key key = {FAULTED, code & 0x17, address >> 21};

	if (!is_target(my_tgid()))
		return 0;
	count(HITS);
	add(&key, 0, 0, false);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
