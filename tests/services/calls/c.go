//go:build cgo

package main

/*
#include <errno.h>

static __thread char before[328];
static __thread long after = 7;

static long touch(void) { before[5] = 1; errno = 0; return before[5] + after++; }
*/
import "C"

// inC makes thread-local variables of C, so that Go's own does not lie where it would lie alone.
func inC() { C.touch() }
