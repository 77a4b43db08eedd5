// Command goill has exactly the illness of the Go runtime that -ill names; without one it is well.
//
//	leak       handlers start a worker and stop waiting for it: -rate of them a second wait to send, for ever
//	leak-one   -count workers that can never go on, all at once
//	abba       two transfers lock two accounts, each in its own order; -count audits wait for one of the locks
//	stuck      a pipeline whose last stage has ended: every goroutine waits, and no server, no timer is there
//	lock       a cache is refreshed under its lock, slowly; -count readers wait for it
//	channel    the consumer of a queue has ended; -count producers wait to send
//	gc         a heap close to its memory limit, and allocations all the time
//	memory     a map that is only added to, -rate MiB a second, and garbage beside it
//	loop       a goroutine that polls with an empty default
//	threads    -count goroutines in blocking reads
//
// and ways to be well that may look ill:
//
//	pool       -count workers that wait for jobs; a few get one now and then
//	bursts     -rate goroutines at once, every second, each for half a second
//	busy       requests to itself on as many goroutines as there are CPUs; a lock and a channel that all of them use
//	slow       -count producers before a consumer that takes its time
//	poll       -count clients that wait in long polls, -rate more each second
//	cache      a heap that is filled to -count MiB and stays
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"syscall"
)

type options struct {
	count int
	rate  float64
}

func main() {
	ill := flag.String("ill", "", "the illness")
	listen := flag.String("listen", "127.0.0.1:0", "serve HTTP on this address")
	readyFile := flag.String("ready-file", "", "write the address here once ready")
	var o options
	flag.IntVar(&o.count, "count", 200, "how many")
	flag.Float64Var(&o.rate, "rate", 10, "how many a second")
	flag.Parse()

	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM)
	start, known := illnesses[*ill]
	if !known {
		_, _ = os.Stderr.WriteString("goill: unknown -ill " + *ill + "\n")
		os.Exit(1)
	}
	address := ""
	if *ill != "stuck" { // a server waits for the network: not all of its goroutines are blocked
		listener, err := net.Listen("tcp", *listen)
		must(err)
		go func() { must(http.Serve(listener, nil)) }()
		address = listener.Addr().String()
	}
	if start != nil {
		start(o, address)
	}
	if *readyFile != "" {
		must(os.WriteFile(*readyFile+".part", []byte(address), 0o644))
		must(os.Rename(*readyFile+".part", *readyFile))
	}
	fmt.Println("ready", address)
	<-ends
}

var illnesses = map[string]func(o options, address string){
	"":         nil,
	"leak":     leak,
	"leak-one": leakOnce,
	"abba":     abba,
	"stuck":    stuckPipeline,
	"lock":     hotLock,
	"channel":  deadConsumer,
	"gc":       thrash,
	"memory":   growHeap,
	"loop":     loop,
	"threads":  blockThreads,
	"pool":     idlePool,
	"bursts":   bursts,
	"busy":     busy,
	"slow":     slowConsumer,
	"poll":     longPolls,
	"cache":    fillCache,
}

func must(err error) {
	if err != nil {
		_, _ = os.Stderr.WriteString("goill: " + err.Error() + "\n")
		os.Exit(1)
	}
}
