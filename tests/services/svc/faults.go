package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// kept holds what is leaked: a file that nothing refers to would be closed by its finalizer.
var kept []any

func startFaults(o options, log *logger) {
	if o.hogMB > 0 {
		kept = append(kept, touched(o.hogMB<<20))
	}
	for i := 0; i < o.children; i++ {
		startChild(&syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL})
	}
	if o.threads > 0 || o.threadsRate > 0 {
		blockThreads(o.threads, o.threadsRate)
	}
	for i := 0; i < o.cpu; i++ {
		go burn()
	}
	if o.leakFDs > 0 {
		go leakDescriptors(o, log)
	}
	if o.leakRoutines > 0 {
		go every(o.leakRoutines, func(int) { go waitForever() })
	}
	if o.growMB > 0 {
		var held [][]byte
		go every(o.growMB, func(int) { held = append(held, touched(1<<20)) })
	}
	if o.deletedFile != "" {
		holdDeleted(o)
	}
	if o.open != "" {
		go every(1, func(int) { openOnce(o.open, log) })
	}
	callFaults(o)
	if o.tick > 0 {
		go ticks(o, log)
	}
	if o.crashAfter > 0 {
		time.AfterFunc(o.crashAfter, func() {
			log.write("error", "giving up", field{"error", "cannot reach the database"})
			os.Exit(o.exitCode)
		})
	}
	if o.panicAfter > 0 {
		go func() { time.Sleep(o.panicAfter); failHard(o.panicKind) }()
	}
}

// every calls work at a rate a second, for ever; work gets the number of the call.
func every(rate float64, work func(int)) {
	period := time.Duration(float64(time.Second) / rate)
	ticker := time.NewTicker(period)
	for i := 0; ; i++ {
		<-ticker.C
		work(i)
	}
}

func leakDescriptors(o options, log *logger) {
	leak := map[string]func() error{"file": leakFile, "socket": leakSocket(), "pipe": leakPipe}[o.leakKind]
	if leak == nil {
		must(errors.New("unknown -leak-kind " + o.leakKind))
	}
	leaked := 0
	every(o.leakFDs, func(int) {
		if o.leakMax > 0 && leaked >= o.leakMax {
			return
		}
		if err := leak(); err != nil {
			log.write("error", "request failed", field{"error", err.Error()}, field{"leaked", leaked})
			return
		}
		leaked++
	})
}

func leakFile() error {
	file, err := os.Open("/proc/self/exe")
	if err == nil {
		kept = append(kept, file)
	}
	return err
}

func leakPipe() error {
	r, w, err := os.Pipe()
	if err == nil {
		kept = append(kept, r, w)
	}
	return err
}

// leakSocket leaves sockets in CLOSE_WAIT: the peer hangs up at once, and nobody here closes.
func leakSocket() func() error {
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go func() {
		for {
			conn, err := peer.Accept()
			if err != nil {
				time.Sleep(50 * time.Millisecond)
				continue
			}
			_ = conn.Close()
		}
	}()
	dialer := net.Dialer{KeepAlive: -1} // a probe would end CLOSE_WAIT once the peer has forgotten the connection
	return func() error {
		conn, err := dialer.Dial("tcp", peer.Addr().String())
		if err == nil {
			kept = append(kept, conn)
		}
		return err
	}
}

func waitForever() {
	<-make(chan struct{})
}

// blockThreads keeps each goroutine in a blocking read(2), which holds a thread of its own.
func blockThreads(now int, rate float64) {
	var ends [2]int
	must(syscall.Pipe2(ends[:], syscall.O_CLOEXEC))
	block := func(int) {
		go func() { _, _ = syscall.Read(ends[0], make([]byte, 1)) }()
	}
	for i := 0; i < now; i++ {
		block(i)
	}
	if rate > 0 {
		go every(rate, block)
	}
}

func burn() {
	for x := uint64(1); ; x++ {
		x ^= x << 7
	}
}

func touched(size int) []byte {
	block := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		block[i] = 1
	}
	return block
}

func holdDeleted(o options) {
	file, err := os.Create(o.deletedFile)
	must(err)
	_, err = file.Write(make([]byte, o.deletedBytes))
	must(err)
	must(os.Remove(o.deletedFile))
	kept = append(kept, file)
	go every(1, func(int) { _, _ = file.Write(make([]byte, 4096)) })
}

func openOnce(path string, log *logger) {
	file, err := os.Open(path)
	if err != nil {
		log.write("error", "cannot read configuration", field{"error", err.Error()})
		return
	}
	_ = file.Close()
}

func ticks(o options, log *logger) {
	count := 0
	every(float64(time.Second)/float64(o.tick), func(int) {
		for i := 0; i < o.burst; i++ {
			count++
			log.write(o.level, o.message, field{"count", count}, field{"took_ms", count % 97})
		}
	})
}

type order struct{ lines []int }

//go:noinline
func total(o *order) int { return o.lines[len(o.lines)-1] }

func failHard(kind string) {
	switch kind {
	case "nil":
		fmt.Println(total(nil))
	case "index":
		fmt.Println(total(&order{}))
	case "map":
		var m map[string]int
		m["a"] = 1
	case "error":
		panic(fmt.Errorf("load ledger: %w", os.ErrNotExist))
	case "fatal":
		m := map[int]int{}
		for i := 0; i < 8; i++ {
			go func() {
				for {
					m[1]++
				}
			}()
		}
		select {}
	default:
		panic("svc: " + kind)
	}
}

func startChild(attributes *syscall.SysProcAttr) *os.Process {
	command := &exec.Cmd{Path: "/proc/self/exe", Args: []string{os.Args[0], "-child"}}
	command.SysProcAttr = attributes
	must(command.Start())
	return command.Process
}

func daemonize(o options) {
	first := 0
	for i := 0; i < o.daemon; i++ {
		child := startChild(&syscall.SysProcAttr{Setsid: true})
		if first == 0 {
			first = child.Pid
		}
	}
	if o.pidFile != "" {
		must(os.WriteFile(o.pidFile, []byte(fmt.Sprintln(first)), 0o644))
	}
}
