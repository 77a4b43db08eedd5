package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

func every(rate float64, work func()) {
	for range time.NewTicker(time.Duration(float64(time.Second) / rate)).C {
		work()
	}
}

// -- goroutines

func leak(o options, _ string) {
	go every(o.rate, handleAndForget)
	for i := 0; i < o.count; i++ {
		handleAndForget()
	}
}

func leakOnce(o options, _ string) {
	for i := 0; i < o.count; i++ {
		handleAndForget()
	}
}

// handleAndForget starts the work and gives up waiting: the worker's send never ends.
//
//go:noinline
func handleAndForget() {
	result := make(chan int)
	go computeResult(result)
	select {
	case <-result:
	default:
	}
}

//go:noinline
func computeResult(result chan<- int) {
	time.Sleep(time.Millisecond)
	result <- 1
}

func deadConsumer(o options, _ string) {
	queue := make(chan int)
	done := make(chan struct{})
	go consumeOne(queue, done)
	for i := 0; i <= o.count; i++ {
		go produce(queue, i)
	}
	<-done
	kept = append(kept, queue)
}

//go:noinline
func consumeOne(queue <-chan int, done chan<- struct{}) {
	<-queue
	close(done)
}

//go:noinline
func produce(queue chan<- int, i int) { queue <- i }

func stuckPipeline(o options, _ string) {
	jobs, results := make(chan int), make(chan int)
	var group sync.WaitGroup
	go func() { <-results }()
	for i := 0; i < 4; i++ {
		group.Add(1)
		go transform(jobs, results, &group)
	}
	go feed(jobs)
	go func() { group.Wait(); close(results) }()
}

//go:noinline
func feed(jobs chan<- int) {
	for i := 0; ; i++ {
		jobs <- i
	}
}

//go:noinline
func transform(jobs <-chan int, results chan<- int, group *sync.WaitGroup) {
	defer group.Done()
	for job := range jobs {
		results <- 2 * job
	}
}

func blockThreads(o options, _ string) {
	var ends [2]int
	must(syscall.Pipe2(ends[:], syscall.O_CLOEXEC))
	for i := 0; i < o.count; i++ {
		go readBlocking(ends[0])
	}
}

//go:noinline
func readBlocking(fd int) { _, _ = syscall.Read(fd, make([]byte, 1)) }

// -- locks

type account struct {
	sync.Mutex
	balance int
}

func abba(o options, _ string) {
	a, b := &account{balance: 10}, &account{balance: 10}
	kept = append(kept, a, b)
	go transfer(a, b)
	go refund(b, a)
	time.Sleep(50 * time.Millisecond)
	for i := 0; i < o.count; i++ {
		go audit(a)
	}
}

//go:noinline
func transfer(from, to *account) {
	from.Lock()
	defer from.Unlock()
	time.Sleep(20 * time.Millisecond)
	to.Lock()
	defer to.Unlock()
	from.balance--
	to.balance++
}

//go:noinline
func refund(from, to *account) {
	from.Lock()
	defer from.Unlock()
	time.Sleep(20 * time.Millisecond)
	to.Lock()
	defer to.Unlock()
	from.balance--
	to.balance++
}

//go:noinline
func audit(a *account) int {
	a.Lock()
	defer a.Unlock()
	return a.balance
}

type cache struct {
	sync.Mutex
	entries map[int]int
}

func hotLock(o options, _ string) {
	c := &cache{entries: map[int]int{}}
	kept = append(kept, c)
	go c.refreshForever()
	for i := 0; i < o.count; i++ {
		go c.readForever(i)
	}
}

// refreshForever holds the lock while it waits for its upstream.
//
//go:noinline
func (c *cache) refreshForever() {
	for {
		c.refresh()
	}
}

//go:noinline
func (c *cache) refresh() {
	c.Lock()
	defer c.Unlock()
	time.Sleep(300 * time.Millisecond)
	c.entries[len(c.entries)%100]++
}

//go:noinline
func (c *cache) readForever(i int) {
	for {
		c.get(i)
	}
}

//go:noinline
func (c *cache) get(i int) int {
	c.Lock()
	defer c.Unlock()
	return c.entries[i]
}

// -- memory

var kept []any

// thrash keeps most of its limit alive and allocates all the time.
func thrash(o options, _ string) {
	var blocks [][]byte
	for i := 0; i < o.count; i++ {
		blocks = append(blocks, touched(1<<20))
	}
	kept = append(kept, blocks, tree(200_000))
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	debug.SetMemoryLimit(int64(m.Sys - m.HeapReleased))
	for i := 0; i < runtime.GOMAXPROCS(0); i++ {
		go allocateForever()
	}
}

type node struct{ left, right *node }

// tree is what the collector has to walk.
func tree(nodes int) *node {
	root := &node{}
	queue := []*node{root}
	for made := 1; made < nodes; made += 2 {
		n := queue[0]
		queue = queue[1:]
		n.left, n.right = &node{}, &node{}
		queue = append(queue, n.left, n.right)
	}
	return root
}

var sink []byte

//go:noinline
func allocateForever() {
	for {
		garbage := make([]byte, 4096)
		sinkOnce(garbage)
	}
}

//go:noinline
func sinkOnce(garbage []byte) {
	if len(garbage) == 0 {
		sink = garbage
	}
}

var sessions = map[int][]byte{}

// growHeap adds for ever, and makes garbage, so that collections come.
func growHeap(o options, _ string) {
	go every(20*o.rate, func() { addSession() })
	go every(100, func() {
		for i := 0; i < 64; i++ {
			sinkOnce(make([]byte, 8192))
		}
	})
}

//go:noinline
func addSession() { sessions[len(sessions)] = touched(1 << 20 / 20) }

func touched(size int) []byte {
	block := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		block[i] = 1
	}
	return block
}

// -- CPU

func loop(o options, _ string) { go pollForever(make(chan int)) }

//go:noinline
func pollForever(events <-chan int) int {
	seen := 0
	for {
		select {
		case <-events:
			return seen
		default:
			seen++
		}
	}
}
