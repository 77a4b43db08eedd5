// Command cgo is linked dynamically: it calls the C library and keeps a thread inside C.
package main

/*
#cgo LDFLAGS: -lm
#include <math.h>
#include <unistd.h>

static double root(double x) { return sqrt(x); }
static void wait_in_c(void) { for (;;) pause(); }
*/
import "C"

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ready := flag.String("ready-file", "", "write here once ready")
	threads := flag.Int("threads", 1, "threads that wait inside C")
	flag.Parse()
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM)
	for i := 0; i < *threads; i++ {
		go C.wait_in_c()
	}
	_, _ = net.LookupHost("localhost")
	fmt.Fprintf(os.Stderr, "service up root=%.3f\n", float64(C.root(2)))
	if *ready != "" {
		if err := os.WriteFile(*ready, nil, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "cgo:", err)
			os.Exit(1)
		}
	}
	<-ends
}
