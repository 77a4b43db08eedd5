/* The target's processes in the kernel's own numbers, and what they are called in our PID namespace. */
#ifndef GOTRIAGE_TARGETS_H
#define GOTRIAGE_TARGETS_H

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} targets SEC(".maps");

#endif
