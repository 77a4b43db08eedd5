package main

import (
	"sync"
	"time"
)

var (
	mutex   sync.Mutex
	rw      sync.RWMutex
	rwRead  sync.RWMutex
	cond    = sync.NewCond(&sync.Mutex{})
	group   sync.WaitGroup
	once    sync.Once
	held    = make(chan struct{}, 4)
	forever = 1 << 40 * time.Nanosecond * 100
)

func parkOnSync() {
	group.Add(1)
	go holdMutexAsleep()
	go holdWriteLockAsleep()
	go holdReadLockAsleep()
	for i := 0; i < 3; i++ {
		<-held
	}
	for i := 0; i < 2; i++ {
		go waitForMutex()
		go waitForReadLock()
	}
	go waitForWriteLock()
	go waitForReaders()
	go waitForCond()
	go waitForGroup()
	go holdOnce()
	<-held
	go waitForOnce()
}

//go:noinline
func holdMutexAsleep() {
	mutex.Lock()
	defer mutex.Unlock()
	held <- struct{}{}
	time.Sleep(forever)
}

//go:noinline
func holdWriteLockAsleep() {
	rw.Lock()
	defer rw.Unlock()
	held <- struct{}{}
	time.Sleep(forever)
}

//go:noinline
func holdReadLockAsleep() {
	rwRead.RLock()
	defer rwRead.RUnlock()
	held <- struct{}{}
	time.Sleep(forever)
}

//go:noinline
func waitForMutex() {
	mutex.Lock()
	mutex.Unlock() //nolint:staticcheck // it only has to wait
}

//go:noinline
func waitForReadLock() {
	rw.RLock()
	rw.RUnlock() //nolint:staticcheck // it only has to wait
}

// waitForWriteLock waits for the inner mutex: another writer has the lock.
//
//go:noinline
func waitForWriteLock() {
	rw.Lock()
	rw.Unlock() //nolint:staticcheck // it only has to wait
}

// waitForReaders has the inner mutex and waits until the readers are gone.
//
//go:noinline
func waitForReaders() {
	rwRead.Lock()
	rwRead.Unlock() //nolint:staticcheck // it only has to wait
}

//go:noinline
func waitForCond() {
	cond.L.Lock()
	cond.Wait()
	cond.L.Unlock()
}

//go:noinline
func waitForGroup() { group.Wait() }

//go:noinline
func holdOnce() {
	once.Do(func() {
		held <- struct{}{}
		time.Sleep(forever)
	})
}

//go:noinline
func waitForOnce() { once.Do(func() {}) }
