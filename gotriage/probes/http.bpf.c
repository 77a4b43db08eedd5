/* Plain HTTP/1 at the sockets of the target: requests read and answered, requests written and answered.
 *
 * Runs after each call that moved bytes between a stream socket and the target's memory, looks at the first bytes only,
 * and only where a head may begin: a request where none waits for its answer, an answer where one does. So bodies are
 * passed over. Calls are counted and timed here, by route: a hash of method and path in which identifiers count as the
 * same. User space makes the same of the sample that is kept (collectors/http.py).
 *
 * Attached to the tracepoints of sock_recvmsg and sock_sendmsg (Linux 6.3), which nobody else's system calls pass, or
 * else to the end of all system calls.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#define GO_PLACES
#include "goroutine.h"
#include "log_scale.h"

#if defined(__TARGET_ARCH_x86)
enum { READ = 0, WRITE = 1, READV = 19, WRITEV = 20, SENDTO = 44, RECVFROM = 45, SENDMSG = 46, RECVMSG = 47 };
#define NUMBER(r) ((r)->orig_ax)
#define DESCRIPTOR(r) ((r)->di)
#define BUFFER(r) ((r)->si)
#define FLAGS(r) ((r)->r10)
#define FOREIGN(r) ((r)->cs == 0x23) /* __USER32_CS: numbers and structures of 32 bits */
#elif defined(__TARGET_ARCH_arm64)
enum { READ = 63, WRITE = 64, READV = 65, WRITEV = 66, SENDTO = 206, RECVFROM = 207, SENDMSG = 211, RECVMSG = 212 };
struct pt_regs___entry {
	__u64 orig_x0;
} __attribute__((preserve_access_index));
#define NUMBER(r) ((r)->regs[8])
#define DESCRIPTOR(r) (((struct pt_regs___entry *)(r))->orig_x0)
#define BUFFER(r) ((r)->regs[1])
#define FLAGS(r) ((r)->regs[3])
#define FOREIGN(r) (((r)->pstate & 0x10) != 0) /* PSR_MODE32_BIT */
#endif
enum { IO_URING_ENTER = 426 };
enum { AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, SOCK_STREAM = 1, EAGAIN = 11, EINTR = 4, ERESTARTSYS = 512 };
enum { MSG_PEEK = 2, MSG_ERRQUEUE = 0x2000, S_IFMT = 0170000, S_IFSOCK = 0140000 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	struct in6_addr skc_v6_daddr;
};

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	__u16 sk_type;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct___files {
	struct files_struct *files;
};

#pragma clang attribute pop

#include "http_maps.h"

static __always_inline void count(__u32 which)
{
	__u64 *value = bpf_map_lookup_elem(&meter, &which);

	if (value)
		*value += 1;
}

/* What is known of the call that is looked at. */
struct moved {
	struct control *control;
	struct pt_regs *regs;
	__u64 inode, buffer;
	__u32 tgid, tid;
	int bytes;
	bool sent;
};

static __always_inline bool ours(struct moved *at)
{
	__u64 both = bpf_get_current_pid_tgid();

	at->tgid = both >> 32;
	at->tid = both;
	if (only)
		return at->tgid == only;
	return bpf_map_lookup_elem(&targets, &at->tgid) != NULL;
}

/* Where the bytes lie in the target; 0 when they do not lie in one piece, or there are none. */
static __always_inline __u64 buffer_of(struct pt_regs *regs, __u64 number, bool sent)
{
	__u64 buffer = BUFFER(regs), vector[4] = {};

	if (number == (sent ? WRITE : READ) || number == (sent ? SENDTO : RECVFROM))
		return buffer;
	if (number == (sent ? SENDMSG : RECVMSG)) {
		if (bpf_probe_read_user(&buffer, sizeof(buffer), (void *)(buffer + 16))) /* user_msghdr.msg_iov */
			return 0;
	} else if (number != (sent ? WRITEV : READV)) {
		return 0;
	}
	if (bpf_probe_read_user(vector, sizeof(vector), (void *)buffer))
		bpf_probe_read_user(vector, sizeof(vector) / 2, (void *)buffer);
	return vector[1] ? vector[0] : vector[2];
}

#include "http_head.h"

/* -- connections */

