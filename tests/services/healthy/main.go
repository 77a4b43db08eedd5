// Command healthy is an HTTP service with nothing wrong: every body is closed, connections are kept alive,
// and its own light load is answered at once.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "serve HTTP on this address")
	rate := flag.Float64("rate", 5, "requests to itself a second; 0: idle")
	ready := flag.String("ready-file", "", "write the address here once ready")
	flag.Parse()
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM)

	listener, err := net.Listen("tcp", *listen)
	must(err)
	var served int64
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		atomic.AddInt64(&served, 1)
		_, _ = w.Write([]byte("well\n"))
	})
	go func() { must(http.Serve(listener, nil)) }()
	if *rate > 0 {
		go load("http://"+listener.Addr().String()+"/", time.Duration(float64(time.Second) / *rate))
	}
	say("service up", "addr", listener.Addr().String())
	notify("READY=1")
	if *ready != "" {
		must(os.WriteFile(*ready+".part", []byte(listener.Addr().String()), 0o644))
		must(os.Rename(*ready+".part", *ready))
	}
	ticker := time.NewTicker(10 * time.Second)
	for {
		select {
		case <-ticker.C:
			say("requests served", "served", atomic.LoadInt64(&served))
		case got := <-ends:
			say("service down", "signal", got.String())
			return
		}
	}
}

func load(url string, period time.Duration) {
	client := &http.Client{Timeout: 5 * time.Second}
	for range time.NewTicker(period).C {
		answer, err := client.Get(url)
		if err != nil {
			say("request failed", "error", err.Error())
			continue
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
}

// say writes one line of log/slog's shape.
func say(message string, key string, value any) {
	line := map[string]any{"time": time.Now(), "level": "INFO", "msg": message, key: value}
	text, err := json.Marshal(line)
	must(err)
	fmt.Fprintln(os.Stderr, string(text))
}

func notify(state string) {
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		conn, err := net.Dial("unixgram", path)
		must(err)
		_, err = conn.Write([]byte(state))
		must(err)
		_ = conn.Close()
	}
}

func must(err error) {
	if err != nil {
		_, _ = os.Stderr.WriteString("healthy: " + err.Error() + "\n")
		os.Exit(1)
	}
}
