/* Requests, remote calls and queries of one Go program, by probes at its functions; counted and timed here.
 *
 * A call is known by its goroutine: the address of the g, which a goroutine keeps while it runs the function, whatever
 * thread it is on and wherever its stack moves to. Arguments are where Go's ABIInternal has them
 * (src/cmd/compile/abi-internal.md). What a probe means stands in its cookie: action, argument, kind, flags, a byte each.
 * Structures of the standard library that are read: http.Request (Method 0, URL 16, ProtoMajor 40), url.URL (Host 40,
 * Path 56), http.Response (StatusCode 16, ProtoMajor 40), sql.Stmt (query 8): the same from Go 1.19 to 1.27.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include "log_scale.h"

#if defined(__TARGET_ARCH_x86)
#define ARGUMENTS(r) { (r)->ax, (r)->bx, (r)->cx, (r)->di, (r)->si }
#define THE_G(r) ((r)->r14)
#define STACK_TOO_SMALL(r) ((r)->flags & 0x41) /* CF or ZF: JBE goes to morestack, and the function begins again */
#elif defined(__TARGET_ARCH_arm64)
#define ARGUMENTS(r) { (r)->regs[0], (r)->regs[1], (r)->regs[2], (r)->regs[3], (r)->regs[4] }
#define THE_G(r) ((r)->regs[28])
#define STACK_TOO_SMALL(r) 0
#endif

enum action {
	SERVE = 1,	/* a server's request begins: *Request is argument `argument` */
	STATUS = 2,	/* ... has its status: argument 1 */
	SERVED = 3,	/* ... ends */
	HIJACKED = 4,	/* ... is taken over by its handler: a web socket */
	PANIC = 5,
	TRIP = 6,	/* a client's request begins: *Request is argument 1 */
	TRIPPED = 7,	/* ... ends: *Response, error */
	CALL = 8,	/* a call with a text in arguments 3 and 4 */
	PREPARED = 9,	/* ... whose text is in the statement, argument 0 */
	PLAIN = 10,	/* ... without a text */
	RETURNED = 11,	/* it ends: its error is result `argument` */
	RPC = 12,	/* a gRPC server's stream, argument 3, begins */
	RPC_STATUS = 13, /* ... ends with a status, argument 2 */
};
enum kind { SERVER = 0, CLIENT = 1, QUERY = 2, HANDSHAKE = 3, RPC_SERVER = 4, RPC_CLIENT = 5, KINDS = 6 };
enum {
	ON_RETRY = 1,	/* flag: passed too when the stack was too small */
	STEPPED = 2,	/* flag: the processor steps this instruction */
};
enum meter { HITS = 0, STEPPED_HITS = 1, LOST = 2, UNTOLD = 3, METERS = 4 };
enum { FAILED = 1, PANICKED = 2 };

#define TEXT 128
#define HOST 48
#define METHOD 8
#define WORDS 36

struct route {
	__u8 kind, op, failed, unused;
	__u32 status;
	char method[METHOD];
	char host[HOST];
	char text[TEXT];
};

/* Where a text that is looked through stands. It lies in memory, whose values the verifier takes as they come: of a
 * variable it would follow every one through all of the text. */
struct scan {
	__u32 part, length, all, any, numbers, quoted, in_word, separator;
};

/* `sample` is a path as it came; `text` of a route has its values masked. */
struct running {
	struct route route;
	__u64 began, request, goid, panicked;
	char sample[TEXT];
	struct scan scan;
};

struct caller {
	__u64 g, kind;
};

/* Set from outside: whether anything is counted, which look at the totals is next, and from how many ns on a call is
 * told of by itself. What is found here: where a gRPC stream has its method. */
struct state {
	__u32 open, look;
	__u64 slow[KINDS];
	__u64 method_at;
};

/* A probe that was passed: the goroutine, the first registers of arguments or results, and what the cookie says. */
struct passed {
	__u64 g, registers[5];
	__u32 action, argument, kind;
	struct state *state;
};

/* `most`: the longest of those since `look` became what it is. */
struct total {
	__u64 count, sum, most, look;
	__u32 slots[SLOTS];
	char sample[TEXT];
};

struct finished {
	struct route route;
	__u64 began, took, goid;
	char sample[TEXT];
};

