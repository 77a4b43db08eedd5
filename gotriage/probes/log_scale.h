/* The slots of a histogram: a log scale with four steps an octave, in units of 1024 ns, as in gotriage/records/http.py. */
#ifndef GOTRIAGE_LOG_SCALE_H
#define GOTRIAGE_LOG_SCALE_H

#define SLOTS 104

static __always_inline __u32 slot_of(__u64 took)
{
	__u32 value, octave = 2;

	took >>= 10;
	value = took > 0x7fffffff ? 0x7fffffff : took;
	if (value < 4)
		return value;
	if (value >> 16 >= 4) {
		octave += 16;
		value >>= 16;
	}
	if (value >> 8 >= 4) {
		octave += 8;
		value >>= 8;
	}
	if (value >> 4 >= 4) {
		octave += 4;
		value >>= 4;
	}
	if (value >> 2 >= 4) {
		octave += 2;
		value >>= 2;
	}
	if (value >> 1 >= 4) {
		octave += 1;
		value >>= 1;
	}
	octave = 4 * (octave - 1) + (value & 3);
	return octave < SLOTS ? octave : SLOTS - 1;
}

#endif
