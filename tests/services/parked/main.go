// Command parked keeps goroutines in every way in which Go can park one, each below a function of a telling name.
//
// It serves net/http/pprof on -listen, whose goroutine?debug=2 is Go's own account of the same goroutines, and
// runtime numbers of its own on /numbers. Once all of them wait, it prints "ready ADDR" and writes the address into
// -ready-file. It stays up until SIGTERM or SIGINT.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "serve HTTP on this address")
	readyFile := flag.String("ready-file", "", "write the address here once ready")
	workers := flag.Int("n", 100, "identical goroutines that wait for a channel")
	deep := flag.Int("deep", 260, "calls on the stack of the deep one")
	churn := flag.Float64("churn", 0, "so many goroutines are born and die each second")
	spin := flag.Int("spin", 0, "so many goroutines never leave the CPU")
	plain := flag.Bool("plain", false, "only the -n workers: none of the ways to wait")
	flag.Parse()

	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM)
	if !*plain {
		parkOnChannels()
		parkOnSync()
		parkInKernel()
		parkInShapes(*deep)
	}
	parkWorkers(*workers)
	startChurn(*churn)
	startSpin(*spin)
	if !*plain {
		settle(500 * time.Millisecond)
	}

	listener, err := net.Listen("tcp", *listen)
	must(err)
	http.HandleFunc("/numbers", numbers)
	http.HandleFunc("/gc", func(w http.ResponseWriter, r *http.Request) { runtime.GC() })
	http.HandleFunc("/spawn", spawn)
	http.HandleFunc("/gap", gap)
	go func() { must(http.Serve(listener, nil)) }()
	address := listener.Addr().String()
	if *readyFile != "" {
		must(os.WriteFile(*readyFile+".part", []byte(address), 0o644))
		must(os.Rename(*readyFile+".part", *readyFile))
	}
	fmt.Println("ready", address)
	<-ends
}

// settle waits until the number of goroutines has not changed for a while, so that all of them are where they stay.
func settle(still time.Duration) {
	count, since := runtime.NumGoroutine(), time.Now()
	for time.Since(since) < still {
		time.Sleep(20 * time.Millisecond)
		if now := runtime.NumGoroutine(); now != count {
			count, since = now, time.Now()
		}
		if atomic.LoadInt64(&churned) > 0 {
			return
		}
	}
}

// numbers answers with what the runtime says about itself.
func numbers(w http.ResponseWriter, r *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	var stats debug.GCStats
	debug.ReadGCStats(&stats)
	last := 0.0
	if !stats.LastGC.IsZero() {
		last = float64(stats.LastGC.UnixNano()) / 1e9
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"go_version":             runtime.Version(),
		"gomaxprocs":             runtime.GOMAXPROCS(0),
		"ncpu":                   runtime.NumCPU(),
		"goroutines":             runtime.NumGoroutine(),
		"gc_percent":             percent,
		"memory_limit_bytes":     debug.SetMemoryLimit(-1),
		"gc_cycles":              m.NumGC,
		"gc_forced":              m.NumForcedGC,
		"gc_pause_total_seconds": float64(m.PauseTotalNs) / 1e9,
		"gc_cpu_fraction":        m.GCCPUFraction,
		"last_gc_at":             last,
		"heap_goal_bytes":        m.NextGC,
		"heap_alloc_bytes":       m.HeapAlloc,
		"heap_in_use_bytes":      m.HeapInuse,
		"heap_idle_bytes":        m.HeapIdle,
		"heap_released_bytes":    m.HeapReleased,
		"stacks_in_use_bytes":    m.StackInuse,
		"pauses":                 stats.Pause,
	})
}

// spawn adds ?n=N goroutines to the workers.
func spawn(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n < 0 || n > 2_000_000 {
		http.Error(w, "n", http.StatusBadRequest)
		return
	}
	parkWorkers(n)
	fmt.Fprintln(w, runtime.NumGoroutine())
}

// gap answers with the longest time, in nanoseconds, that a spinning goroutine was kept from the clock for ?ms=N.
func gap(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(strings.TrimSpace(r.URL.Query().Get("ms")))
	if err != nil || ms < 1 || ms > 600_000 {
		http.Error(w, "ms", http.StatusBadRequest)
		return
	}
	begin := time.Now()
	last, longest := time.Duration(0), time.Duration(0)
	for last < time.Duration(ms)*time.Millisecond {
		now := time.Since(begin)
		if now-last > longest {
			longest = now - last
		}
		last = now
	}
	fmt.Fprintln(w, longest.Nanoseconds())
}

func must(err error) {
	if err != nil {
		_, _ = os.Stderr.WriteString("parked: " + err.Error() + "\n")
		os.Exit(1)
	}
}