static __always_inline struct conn *new_conn(struct moved *at, struct sock *sock)
{
	struct sock_common *common = &sock->__sk_common;
	__u16 family = BPF_CORE_READ(sock, __sk_common.skc_family);
	struct conn *conn;

	if (BPF_CORE_READ(sock, sk_type) != SOCK_STREAM)
		return NULL;
	if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
		return NULL;
	if (bpf_map_update_elem(&conns, &at->inode, &no_conn, BPF_ANY))
		return NULL;
	conn = bpf_map_lookup_elem(&conns, &at->inode);
	if (!conn)
		return NULL;
	conn->era = at->control->era;
	conn->family = family;
	conn->tgid = at->tgid;
	conn->fd = DESCRIPTOR(at->regs);
	if (family == AF_UNIX)
		return conn;
	conn->local = BPF_CORE_READ(common, skc_num);
	conn->remote = __builtin_bswap16(BPF_CORE_READ(common, skc_dport));
	if (family == AF_INET)
		BPF_CORE_READ_INTO((__u32 *)conn->address, common, skc_daddr);
	else
		BPF_CORE_READ_INTO(&conn->address, common, skc_v6_daddr);
	return conn;
}

static __always_inline struct total *total_of(struct conn *conn, __u32 status)
{
	struct route route = {conn->hash, status, conn->role};
	struct total *total = bpf_map_lookup_elem(&totals, &route);
	__u32 class = status / 100;

	if (total)
		return total;
	if (!bpf_map_update_elem(&totals, &route, &no_total, BPF_NOEXIST)) {
		total = bpf_map_lookup_elem(&totals, &route);
		if (!total)
			return NULL;
		total->family = conn->family;
		total->remote = conn->remote;
		__builtin_memcpy(total->address, conn->address, sizeof(total->address));
		__builtin_memcpy(total->head, conn->head, sizeof(total->head));
		total->have = conn->have;
		return total;
	}
	total = bpf_map_lookup_elem(&totals, &route); /* made by another CPU meanwhile */
	if (total)
		return total;
	class = (class < CLASSES ? class : 0) + (conn->role == CLIENT ? CLASSES : 0);
	return bpf_map_lookup_elem(&rest, &class);
}

/* A request has its answer. */
static __always_inline void answered(struct conn *conn, struct moved *at, __u32 status)
{
	__u64 took = bpf_ktime_get_ns() - conn->began;
	__u32 slot = slot_of(took);
	struct total *total = total_of(conn, status);

	conn->phase = IDLE;
	conn->requests += 1;
	if (!total) {
		count(LOST);
		return;
	}
	if (slot < SLOTS)
		__sync_fetch_and_add(&total->slots[slot], 1);
	if (total->look != at->control->look) { /* the longest is that since the last look */
		total->look = at->control->look;
		total->most = 0;
	}
	if (took > total->most)
		total->most = took;
	else if (took < at->control->slow || at->control->told >= MOST_TOLD)
		return;
	__sync_fetch_and_add(&at->control->told, 1);
	conn->took = took;
	conn->status = status;
	if (bpf_ringbuf_output(&slowest, conn, sizeof(*conn), BPF_RB_NO_WAKEUP))
		count(SLOW_LOST);
}

/* What a connection speaks that is not HTTP/1, from the first bytes of a call; UNKNOWN when that does not show. */
static __always_inline __u8 other_kind(struct conn *conn, struct moved *at)
{
	__u8 *b = (__u8 *)conn->head;
	__u32 length = b[0] << 16 | b[1] << 8 | b[2], stream = (b[5] & 0x7f) << 24 | b[6] << 16 | b[7] << 8 | b[8];

	if (b[0] >= 0x14 && b[0] <= 0x17 && b[1] == 3 && b[2] <= 4) {
		if (b[0] == 0x16 && (b[5] == 1 || b[5] == 2)) /* the hello of a client, of a server */
			conn->role = at->sent == (b[5] == 1) ? CLIENT : SERVER;
		return TLS;
	}
	if (b[0] == 'P' && b[1] == 'R' && b[2] == 'I' && b[3] == ' ' && b[4] == '*' && b[6] == 'H') {
		conn->role = at->sent ? CLIENT : SERVER;
		return HTTP2;
	}
	if (at->bytes < 9 || length > 16384 || b[5] & 0x80)
		return UNKNOWN;
	if ((b[3] <= 1 && length && stream) || (b[3] == 4 && !stream && length % 6 == 0 && b[4] <= 1) ||
	    (b[3] == 6 && !stream && length == 8) || (b[3] == 8 && length == 4) || (b[3] == 3 && length == 4 && stream))
		return HTTP2; /* a frame: DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE, RST_STREAM (RFC 9113) */
	return UNKNOWN;
}

