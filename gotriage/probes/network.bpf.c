/* TCP connections that the target opens, and what goes wrong on those that it has: retransmits and resets.
 *
 * The state of a connection changes in interrupts too, where nobody knows whose it is: hence its socket is remembered
 * while the target connects; of others user space knows the inodes.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "goroutine.h"
#include "events.h"

#define TCP 6
enum { ESTABLISHED = 1, SYN_SENT = 2, CLOSE = 7 };

struct attempt {
	__u64 since, goid;
	__u32 tgid, tid;
	char comm[16];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct attempt);
} attempts SEC(".maps");

/* The target's sockets, by address; by inode. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} sockets SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} inodes SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct inet_connection_sock___p {
	__u8 icsk_retransmits;
};
#pragma clang attribute pop

static __always_inline void ended(struct sock___p *sk, struct attempt *attempt, int state)
{
	struct event *e = begin(CONNECTED, 0);

	if (!e)
		return;
	e->tgid = name_of(attempt->tgid);
	e->tid = attempt->tid;
	e->goid = attempt->goid;
	__builtin_memcpy(e->comm, attempt->comm, sizeof(e->comm));
	e->took = e->at - attempt->since;
	e->result = state == ESTABLISHED ? 1 : -BPF_CORE_READ(sk, sk_err);
	tell_socket(e, sk);
	send(e);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_changed, struct sock___p *sk, int before, int state)
{
	__u64 key = (__u64)sk;
	struct attempt *known, new = {};
	__u32 tgid = my_tgid();

	if (state == SYN_SENT) {
		if (!is_target(tgid) || BPF_CORE_READ(sk, sk_protocol) != TCP)
			return 0;
		count(HITS);
		new.since = bpf_ktime_get_ns();
		new.goid = my_goid();
		new.tgid = tgid;
		new.tid = my_tid();
		bpf_get_current_comm(new.comm, sizeof(new.comm));
		bpf_map_update_elem(&attempts, &key, &new, BPF_ANY);
		bpf_map_update_elem(&sockets, &key, &tgid, BPF_ANY);
		return 0;
	}
	if (before == SYN_SENT && (state == ESTABLISHED || state == CLOSE)) {
		known = bpf_map_lookup_elem(&attempts, &key);
		if (known) {
			count(HITS);
			ended(sk, known, state);
			bpf_map_delete_elem(&attempts, &key);
		}
	}
	if (state == CLOSE)
		bpf_map_delete_elem(&sockets, &key);
	return 0;
}

static __always_inline __u32 owner_of(struct sock___p *sk)
{
	__u64 key = (__u64)sk, inode;
	__u32 *tgid = bpf_map_lookup_elem(&sockets, &key);
	struct socket___p *socket;

	if (tgid)
		return *tgid;
	socket = BPF_CORE_READ(sk, sk_socket);
	if (!socket)
		return 0;
	inode = BPF_CORE_READ((struct socket_alloc___p *)socket, vfs_inode.i_ino);
	tgid = bpf_map_lookup_elem(&inodes, &inode);
	return tgid ? *tgid : 0;
}

static __always_inline int trouble(struct sock___p *sk, __u32 kind)
{
	__u32 tgid = sk ? owner_of(sk) : 0;
	struct event *e;

	if (!tgid)
		return 0;
	count(HITS);
	e = begin(kind, 0);
	if (!e)
		return 0;
	e->tgid = name_of(tgid);
	e->tid = 0;
	e->result = BPF_CORE_READ(sk, sk_err);
	e->numbers[0] = BPF_CORE_READ((struct inet_connection_sock___p *)sk, icsk_retransmits);
	tell_socket(e, sk);
	send(e);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmitted, struct sock___p *sk)
{
	return trouble(sk, RETRANSMITTED);
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(reset_sent, struct sock___p *sk)
{
	return trouble(sk, RESET_SENT);
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(reset_came, struct sock___p *sk)
{
	return trouble(sk, RESET_CAME);
}

char LICENSE[] SEC("license") = "GPL";
