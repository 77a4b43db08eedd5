/* The head of a request: whether bytes are one, and a hash of its route, in which identifiers count as the same. A
 * client's has whom it asks, too. Included by http.bpf.c alone.
 */
#ifndef GOTRIAGE_HTTP_HEAD_H
#define GOTRIAGE_HTTP_HEAD_H

#define PRIME 0x100000001b3ULL
#define HTTP_1 0x2e312f50545448ULL /* "HTTP/1." */

enum { DIGIT = 1, HEX = 2, LETTER = 4, OTHER = 8, UPPER = 16, SLASH = 32, END = 64 };
static const __u8 classes[256] = {
	[0 ... 9] = OTHER,
	['\n'] = END,
	[11 ... 31] = OTHER,
	[' '] = END,
	['!' ... ','] = OTHER,
	['-'] = 0,
	['.'] = OTHER,
	['/'] = SLASH,
	['0' ... '9'] = DIGIT,
	[':' ... '>'] = OTHER,
	['?'] = END,
	['@'] = OTHER,
	['A' ... 'F'] = LETTER | HEX | UPPER,
	['G' ... 'Z'] = LETTER | OTHER | UPPER,
	['[' ... '`'] = OTHER,
	['a' ... 'f'] = LETTER | HEX,
	['g' ... 'z'] = LETTER | OTHER,
	['{' ... 255] = OTHER,
};

static __always_inline void begin_segment(struct segment *s)
{
	__builtin_memset(s, 0, sizeof(*s));
	s->hash = 1;
}

static __always_inline void next_of_segment(struct segment *s, __u8 c, __u32 class)
{
	__u32 digit = class & DIGIT, number = digit & ~s->in_word;
	__u64 with, same = -(__u64)(digit & s->in_number);

	/* a number that is no part of a word counts as one digit, whatever it is */
	with = (s->hash ^ (c ^ ((c ^ '0') & -number))) * PRIME;
	s->hash = (s->hash & same) | (with & ~same);
	s->length += 1;
	s->digits += digit;
	s->letters += (class & HEX) / HEX;
	s->others += (class & OTHER) / OTHER;
	s->in_number = number;
	s->in_word = (class & LETTER) / LETTER | (s->in_word & digit);
}

/* What looks like an identifier counts as one: gotriage/records/routes.py. */
static __always_inline __u64 hash_of_segment(struct segment *s)
{
	if (s->digits && s->letters && !s->others && s->length >= 8)
		return 2;
	if (s->digits && s->length >= 20)
		return 3;
	return s->hash;
}

/* A place in the head, by way of memory: the verifier would follow each of the values that it can have. */
static __always_inline __u32 somewhere(struct conn *conn, __u32 place)
{
	*(volatile __u16 *)&conn->place = place;
	return *(volatile __u16 *)&conn->place;
}

/* Whether that place is past what is there; asked of memory each time, as above. */
static __always_inline bool past(struct conn *conn, __u32 place)
{
	return place >= *(volatile __u16 *)&conn->have;
}

/* A byte of the head; the place is bounded as the verifier can see it, and the compiler cannot take away. */
static __always_inline char byte_at(struct conn *conn, __u32 place)
{
	asm volatile("" : "+r"(place));
	return conn->head[place & (ROOM - 1)];
}

enum { NO_HEAD, PART_OF_HEAD, WHOLE_HEAD };

/* What to say of a head that ends before it is whole: a long one has said enough. */
static __always_inline int cut_off(struct conn *conn, __u64 hash)
{
	if (conn->have < SHORT)
		return PART_OF_HEAD;
	conn->hash = hash | 1;
	return WHOLE_HEAD;
}

/* A client's hash has the next line, too, where that is its Host. */
static __always_inline int scan_host(struct conn *conn, __u32 line, __u64 before)
{
	__u64 hash = before;
	__u32 at;

	if (past(conn, line + 4) || line > ROOM - 8)
		return cut_off(conn, before);
	conn->hash = before | 1;
	if ((byte_at(conn, line) | 32) != 'h' || (byte_at(conn, line + 1) | 32) != 'o' ||
	    (byte_at(conn, line + 2) | 32) != 's' || (byte_at(conn, line + 3) | 32) != 't' ||
	    byte_at(conn, line + 4) != ':')
		return WHOLE_HEAD;
	for (__u32 i = 5; i < TAKE; i++) {
		char c;

		at = line + i;
		if (past(conn, at))
			return cut_off(conn, before);
		c = byte_at(conn, at);
		if (c == '\r' || c == '\n')
			break;
		hash = (hash ^ c) * PRIME;
	}
	conn->hash = hash | 1;
	return WHOLE_HEAD;
}

/* Whether the bytes that a connection has are the head of a request; sets its hash, which is that of its route. */
static __always_inline int scan_head(struct conn *conn, bool client)
{
	__u32 at, i;
	struct segment *s = &conn->segment; /* not on the stack: the verifier would follow each of its values */
	__u64 hash = 1, version;
	char c;

	for (i = 0; i < 16; i++) {
		c = conn->head[i];
		if (!(classes[(__u8)c] & UPPER))
			break;
		hash = (hash ^ c) * PRIME;
	}
	at = somewhere(conn, i);
	if (past(conn, at))
		return at < 16 ? cut_off(conn, hash) : NO_HEAD;
	if (at < 3 || at > 15 || byte_at(conn, at) != ' ')
		return NO_HEAD;
	at += 1;
	begin_segment(s);
#pragma clang loop unroll(disable)
	for (i = 0; i < TAKE; i++) {
		__u32 class;

		asm volatile("" ::: "memory");
		if (past(conn, at + i))
			break;
		c = byte_at(conn, at + i);
		class = classes[(__u8)c];
		if (class & END)
			break;
		if (class & SLASH) {
			hash = (hash ^ hash_of_segment(s)) * PRIME;
			begin_segment(s);
		} else {
			next_of_segment(s, c, class);
		}
	}
	hash = (hash ^ hash_of_segment(s)) * PRIME;
	at = somewhere(conn, at + i);
	if (past(conn, at) || at >= ROOM - 12)
		return cut_off(conn, hash);
	if (byte_at(conn, at) == '?') {
		for (i = 0; i < TAKE; i++) {
			if (past(conn, at + i))
				break;
			c = byte_at(conn, at + i);
			if (c == ' ' || c == '\n')
				break;
		}
		at = somewhere(conn, at + i);
	}
	if (past(conn, at + 9) || at >= ROOM - 12)
		return cut_off(conn, hash);
	asm volatile("" : "+r"(at));
	if (at >= ROOM - 12) /* once more, in the register: Linux 6.1 does not know what it compared before a spill */
		return cut_off(conn, hash);
	__builtin_memcpy(&version, conn->head + at + 1, sizeof(version));
	if (byte_at(conn, at) != ' ' || (version & 0xffffffffffffffULL) != HTTP_1)
		return NO_HEAD;
	c = conn->head[at + 9];
	if (c != '\r' && c != '\n')
		return NO_HEAD;
	conn->hash = hash | 1;
	return client ? scan_host(conn, at + (c == '\r' ? 11 : 10), hash) : WHOLE_HEAD;
}

#endif
