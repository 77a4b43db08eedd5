package main

import (
	"io"
	"net/http"
	"runtime"
	"sync"
	"time"
)

func idlePool(o options, _ string) {
	jobs := make(chan int)
	for i := 0; i < o.count; i++ {
		go worker(jobs)
	}
	go every(o.rate, func() { jobs <- 1 })
}

//go:noinline
func worker(jobs <-chan int) {
	for range jobs {
		time.Sleep(time.Millisecond)
	}
}

func bursts(o options, _ string) {
	go every(1, func() {
		for i := 0; i < int(o.rate); i++ {
			go shortTask()
		}
	})
}

//go:noinline
func shortTask() { time.Sleep(500 * time.Millisecond) }

// busy loads the service with requests to itself; every handler takes a lock and sends to a channel.
func busy(o options, address string) {
	var mutex sync.Mutex
	seen := map[string]int{}
	events := make(chan string, 16)
	go func() {
		for event := range events {
			mutex.Lock()
			seen[event]++
			mutex.Unlock()
		}
	}()
	http.HandleFunc("/work", func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		seen[r.URL.Path]++
		mutex.Unlock()
		block := touched(64 << 10)
		sinkOnce(block)
		events <- "request"
		_, _ = w.Write(block[:1024])
	})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 10 * time.Second}
	for i := 0; i < 2*runtime.GOMAXPROCS(0); i++ {
		go func() {
			for {
				answer, err := client.Get("http://" + address + "/work")
				if err != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
			}
		}()
	}
}

// slowConsumer has many producers that come back with the next item as soon as one was taken.
func slowConsumer(o options, _ string) {
	queue := make(chan int)
	for i := 0; i < o.count; i++ {
		go produceForever(queue)
	}
	go every(20, func() { <-queue })
}

//go:noinline
func produceForever(queue chan<- int) {
	for i := 0; ; i++ {
		queue <- i
	}
}

// longPolls has clients in this same process: two sockets a client.
func longPolls(o options, address string) {
	never := make(chan struct{})
	http.HandleFunc("/poll", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {
		case <-never:
		case <-r.Context().Done():
		}
	})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1 << 16}}
	poll := func() {
		answer, err := client.Get("http://" + address + "/poll")
		if err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
		}
	}
	for i := 0; i < o.count; i++ {
		go poll()
	}
	if o.rate > 0 {
		go every(o.rate, func() { go poll() })
	}
}

func fillCache(o options, _ string) {
	go func() {
		for i := 0; i < o.count; i++ {
			kept = append(kept, touched(1<<20))
			time.Sleep(20 * time.Millisecond)
		}
	}()
	go every(100, func() {
		for i := 0; i < 64; i++ {
			sinkOnce(make([]byte, 8192))
		}
	})
}
