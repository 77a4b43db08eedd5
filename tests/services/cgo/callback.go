package main

// void call_go(int depth);
// void thread_calls_go(void);
import "C"

import (
	"net"
	"net/http"
	_ "net/http/pprof"
	"runtime"
	"sync/atomic"
	"time"
)

var (
	never   = make(chan struct{})
	inside  atomic.Int32
	foreign atomic.Int32
)

// waitInGo is what C calls: it goes through C once more for each level of depth, and then waits for ever.
//
//export waitInGo
func waitInGo(depth C.int) {
	if depth > 0 {
		C.call_go(depth - 1)
		return
	}
	inside.Add(1)
	<-never
}

// waitInGoOnAForeignThread is called by a thread that C has made.
//
//export waitInGoOnAForeignThread
func waitInGoOnAForeignThread() {
	foreign.Add(1)
	<-never
}

//go:noinline
func throughC(depth int) { C.call_go(C.int(depth)) }

// startCallbacks starts goroutines that wait in Go called by C called by Go, one to three times deep, and threads of
// C's own that do; it returns the address of net/http/pprof once all of them wait.
func startCallbacks(count int) (string, error) {
	for i := 0; i < count; i++ {
		go throughC(i % 3)
		C.thread_calls_go()
	}
	for inside.Load() < int32(count) || foreign.Load() < int32(count) {
		time.Sleep(10 * time.Millisecond)
	}
	runtime.GC() // stacks that can shrink have done so
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() { _ = http.Serve(listener, nil) }()
	return listener.Addr().String(), nil
}
