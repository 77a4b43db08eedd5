package main

import (
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

// kept holds what must not be collected: a finalizer would close it.
var kept []any

func parkInKernel() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	kept = append(kept, listener)
	client, err := net.Dial("tcp", listener.Addr().String())
	must(err)
	server, err := listener.Accept()
	must(err)
	kept = append(kept, client, server)
	go readFromSocket(server)
	go acceptConnections(listener)

	reader, writer, err := os.Pipe()
	must(err)
	kept = append(kept, reader, writer)
	go readFromPipe(reader)

	var ends [2]int
	must(syscall.Pipe2(ends[:], syscall.O_CLOEXEC))
	for i := 0; i < 2; i++ {
		go blockInSyscall(ends[0])
	}
	go sleepLong()
	go waitForTicker()
	go waitForTimer()
	go lockThreadAndWait()
	go lockThreadAndBlock(ends[0])
}

//go:noinline
func readFromSocket(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) }

//go:noinline
func acceptConnections(listener net.Listener) { _, _ = listener.Accept() }

// readFromPipe waits in the network poller: os.Pipe gives non-blocking descriptors.
//
//go:noinline
func readFromPipe(pipe *os.File) { _, _ = pipe.Read(make([]byte, 1)) }

// blockInSyscall holds a thread: the descriptor is a blocking one.
//
//go:noinline
func blockInSyscall(fd int) { _, _ = syscall.Read(fd, make([]byte, 1)) }

//go:noinline
func sleepLong() { time.Sleep(forever) }

//go:noinline
func waitForTicker() {
	ticker := time.NewTicker(24 * time.Hour)
	defer ticker.Stop()
	for range ticker.C {
	}
}

//go:noinline
func waitForTimer() { <-time.NewTimer(24 * time.Hour).C }

//go:noinline
func lockThreadAndWait() {
	runtime.LockOSThread()
	<-tokens
}

//go:noinline
func lockThreadAndBlock(fd int) {
	runtime.LockOSThread()
	blockInSyscall(fd)
}
