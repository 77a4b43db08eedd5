/* What http.bpf.c keeps, and shares with user space: connections, totals by route, counters. Included by it alone;
 * gotriage/probes/http.py has the same layouts.
 */
#ifndef GOTRIAGE_HTTP_MAPS_H
#define GOTRIAGE_HTTP_MAPS_H

enum kind { UNKNOWN = 0, HTTP1 = 1, TLS = 2, HTTP2 = 3, UPGRADED = 4, URING = 5 };
enum role { EITHER = 0, SERVER = 1, CLIENT = 2 };
enum phase { IDLE = 0, HEAD = 1, ASKED = 2 };

#define ROOM 256	/* of a head: at most SHORT bytes that came by themselves, then one read of TAKE */
#define TAKE 192
#define SHORT 32
#define LINE 32
#define STATUS_LINE 12	/* "HTTP/1.1 200" */
#define UNANSWERED 0

/* A part of a path between slashes, as far as it was read. */
struct segment {
	__u64 hash;
	__u32 digits, letters, others, length;	/* `letters`: a to f */
	__u32 in_word, in_number;
};

/* A connection. */
struct conn {
	__u8 kind, role, phase, said;
	__u16 have, family;
	__u32 era, look, tgid, tid, fd, calls, requests, status;
	__u16 local, remote;
	__u16 place, pad;
	__u64 began, took, goid, hash;
	__u8 address[16];
	struct segment segment;
	char line[LINE];
	char head[ROOM];
};

struct route {
	__u64 hash;
	__u32 status, role;
};

struct total {
	__u64 most;
	__u32 look;
	__u16 have, family;
	__u16 remote, pad;
	__u32 slots[SLOTS];
	__u8 address[16];
	char head[TAKE];
};

/* Set from outside: a number that changes with each start of attachment and with each look; from how many ns on an
 * answer is told of by itself. `told`: how many were, in this look. */
struct control {
	__u32 era, look;
	__u64 slow, told;
};
#define MOST_TOLD 200

enum { HITS, LOST, SLOW_LOST, UNMATCHED, COUNTERS };
enum { CLASSES = 6 };

__u32 only = 0;	/* the one process of the target, by the kernel's number; 0: those in `targets` */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u8);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} controls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} meter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct conn);
} conns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct route);
	__type(value, struct total);
} totals SEC(".maps");

/* What found no room there, by role and by the first digit of the status. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * CLASSES);
	__type(key, __u32);
	__type(value, struct total);
} rest SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} slowest SEC(".maps");

const struct total no_total = {};
const struct conn no_conn = {};

#endif
