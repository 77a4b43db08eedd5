/* The numbers of a task: the kernel's own, those that the process sees which reads an iterator, and the task's own.
 * Include after kernel.h, bpf_helpers.h and bpf_core_read.h.
 */
#ifndef GOTRIAGE_PIDS_H
#define GOTRIAGE_PIDS_H

static __always_inline struct upid pid_at(struct pid *pid, __u32 level)
{
	struct upid found = {};

	bpf_probe_read_kernel(&found, sizeof(found),
			      (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * sizeof(found));
	return found;
}

/* The task's number in the PID namespace of the reader (the current task), 0 when it has none there. */
static __always_inline __u32 pid_for_reader(struct task_struct *task)
{
	struct pid *own = bpf_get_current_task_btf()->thread_pid, *pid = task->thread_pid;
	__u32 level;

	if (!own || !pid)
		return 0;
	level = own->level;
	if (level > 32 || pid->level < level) /* MAX_PID_NS_LEVEL */
		return 0;
	if (pid_at(pid, level).ns != pid_at(own, level).ns)
		return 0;
	return pid_at(pid, level).nr;
}

/* The task's number in its own PID namespace. */
static __always_inline __u32 pid_for_itself(struct task_struct *task)
{
	struct pid *pid = task->thread_pid;

	return pid && pid->level <= 32 ? pid_at(pid, pid->level).nr : 0;
}

#endif