const volatile __u64 goid_at = 0;
const struct running nothing = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct state);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, METERS);
	__type(key, __u32);
	__type(value, __u64);
} meter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct caller);
	__type(value, struct running);
} calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct route);
	__type(value, struct total);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 128 * 1024);
} slowest SEC(".maps");

static const struct total no_total = {};

static __always_inline void count(__u32 which)
{
	__u64 *value = bpf_map_lookup_elem(&meter, &which);

	if (value)
		*value += 1;
}

static __always_inline __u64 word(__u64 at)
{
	__u64 value = 0;

	bpf_probe_read_user(&value, sizeof(value), (void *)at);
	return value;
}

/* A string of Go: address and length at `at`. */
static __always_inline void copy(char *to, __u32 room, __u64 from, __u64 length)
{
	if (length > room)
		length = room;
	bpf_probe_read_user(to, length, (void *)from);
}

/* What a character may be, one bit each; a table, as each comparison would be one more way for the verifier to go. */
enum { DIGIT = 1, LETTER = 2, HEX = 4 };
const __u8 classes[256] = {
	['0' ... '9'] = DIGIT | HEX,
	['a' ... 'f'] = LETTER | HEX,
	['g' ... 'z'] = LETTER,
	['A' ... 'F'] = LETTER | HEX,
	['G' ... 'Z'] = LETTER,
	['_'] = LETTER,
	['$'] = LETTER,
	['-'] = HEX,
};

/* Functions that are not static are verified by themselves, once, whatever they are called with. */

/* Which parts of a path are long hexadecimal numbers, UUIDs, or very long with a digit: one bit each. User space makes
 * routes by the same rules of a sample (records/routes.py). */
__noinline int find_numbers(struct running *call)
{
	volatile struct scan *scan;

	if (!call)
		return 0;
	scan = &call->scan;
	scan->all = HEX;
	for (int i = 0; i < TEXT; i++) {
		__u8 c = call->route.text[i];

		if (c && c != '/') {
			scan->length += 1;
			scan->all &= classes[c];
			scan->any |= classes[c];
			continue;
		}
		if ((scan->any & DIGIT) && scan->length >= (scan->all ? 8 : 20))
			scan->numbers |= 1u << (scan->part & 31);
		if (!c)
			break;
		scan->part += 1;
		scan->length = 0;
		scan->all = HEX;
		scan->any = 0;
	}
	scan->part = 0;
	return 0;
}

/* Values would make a route of each call: digits that are no part of a word, long numbers, and what is in quotes of a
 * query (whose `separator` is the quote, that of a path the slash), become "?". */
__noinline int mask(struct running *call)
{
	volatile struct scan *scan;

	if (!call)
		return 0;
	scan = &call->scan;
	for (int i = 0; i < TEXT; i++) {
		__u8 c = call->route.text[i], class = classes[c];

		if (!c)
			break;
		if (c == scan->separator) {
			scan->quoted ^= c == '\'';
			scan->part += 1;
			scan->in_word = 0;
		} else if (scan->quoted | ((class & DIGIT) & ~scan->in_word) |
			   ((scan->numbers >> (scan->part & 31)) & 1)) {
			call->route.text[i] = '?';
		} else {
			scan->in_word = (class >> 1 & 1) | (scan->in_word & class & DIGIT);
		}
	}
	return 0;
}

static __always_inline struct running *begin(struct passed *at, __u64 request)
{
	struct caller who = {at->g, at->kind};
	struct running *call;

	if (bpf_map_update_elem(&calls, &who, &nothing, BPF_ANY)) {
		count(LOST);
		return NULL;
	}
	call = bpf_map_lookup_elem(&calls, &who);
	if (!call)
		return NULL;
	call->route.kind = at->kind;
	call->route.op = at->argument;
	call->request = request;
	call->goid = word(who.g + goid_at);
	call->began = bpf_ktime_get_ns();
	return call;
}

static __always_inline struct total *total_of(struct running *call)
{
	struct total *total = bpf_map_lookup_elem(&totals, &call->route);

	if (total || bpf_map_update_elem(&totals, &call->route, &no_total, BPF_NOEXIST) == -7) /* E2BIG: no room */
		return total;
	total = bpf_map_lookup_elem(&totals, &call->route);
	if (total)
		__builtin_memcpy(total->sample, call->sample, TEXT);
	return total;
}