/* Bytes where a request may begin. */
static __always_inline void maybe_request(struct conn *conn, struct moved *at)
{
	__u32 have = conn->phase == HEAD ? conn->have : 0, size = at->bytes;
	int found;

	have &= SHORT - 1;
	if (size > TAKE)
		size = TAKE;
	asm volatile("" : "+r"(have), "+r"(size));
	if (size > TAKE || have >= SHORT) /* once more, as the verifier has to see it */
		return;
	if (bpf_probe_read_user(conn->head + have, size, (void *)at->buffer))
		return;
	if (!have) {
		conn->began = bpf_ktime_get_ns();
		if (conn->kind == UNKNOWN) {
			conn->kind = other_kind(conn, at);
			if (conn->kind)
				return;
		}
	}
	conn->have = have + size;
	found = scan_head(conn, at->sent);
	if (found == NO_HEAD) {
		conn->phase = IDLE;
		return;
	}
	conn->phase = HEAD;
	if (found == PART_OF_HEAD)
		return;
	conn->phase = ASKED;
	conn->kind = HTTP1;
	conn->role = at->sent ? CLIENT : SERVER;
	conn->said = 0;
	conn->tgid = at->tgid;
	conn->tid = at->tid;
	conn->goid = go_id(go_g(bpf_get_current_task_btf(), at->regs));
	if (at->sent) { /* a client's routes are by whom it asks, too */
		conn->hash = (conn->hash ^ conn->remote) * PRIME;
		conn->hash = (conn->hash ^ *(__u64 *)conn->address) * PRIME;
		conn->hash = ((conn->hash ^ *(__u64 *)(conn->address + 8)) * PRIME) | 1;
	}
}

static __always_inline int digits(const char *at)
{
	__u32 a = at[0] - '0', b = at[1] - '0', c = at[2] - '0';

	return a > 9 || b > 9 || c > 9 ? -1 : 100 * a + 10 * b + c;
}

/* Bytes where an answer may begin: its status, 0 when it does not begin here, -1 when there is too little of it yet. */
static __always_inline int status_of(struct conn *conn, struct moved *at)
{
	__u32 said = conn->said & 15, size = at->bytes > 15 ? 15 : at->bytes;
	int status;

	if (bpf_probe_read_user(conn->line + said, size & 15, (void *)at->buffer))
		return 0;
	said += size;
	if (conn->line[0] != 'H' || (said > 4 && conn->line[4] != '/')) {
		conn->said = 0;
		return 0;
	}
	conn->said = said;
	if (said < STATUS_LINE)
		return -1;
	conn->said = 0;
	if ((*(__u64 *)conn->line & 0x00ffffffffffffffULL) != 0x002e312f50545448ULL || conn->line[8] != ' ')
		return 0; /* "HTTP/1." */
	status = digits(conn->line + 9);
	return status > 0 ? status : 0;
}

static __always_inline void maybe_answer(struct conn *conn, struct moved *at)
{
	int status = status_of(conn, at);

	if (status <= 0)
		return;
	if (status < 200 && status != 101) /* 100 Continue and the like: the answer is still to come */
		return;
	if (status == 101 || (status < 300 && conn->head[0] == 'C' && conn->head[1] == 'O' && conn->head[2] == 'N'))
		conn->kind = UPGRADED; /* a web socket, a tunnel */
	answered(conn, at, status);
}

/* Nothing is asked that this could answer. Where it begins like an answer, the request came before the start, or several
 * came at once, of which the first was seen; or it is a body that looks like one.
 */
static __always_inline void unasked(struct conn *conn, struct moved *at)
{
	if (at->bytes < STATUS_LINE)
		return;
	conn->said = 0;
	if (status_of(conn, at) <= 0)
		return;
	count(UNMATCHED);
	if (conn->kind == UNKNOWN) {
		conn->kind = HTTP1;
		conn->role = at->sent ? SERVER : CLIENT;
	}
}

