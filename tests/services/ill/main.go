// Command ill is an order service with a few faults that real services have:
//   - it never closes the bodies of its upstream's answers, so sockets stay in CLOSE_WAIT and two goroutines wait
//     for each of them;
//   - it keeps every receipt it opened, so files stay open;
//   - a worker that is late sends its result to nobody, and waits for ever;
//   - its access log was rotated away under it: the file is deleted, and written on.
//
// Its soft RLIMIT_NOFILE is low, so after about a minute it says "too many open files", and goes on ailing.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "serve HTTP on this address")
	limit := flag.Uint64("nofile", 512, "soft RLIMIT_NOFILE")
	pace := flag.Float64("pace", 2, "orders a second")
	queued := flag.Int("queued", 410, "orders that wait already at the start")
	ready := flag.String("ready-file", "", "write the address here once ready")
	inventory := flag.Bool("inventory", false, "be the upstream: write the address to descriptor 3, and serve")
	flag.Parse()
	if *inventory {
		serveInventory()
		return
	}

	var now syscall.Rlimit
	must(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now))
	must(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: *limit, Max: now.Max}))

	folder, err := os.MkdirTemp("", "orders-")
	must(err)
	code := run(folder, *listen, *pace, *queued, *ready)
	must(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &now)) // removing a folder takes a descriptor
	must(os.RemoveAll(folder))
	os.Exit(code)
}

func run(folder, listen string, pace float64, queued int, ready string) int {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM)
	shop := &shop{folder: folder, inventory: startInventory(), access: openAccessLog(folder)}
	listener, err := net.Listen("tcp", listen)
	must(err)
	server := &http.Server{Handler: shop, ErrorLog: log.New(httpErrors{}, "", 0)}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logError("server ended", "error", err.Error())
		}
	}()
	logInfo("orders service up", "addr", listener.Addr().String(), "inventory", shop.inventory, "version", "2.4.1")
	if ready != "" {
		must(os.WriteFile(ready+".part", []byte(listener.Addr().String()), 0o644))
		must(os.Rename(ready+".part", ready))
	}
	for i := 0; i < queued; i++ {
		_ = shop.order(context.Background())
	}
	go customers(shop, pace)
	logInfo("orders service down", "signal", (<-ends).String())
	return 0
}

// shop takes orders: each asks the inventory, and leaves a receipt.
type shop struct {
	folder    string
	inventory string
	access    *os.File

	mutex    sync.Mutex
	receipts []*os.File // never closed: the fault
	orders   int
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.order(r.Context()); err != nil {
		http.Error(w, "out of order", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ordered\n"))
}

func (s *shop) order(ctx context.Context) error {
	s.mutex.Lock()
	s.orders++
	number := s.orders
	s.mutex.Unlock()
	_, _ = fmt.Fprintf(s.access, "%s POST /orders %d %s\n", time.Now().UTC().Format(time.RFC3339), number, visitor)
	start := time.Now()
	var err error
	if number%2 == 0 {
		err = s.reserve(ctx, number)
	} else {
		err = s.writeReceipt(number)
	}
	if err != nil {
		logError("order failed", "order", number, "error", err.Error(), "took_ms", time.Since(start).Milliseconds())
		return err
	}
	if number%20 == 0 {
		logInfo("orders taken", "orders", number)
	}
	return nil
}

// upstream does not probe idle connections: a probe would find, after a minute, that the peer has forgotten them, and the
// sockets would leave CLOSE_WAIT.
var upstream = &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{KeepAlive: -1}).DialContext}}

// reserve asks the inventory and forgets to close the body.
func (s *shop) reserve(ctx context.Context, number int) error {
	answer, err := upstream.Get(fmt.Sprintf("http://%s/reserve?order=%d", s.inventory, number))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("inventory: %s", answer.Status)
	}
	if number%8 == 0 {
		s.audit(ctx, number)
	}
	return nil
}

// audit gives up waiting before its worker is done; the worker then sends to nobody.
func (s *shop) audit(ctx context.Context, number int) {
	result := make(chan int)
	go func() {
		time.Sleep(40 * time.Millisecond)
		result <- number
	}()
	select {
	case <-result:
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

func (s *shop) writeReceipt(number int) error {
	file, err := os.Create(filepath.Join(s.folder, fmt.Sprintf("receipt-%05d.txt", number)))
	if err != nil {
		return err
	}
	s.mutex.Lock()
	s.receipts = append(s.receipts, file)
	s.mutex.Unlock()
	_, err = fmt.Fprintf(file, "order %d\n", number)
	return err
}

// customers order at the given pace, for ever.
func customers(s *shop, pace float64) {
	ticker := time.NewTicker(time.Duration(float64(time.Second) / pace))
	for range ticker.C {
		_ = s.order(context.Background())
	}
}

// startInventory starts the upstream as a process of its own, which ends with this one.
func startInventory() string {
	self, err := os.Executable()
	must(err)
	reader, writer, err := os.Pipe()
	must(err)
	command := exec.Command(self, "-inventory")
	command.Stdout, command.Stderr, command.ExtraFiles = os.Stdout, os.Stderr, []*os.File{writer}
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(command.Start())
	must(writer.Close())
	address, err := bufio.NewReader(reader).ReadString('\n')
	must(err)
	must(reader.Close())
	return strings.TrimSpace(address)
}

// serveInventory answers on the loopback and hangs up after each answer.
func serveInventory() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	parent := os.NewFile(3, "parent")
	_, err = fmt.Fprintln(parent, listener.Addr())
	must(err)
	must(parent.Close())
	must(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = w.Write(make([]byte, 8192))
	})))
}

func openAccessLog(folder string) *os.File {
	path := filepath.Join(folder, "access.log")
	file, err := os.Create(path)
	must(err)
	must(os.Remove(path))
	return file
}

// visitor is the rest of a line of the access log.
const visitor = `"Mozilla/5.0 (X11; Linux x86_64)" "https://shop.example/cart" 200 1532`

// httpErrors logs what net/http complains about.
type httpErrors struct{}

func (httpErrors) Write(line []byte) (int, error) {
	logError("http server", "error", string(line[:len(line)-1]))
	return len(line), nil
}

func must(err error) {
	if err != nil {
		_, _ = os.Stderr.WriteString("ill: " + err.Error() + "\n")
		os.Exit(1)
	}
}