static __always_inline void add(struct running *call, struct state *state, __u64 took)
{
	struct total *total = total_of(call);
	__u32 slot = slot_of(took);

	if (!total) { /* then it counts without its route */
		__builtin_memset(call->route.method, 0, METHOD);
		__builtin_memset(call->route.host, 0, HOST);
		__builtin_memset(call->route.text, 0, TEXT);
		__builtin_memset(call->sample, 0, TEXT);
		total = total_of(call);
	}
	if (!total) {
		count(LOST);
		return;
	}
	__sync_fetch_and_add(&total->count, 1);
	__sync_fetch_and_add(&total->sum, took);
	if (total->look != state->look) {
		total->look = state->look;
		total->most = 0;
	}
	if (took > total->most)
		total->most = took;
	if (slot < SLOTS)
		__sync_fetch_and_add(&total->slots[slot], 1);
}

static __always_inline void tell(struct running *call, __u64 took)
{
	struct finished *one = bpf_ringbuf_reserve(&slowest, sizeof(*one), 0);

	if (!one) {
		count(UNTOLD);
		return;
	}
	one->route = call->route;
	one->began = call->began;
	one->took = took;
	one->goid = call->goid;
	__builtin_memcpy(one->sample, call->sample, TEXT);
	bpf_ringbuf_submit(one, BPF_RB_NO_WAKEUP);
}

static __always_inline void end(struct running *call, struct caller *who, struct state *state, __u64 at)
{
	__u64 took = at - call->began;

	if (who->kind < KINDS && took >= state->slow[who->kind])
		tell(call, took);
	add(call, state, took);
	bpf_map_delete_elem(&calls, who);
}

static __always_inline void read_request(struct running *call, __u64 request, bool client)
{
	__u64 method[2] = {}, path[2] = {}, host[2] = {}, url = word(request + 16);

	bpf_probe_read_user(method, sizeof(method), (void *)request);
	bpf_probe_read_user(path, sizeof(path), (void *)(url + 56));
	copy(call->route.method, METHOD, method[0], method[1]);
	copy(call->sample, TEXT, path[0], path[1]);
	__builtin_memcpy(call->route.text, call->sample, TEXT);
	call->scan.separator = '/';
	find_numbers(call);
	mask(call);
	if (client) {
		bpf_probe_read_user(host, sizeof(host), (void *)(url + 40));
		copy(call->route.host, HOST, host[0], host[1]);
	}
}

/* The method of a stream is the first string in it that begins with "/": 1 + the number of its word, 0 for none. */
__noinline int method_in(__u64 stream)
{
	for (int i = 0; i < WORDS; i++) {
		__u64 string[2] = {};
		char first = 0;

		if (bpf_probe_read_user(string, sizeof(string), (void *)(stream + 8 * i)))
			return 0;
		if (string[1] < 2 || string[1] > 512)
			continue;
		bpf_probe_read_user(&first, 1, (void *)string[0]);
		if (first == '/')
			return i + 1;
	}
	return 0;
}

/* A server stream may lead to the stream by its first word. Where the method is, is the same for all of a program:
 * 1 + 2 * the number of its word + whether it is led to. */
static __always_inline void read_method(struct running *call, struct state *state, __u64 stream)
{
	__u64 string[2] = {}, at = state->method_at;

	if (!at) {
		int number = method_in(stream);

		if (number)
			at = 1 + 2 * (number - 1);
		else if ((number = method_in(word(stream))))
			at = 1 + 2 * (number - 1) + 1;
		else
			return;
		state->method_at = at;
	}
	if ((at - 1) & 1)
		stream = word(stream);
	bpf_probe_read_user(string, sizeof(string), (void *)(stream + 8 * ((at - 1) >> 1)));
	copy(call->route.text, TEXT, string[0], string[1]);
}

static __always_inline bool is_text(__u64 address, __u64 length)
{
	return address > 4096 && length && length < (1 << 20);
}

/* google.rpc.Status as Go has it lies in one of three ways, by the age of the generator: Code, Message; or state, size,
 * unknown fields, Code, Message; or state, Code, Message. State is a pointer, or nil; codes are small. */
static __always_inline __u32 code_of(__u64 status)
{
	__u64 inner = status ? word(status) : 0, words[8] = {};

	if (!inner)
		return 0;
	bpf_probe_read_user(words, sizeof(words), (void *)inner);
	if (words[0] && words[0] < 1000)
		return words[0];
	if (is_text(words[2], words[3]) || !(__u32)words[5])
		return words[1];
	return words[5];
}