static __always_inline void fresh(struct conn *conn, struct moved *at)
{
	conn->era = at->control->era;
	conn->phase = IDLE;
	conn->have = 0;
	conn->said = 0;
	conn->requests = 0;
}

static __always_inline int look(struct moved *at, struct sock *sock)
{
	struct conn *conn = bpf_map_lookup_elem(&conns, &at->inode);
	__u64 number = NUMBER(at->regs);

	if (!conn) {
		conn = new_conn(at, sock);
		if (!conn)
			return 0;
	}
	if (conn->era != at->control->era)
		fresh(conn, at);
	conn->look = at->control->look;
	conn->calls += 1;
	if (conn->kind > HTTP1)
		return 0;
	if (number == IO_URING_ENTER) {
		if (conn->kind == UNKNOWN)
			conn->kind = URING;
		return 0;
	}
	if (conn->phase == ASKED) {
		if (at->sent != (conn->role == SERVER))
			return 0; /* a body */
		if (at->bytes <= 0) {
			answered(conn, at, UNANSWERED);
			return 0;
		}
		at->buffer = buffer_of(at->regs, number, at->sent);
		if (at->buffer)
			maybe_answer(conn, at);
		return 0;
	}
	if (at->bytes <= 0)
		return 0;
	if (conn->role == CLIENT && !at->sent)
		return 0; /* more of an answer */
	at->buffer = buffer_of(at->regs, number, at->sent);
	if (!at->buffer)
		return 0;
	if (conn->kind == UNKNOWN || at->sent == (conn->role == SERVER))
		unasked(conn, at);
	if (conn->role == EITHER || at->sent == (conn->role == CLIENT))
		maybe_request(conn, at);
	return 0;
}

static __always_inline bool failed_for_now(int bytes)
{
	return bytes == -EAGAIN || bytes == -EINTR || bytes == -ERESTARTSYS;
}

static __always_inline int by_socket(struct sock *sock, int bytes, bool sent)
{
	struct moved at = {.bytes = bytes, .sent = sent};
	struct socket *socket;
	struct file *file;
	__u32 zero = 0;

	if (failed_for_now(bytes) || !ours(&at))
		return 0;
	count(HITS);
	at.control = bpf_map_lookup_elem(&controls, &zero);
	at.regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	socket = sock->sk_socket;
	if (!at.control || !socket || FOREIGN(at.regs))
		return 0;
	file = socket->file;
	if (!file)
		return 0;
	at.inode = file->f_inode->i_ino;
	return look(&at, sock);
}

SEC("tp_btf/sock_recv_length")
int received(__u64 *args)
{
	int flags = args[2];

	if (flags & (MSG_PEEK | MSG_ERRQUEUE))
		return 0;
	return by_socket((struct sock *)args[0], args[1], false);
}

SEC("tp_btf/sock_send_length")
int sent(__u64 *args)
{
	return by_socket((struct sock *)args[0], args[1], true);
}

/* -- Linux before 6.3 */

static __always_inline struct file *file_of(__u64 fd)
{
	struct task_struct___files *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **place = BPF_CORE_READ(table, fd), *file = NULL;

	if (fd < BPF_CORE_READ(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), place + fd);
	return file;
}

SEC("tp_btf/sys_exit")
int any_call(__u64 *args)
{
	struct moved at = {.regs = (struct pt_regs *)args[0], .bytes = args[1]};
	__u64 number = NUMBER(at.regs);
	struct socket *socket;
	struct file *file;
	__u32 zero = 0;

	if (number == WRITE || number == WRITEV || number == SENDTO || number == SENDMSG)
		at.sent = true;
	else if (number != READ && number != READV && number != RECVFROM && number != RECVMSG)
		return 0;
	if (failed_for_now(at.bytes) || !ours(&at))
		return 0;
	count(HITS);
	if (number == RECVFROM && FLAGS(at.regs) & (MSG_PEEK | MSG_ERRQUEUE))
		return 0;
	at.control = bpf_map_lookup_elem(&controls, &zero);
	file = file_of(DESCRIPTOR(at.regs));
	if (!at.control || !file || FOREIGN(at.regs))
		return 0;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	at.inode = BPF_CORE_READ(file, f_inode, i_ino);
	socket = BPF_CORE_READ(file, private_data);
	return look(&at, BPF_CORE_READ(socket, sk));
}

char LICENSE[] SEC("license") = "GPL";
