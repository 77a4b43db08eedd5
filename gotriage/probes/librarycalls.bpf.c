/* Counts calls of functions: one program at the begin of each, which are told apart by the cookie of their probe.
 * The kernel runs it in the probed process alone.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

#define FUNCTIONS 4096

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FUNCTIONS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

SEC("uprobe")
int called(void *context)
{
	__u32 which = bpf_get_attach_cookie(context);
	__u64 *count = bpf_map_lookup_elem(&counts, &which);

	if (count)
		*count += 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
