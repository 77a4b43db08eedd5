package main

import (
	"context"
	"reflect"
	"runtime/pprof"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

var gate = make(chan struct{})

func parkInShapes(deep int) {
	go recurse(deep)
	go genericWait[int](gate)
	go genericWait[string](gate)
	go pairOf[int, *parker]{}.wait()
	go inlined1()
	go callClosure(7)
	go func() { <-gate }()
	p := &parker{gate: gate}
	go p.pointerMethod()
	go parker{gate: gate}.valueMethod()
	value := p.pointerMethod
	go value()
	var i waiter = embedding{p}
	go i.pointerMethod()
	go viaDefer()
	go viaPanicAndRecover()
	go viaReflect()
	go viaSort()
	go viaOnce()
	go manyArguments(1, "two", 3.0, []int{4}, map[int]int{5: 5}, gate, p, i)
	go largeFrame()
	for _, user := range []string{"ann", "bob"} {
		labels := pprof.Labels("user", user, "path", "/orders")
		go pprof.Do(context.Background(), labels, labelled)
	}
	go parent()
}

//go:noinline
func recurse(depth int) int {
	if depth <= 0 {
		<-gate
		return 0
	}
	return recurse(depth-1) + 1
}

//go:noinline
func genericWait[T any](c chan struct{}) {
	var zero T
	<-c
	kept = append(kept, zero)
}

type pairOf[A, B any] struct {
	a A
	b B
}

//go:noinline
func (p pairOf[A, B]) wait() { <-gate }

// These three have one frame on the stack; a trace shows all of them.
func inlined3() { <-gate }
func inlined2() { inlined3() }

//go:noinline
func inlined1() { inlined2() }

//go:noinline
func callClosure(n int) {
	wait := func(m int) int {
		<-gate
		return n + m
	}
	holdClosure(wait)
}

//go:noinline
func holdClosure(wait func(int) int) { wait(1) }

type waiter interface{ pointerMethod() }

type parker struct{ gate chan struct{} }

//go:noinline
func (p *parker) pointerMethod() { <-p.gate }

//go:noinline
func (p parker) valueMethod() { <-p.gate }

// embedding gets pointerMethod through a wrapper that the compiler makes.
type embedding struct{ *parker }

//go:noinline
func viaDefer() {
	defer func() { <-gate }()
}

//go:noinline
func viaPanicAndRecover() {
	defer func() {
		_ = recover()
		waitAfterPanic()
	}()
	var p *parker
	<-p.gate
}

//go:noinline
func waitAfterPanic() { <-gate }

//go:noinline
func viaReflect() { reflect.ValueOf(waitAfterPanic).Call(nil) }

type blocking []int

func (b blocking) Len() int           { return len(b) }
func (b blocking) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b blocking) Less(i, j int) bool { <-gate; return b[i] < b[j] }

//go:noinline
func viaSort() { sort.Sort(blocking{2, 1}) }

//go:noinline
func viaOnce() {
	var own sync.Once
	own.Do(waitAfterPanic)
}

//go:noinline
func manyArguments(a int, b string, c float64, d []int, e map[int]int, f chan struct{}, g *parker, h waiter) int {
	<-f
	return a + len(b) + int(c) + len(d) + len(e)
}

//go:noinline
func largeFrame() int {
	var block [20000]int
	fill(&block)
	<-gate
	return block[19999]
}

//go:noinline
func fill(block *[20000]int) { block[19999] = 1 }

func labelled(context.Context) { waitLabelled() }

//go:noinline
func waitLabelled() { <-gate }

// parent ends at once: its child's creator is no longer there.
//
//go:noinline
func parent() { go child() }

//go:noinline
func child() { <-gate }

// -- what moves

var churned int64

// startChurn makes goroutines that are born, wait a moment and die, so many a second, from four places.
func startChurn(rate float64) {
	if rate <= 0 {
		return
	}
	for i := 0; i < 4; i++ {
		go churnLoop(time.Duration(4 * 10 * float64(time.Second) / rate))
	}
}

// churnLoop gives birth to ten at a time.
//
//go:noinline
func churnLoop(period time.Duration) {
	for range time.NewTicker(period).C {
		for i := 0; i < 10; i++ {
			go shortLived(i)
		}
		atomic.AddInt64(&churned, 10)
	}
}

//go:noinline
func shortLived(i int) {
	if i%2 == 0 {
		shortLivedDeeper(5 + i)
		return
	}
	time.Sleep(time.Duration(i) * time.Millisecond)
}

//go:noinline
func shortLivedDeeper(depth int) int {
	if depth == 0 {
		time.Sleep(2 * time.Millisecond)
		return 0
	}
	return shortLivedDeeper(depth-1) + 1
}

func startSpin(count int) {
	for i := 0; i < count; i++ {
		go spinForever()
	}
}

//go:noinline
func spinForever() {
	for x := uint64(1); ; x++ {
		x = spinStep(x)
	}
}

//go:noinline
func spinStep(x uint64) uint64 { return x ^ x<<7 }
