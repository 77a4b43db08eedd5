package main

import "time"

var (
	unbuffered = make(chan int)
	full       = make(chan int, 2)
	never      chan int
	tokens     = make(chan struct{})
)

func parkOnChannels() {
	full <- 1
	full <- 2
	for i := 0; i < 3; i++ {
		go receiveFromChannel()
	}
	for i := 0; i < 4; i++ {
		go sendToFullChannel(i)
	}
	go receiveFromNilChannel()
	go sendToNilChannel()
	go rangeOverChannel()
	go selectOfTwo()
	go selectOfOne()
	go selectWithTimeout()
	go selectNothing()
	go pollBySelectDefault()
}

//go:noinline
func receiveFromChannel() { <-unbuffered }

//go:noinline
func sendToFullChannel(i int) { full <- i }

//go:noinline
func receiveFromNilChannel() { <-never }

//go:noinline
func sendToNilChannel() { never <- 1 }

//go:noinline
func rangeOverChannel() {
	for range make(chan int) {
	}
}

//go:noinline
func selectOfTwo() {
	other := make(chan int)
	select {
	case <-unbuffered:
	case other <- 1:
	}
}

// selectOfOne is compiled to a plain receive.
//
//go:noinline
func selectOfOne() {
	select {
	case <-tokens:
	}
}

//go:noinline
func selectWithTimeout() {
	select {
	case <-tokens:
	case <-time.After(24 * time.Hour):
	}
}

//go:noinline
func selectNothing() { select {} }

// pollBySelectDefault never waits in its select: it sleeps for long between two of them.
//
//go:noinline
func pollBySelectDefault() {
	for {
		select {
		case <-tokens:
			return
		default:
			time.Sleep(24 * time.Hour)
		}
	}
}

var work = make(chan int)

// parkWorkers starts n goroutines that all do the same: nothing.
func parkWorkers(n int) {
	for i := 0; i < n; i++ {
		go idleWorker()
	}
}

//go:noinline
func idleWorker() { takeJob(work) }

//go:noinline
func takeJob(jobs <-chan int) int { return <-jobs }
