// A program that is only compiled, never run: it uses what the tables describe, so that its DWARF has those types.
package main

import (
	"context"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"sync"
	"time"
)

func main() {
	var (
		mutex sync.Mutex
		rw    sync.RWMutex
		group sync.WaitGroup
		once  sync.Once
	)
	cond := sync.NewCond(&mutex)
	once.Do(func() { rw.RLock() })
	listener, _ := net.Listen("tcp", os.Args[1])
	pprof.Do(context.Background(), pprof.Labels("a", "b"), func(context.Context) {
		cond.Broadcast()
		rw.Lock()
	})
	group.Add(1)
	go http.ServeTLS(listener, nil, os.Args[2], os.Args[3])
	time.AfterFunc(time.Second, group.Done)
	ticker := time.NewTicker(time.Second)
	select {
	case <-ticker.C:
	case <-time.After(time.Second):
	}
	group.Wait()
	debug.SetGCPercent(100)
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	metrics.Read(nil)
}
