// Command probed does, again and again, what the probe library looks for: it starts programs, opens what is not there,
// connects, asks a DNS server, writes and syncs, panics and recovers, and collects garbage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

var sink [][]byte

func main() {
	ready := flag.String("ready-file", "", "write the address here once ready")
	shell := flag.String("shell", "exit 3", "what bash -c runs each time; \"\" for nothing")
	server := flag.String("dns", "", "ask this DNS server, as 127.0.0.77:53")
	every := flag.Duration("every", 200*time.Millisecond, "how often")
	flag.Parse()
	folder, err := os.MkdirTemp("", "probed-")
	must(err)
	defer os.RemoveAll(folder)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go serve(listener)
	must(os.WriteFile(*ready+".part", []byte(listener.Addr().String()), 0o644))
	must(os.Rename(*ready+".part", *ready))
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR1)
	for {
		select {
		case <-ends:
			return
		case <-time.After(*every):
		}
		if *shell != "" {
			runShell(*shell)
		}
		if *server != "" {
			lookUp(*server)
		}
		openMissing(folder)
		dial(listener.Addr().String())
		writeAndSync(folder)
		panicAndRecover()
		work()
	}
}

// runShell is who asks for the program.
func runShell(command string) {
	_ = exec.Command("bash", "-c", command).Run()
}

func lookUp(server string) {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = (&net.Resolver{PreferGo: true, Dial: dial}).LookupHost(ctx, "orders.example.test.")
}

func openMissing(folder string) {
	if _, err := os.Open(filepath.Join(folder, "missing.conf")); err == nil {
		panic("it is there")
	}
}

func dial(address string) {
	if connection, err := net.Dial("tcp", address); err == nil {
		_, _ = io.ReadAll(connection)
		connection.Close()
	}
	_, _ = net.DialTimeout("tcp", "127.0.0.1:1", time.Second) // nobody listens there
}

func serve(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		connection.Close()
	}
}

func writeAndSync(folder string) {
	file, err := os.Create(filepath.Join(folder, "journal"))
	must(err)
	defer file.Close()
	_, _ = file.Write(make([]byte, 4096))
	_ = file.Sync()
}

func panicAndRecover() {
	defer func() { _ = recover() }()
	panic(errors.New("the order is empty"))
}

// work starts goroutines, and leaves garbage.
func work() {
	done := make(chan struct{})
	for i := 0; i < 10; i++ {
		go func() {
			done <- struct{}{}
		}()
	}
	for i := 0; i < 10; i++ {
		<-done
	}
	for i := 0; i < 64; i++ {
		sink = append(sink, make([]byte, 64<<10))
	}
	sink = nil
	runtime.GC()
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "probed:", err)
		os.Exit(1)
	}
}