static __always_inline int serve(struct passed *at, __u64 request)
{
	struct caller who = {at->g, SERVER};
	struct running *call = bpf_map_lookup_elem(&calls, &who);

	if (call) {
		if (call->request == request && !call->panicked)
			return 0; /* a handler of x/net/http2 that leads to net/http's */
		if (call->panicked) {
			call->route.failed = PANICKED;
			add(call, at->state, call->panicked - call->began);
		}
	}
	call = begin(at, request);
	if (call) {
		call->route.op = word(request + 40);
		read_request(call, request, false);
	}
	return 0;
}

static __always_inline int panicked(struct passed *at)
{
	struct caller who = {at->g, 0};

	for (int kind = 0; kind < KINDS; kind++) {
		struct running *call;

		who.kind = kind;
		call = bpf_map_lookup_elem(&calls, &who);
		if (!call)
			continue;
		if (kind == SERVER || kind == RPC_SERVER)
			call->panicked = bpf_ktime_get_ns(); /* until it is recovered from, and ends in order */
		else
			bpf_map_delete_elem(&calls, &who);
	}
	return 0;
}

static __always_inline int begins(struct passed *at)
{
	struct running *call;

	if (at->action == SERVE)
		return serve(at, at->argument == 2 ? at->registers[2] : at->registers[3]);
	call = begin(at, 0);
	if (!call)
		return 0;
	if (at->action == TRIP) {
		read_request(call, at->registers[1], true);
	} else if (at->action == CALL) {
		call->scan.separator = '\'';
		copy(call->route.text, TEXT, at->registers[3], at->registers[4]);
		if (at->kind == QUERY)
			mask(call);
	} else if (at->action == PREPARED) {
		call->scan.separator = '\'';
		copy(call->route.text, TEXT, word(at->registers[0] + 8), word(at->registers[0] + 16));
		mask(call);
	} else if (at->action == RPC) {
		read_method(call, at->state, at->registers[3]);
	}
	return 0;
}

static __always_inline int ends(struct passed *at)
{
	struct caller who = {at->g, at->kind};
	struct running *call = bpf_map_lookup_elem(&calls, &who);
	__u64 *results = at->registers, now;

	if (!call)
		return 0;
	if (at->action == STATUS) {
		if (call->route.status < 200) /* before it come informational ones, after it superfluous ones */
			call->route.status = results[1];
		return 0;
	}
	now = bpf_ktime_get_ns();
	if (at->action == SERVED) {
		if (call->route.status < 200)
			call->route.status = 200;
	} else if (at->action == HIJACKED) {
		call->route.status = 101;
	} else if (at->action == TRIPPED) {
		if (results[1] || !results[0]) {
			call->route.failed = FAILED;
		} else {
			call->route.status = word(results[0] + 16);
			call->route.op = word(results[0] + 40);
		}
	} else if (at->action == RETURNED) {
		if (at->argument == 0 ? results[0] : at->argument == 1 ? results[1] : results[2])
			call->route.failed = FAILED;
	} else if (at->action == RPC_STATUS) {
		call->route.status = code_of(results[2]);
	}
	end(call, &who, at->state, now);
	return 0;
}

static __always_inline int passed(struct pt_regs *regs, __u64 cookie)
{
	__u32 zero = 0;
	struct passed at = {
		.g = THE_G(regs),
		.registers = ARGUMENTS(regs),
		.action = cookie & 0xff,
		.argument = cookie >> 8 & 0xff,
		.kind = cookie >> 16 & 0xff,
		.state = bpf_map_lookup_elem(&states, &zero),
	};

	asm volatile("" : : "r"(&at) : "memory"); /* registers are read here, not where they are used */
	count(cookie >> 24 & STEPPED ? STEPPED_HITS : HITS);
	if (!at.state || !at.state->open || ((cookie >> 24 & ON_RETRY) && STACK_TOO_SMALL(regs)))
		return 0;
	switch (at.action) {
	case PANIC:
		return panicked(&at);
	case SERVE:
	case TRIP:
	case CALL:
	case PREPARED:
	case PLAIN:
	case RPC:
		return begins(&at);
	default:
		return ends(&at);
	}
}

SEC("uprobe")
int go_call(struct pt_regs *regs)
{
	return passed(regs, bpf_get_attach_cookie(regs));
}

char LICENSE[] SEC("license") = "GPL";
