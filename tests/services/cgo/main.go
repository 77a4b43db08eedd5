// Command cgo is linked dynamically: it calls the C library and keeps a thread inside C, with -burn a busy one too.
// At SIGUSR1 four threads call strtol(3) and strlen(3) a thousand times each, all together, and it says so.
// With -callbacks goroutines wait in Go that C called, and net/http/pprof is served at the address in -ready-file.
package main

/*
#cgo LDFLAGS: -lm
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static double root(double x) { return sqrt(x); }
__attribute__((noinline)) double burn_in_c(double x) {
	for (int i = 0; i < 100000; i++) x = x * 1.0000001 + 1e-9;
	return x;
}
static long call_c_library(int times) {
	static const char *volatile digits = "1234";
	long sum = 0;
	for (int i = 0; i < times; i++) sum += strtol(digits, NULL, 10) + (long)strlen(digits);
	return sum;
}
static void wait_in_c(void) { for (;;) pause(); }
*/
import "C"

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/pprof"
	"sync"
	"syscall"
)

func main() {
	ready := flag.String("ready-file", "", "write here once ready")
	threads := flag.Int("threads", 1, "threads that wait inside C")
	callbacks := flag.Int("callbacks", 0, "goroutines that wait in Go called by C, and as many threads of C that do")
	burn := flag.Bool("burn", false, "a goroutine with a label keeps a CPU busy in C")
	flag.Parse()
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM)
	for i := 0; i < *threads; i++ {
		go C.wait_in_c()
	}
	if *burn {
		go pprof.Do(context.Background(), pprof.Labels("job", "burn"), burnForever)
	}
	_, _ = net.LookupHost("localhost")
	fmt.Fprintf(os.Stderr, "service up root=%.3f\n", float64(C.root(2)))
	address := ""
	if *callbacks > 0 {
		var err error
		if address, err = startCallbacks(*callbacks); err != nil {
			fmt.Fprintln(os.Stderr, "cgo:", err)
			os.Exit(1)
		}
	}
	if *ready != "" {
		if err := writeWhole(*ready, address); err != nil {
			fmt.Fprintln(os.Stderr, "cgo:", err)
			os.Exit(1)
		}
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	for {
		select {
		case <-asked:
			callLibrary()
		case <-ends:
			return
		}
	}
}

func writeWhole(path, text string) error {
	if err := os.WriteFile(path+".part", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

func callLibrary() {
	var group sync.WaitGroup
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			C.call_c_library(250)
		}()
	}
	group.Wait()
	fmt.Fprintln(os.Stderr, "called strtol and strlen 1000 times")
}

func burnForever(context.Context) {
	x := 1.0
	for {
		x = callC(x)
		if x > 1e9 {
			x = 1
		}
	}
}

//go:noinline
func callC(x float64) float64 { return float64(C.burn_in_c(C.double(x))) }
