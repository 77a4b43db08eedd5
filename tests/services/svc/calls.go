package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// callFaults starts what shows in system calls only: nothing of it is logged.
func callFaults(o options) {
	if o.exec > 0 {
		go every(o.exec, func(int) { _ = exec.Command("/proc/self/exe", "-h").Run() })
	}
	if o.try != "" {
		go every(10, func(int) {
			if file, err := os.Open(o.try); err == nil {
				_ = file.Close()
			}
		})
	}
	if o.fill != "" {
		go fill(o.fill)
	}
	if o.dial != "" {
		go every(10, func(int) {
			if conn, err := net.DialTimeout("tcp", o.dial, o.dialTimeout); err == nil {
				_ = conn.Close()
			}
		})
	}
	if o.dns != "" {
		go every(2, func(int) { go lookUp(o.dns) })
	}
}

func fill(path string) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(err)
	block := make([]byte, 4096)
	every(20, func(int) { _, _ = syscall.Write(int(file.Fd()), block) })
}

// lookUp asks the name server at that address, which nobody else has to know of.
func lookUp(server string) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server)
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, _ = resolver.LookupHost(ctx, "orders.internal.")
}
