// Command calls makes system calls as it is told over HTTP: so many, of this kind, failing or blocking in a known way.
// Each answer is the id of the goroutine that made them.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"syscall"
)

var file *os.File

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "serve on this address")
	ready := flag.String("ready-file", "", "write the address here once ready")
	flag.Parse()
	inC()
	var err error
	file, err = os.Open(os.Args[0])
	must(err)
	http.HandleFunc("/pread", pread)
	http.HandleFunc("/open", open)
	http.HandleFunc("/block", block)
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "well") })
	listener, err := net.Listen("tcp", *listen)
	must(err)
	if *ready != "" {
		must(os.WriteFile(*ready+".part", []byte(listener.Addr().String()), 0o644))
		must(os.Rename(*ready+".part", *ready))
	}
	must(http.Serve(listener, nil))
}

// pread reads `size` bytes `n` times from one descriptor.
func pread(w http.ResponseWriter, r *http.Request) {
	buffer := make([]byte, number(r, "size"))
	for i := 0; i < number(r, "n"); i++ {
		if _, err := syscall.Pread(int(file.Fd()), buffer, 0); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	fmt.Fprintln(w, id())
}

// open tries to open `path` `n` times.
func open(w http.ResponseWriter, r *http.Request) {
	for i := 0; i < number(r, "n"); i++ {
		if fd, err := syscall.Open(r.FormValue("path"), syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
			must(syscall.Close(fd))
		}
	}
	fmt.Fprintln(w, id())
}

// block leaves a goroutine in a read of an empty pipe, for good.
func block(w http.ResponseWriter, _ *http.Request) {
	var ends [2]int
	must(syscall.Pipe(ends[:]))
	told := make(chan int)
	go func() {
		told <- id()
		_, _ = syscall.Read(ends[0], make([]byte, 1))
	}()
	fmt.Fprintln(w, <-told, ends[0])
}

func number(r *http.Request, name string) int {
	value, err := strconv.Atoi(r.FormValue(name))
	must(err)
	return value
}

func id() int {
	text := make([]byte, 64)
	words := bytes.Fields(text[:runtime.Stack(text, false)])
	value, err := strconv.Atoi(string(words[1]))
	must(err)
	return value
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "calls:", err)
		os.Exit(1)
	}
}
