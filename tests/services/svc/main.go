// Command svc is a service that has exactly the faults its flags ask for.
//
// It stays up until SIGTERM or SIGINT, tells systemd when it is ready, takes over sockets it was handed
// (LISTEN_FDS), and writes the address it listens on, or nothing, into -ready-file once everything runs.
package main

import (
	"flag"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

type options struct {
	listen    string
	readyFile string
	noFile    uint64

	leakFDs       float64
	leakKind      string
	leakMax       int
	leakRoutines  float64
	threads       int
	threadsRate   float64
	hogMB         int
	growMB        float64
	cpu           int
	deletedFile   string
	deletedBytes  int
	open          string
	try           string
	fill          string
	dial          string
	dialTimeout   time.Duration
	dns           string
	exec          float64
	crashAfter    time.Duration
	exitCode      int
	panicAfter    time.Duration
	panicKind     string
	children      int
	daemon        int
	pidFile       string
	tick          time.Duration
	format        string
	level         string
	message       string
	burst         int
	secret        string
	watchdog      bool
	ignoreSIGTERM bool
	sleepBefore   time.Duration
	child         bool
}

func parse() options {
	var o options
	flag.StringVar(&o.listen, "listen", "", "serve HTTP on this address, as 127.0.0.1:0")
	flag.StringVar(&o.readyFile, "ready-file", "", "write the address here once ready")
	flag.Uint64Var(&o.noFile, "nofile", 0, "set the soft RLIMIT_NOFILE")
	flag.Float64Var(&o.leakFDs, "leak-fds", 0, "leak so many descriptors a second")
	flag.StringVar(&o.leakKind, "leak-kind", "file", "what is leaked: file, socket (CLOSE_WAIT) or pipe")
	flag.IntVar(&o.leakMax, "leak-max", 0, "leak no more than so many; 0: until it fails, and go on trying")
	flag.Float64Var(&o.leakRoutines, "leak-goroutines", 0, "leak so many goroutines a second")
	flag.IntVar(&o.threads, "threads", 0, "keep so many threads blocked in read(2)")
	flag.Float64Var(&o.threadsRate, "threads-rate", 0, "block so many more threads a second")
	flag.IntVar(&o.hogMB, "hog-mb", 0, "hold so many MiB of touched heap")
	flag.Float64Var(&o.growMB, "grow-mb", 0, "hold so many MiB more each second")
	flag.IntVar(&o.cpu, "cpu", 0, "so many goroutines that only burn CPU")
	flag.StringVar(&o.deletedFile, "deleted-file", "", "open this log file, delete it, and go on writing to it")
	flag.IntVar(&o.deletedBytes, "deleted-bytes", 1<<20, "bytes in the deleted file at once, then 4 KiB a second")
	flag.StringVar(&o.open, "open", "", "try to open this file every second and log the error")
	flag.StringVar(&o.try, "try", "", "try to open this file ten times a second, and say nothing")
	flag.StringVar(&o.fill, "fill", "", "append 80 KiB a second to this file, and say nothing when that fails")
	flag.StringVar(&o.dial, "dial", "", "connect there by TCP ten times a second, and say nothing when that fails")
	flag.DurationVar(&o.dialTimeout, "dial-timeout", time.Second, "how long -dial waits for a connection")
	flag.StringVar(&o.dns, "dns", "", "ask this name server (address:port) for a name twice a second")
	flag.Float64Var(&o.exec, "exec", 0, "start so many programs a second, one after the other")
	flag.DurationVar(&o.crashAfter, "crash-after", 0, "exit with -exit-code after so long")
	flag.IntVar(&o.exitCode, "exit-code", 3, "status of -crash-after")
	flag.DurationVar(&o.panicAfter, "panic", 0, "panic after so long")
	flag.StringVar(&o.panicKind, "panic-kind", "nil", "nil, index, map, error, custom, fatal (concurrent map writes)")
	flag.IntVar(&o.children, "children", 0, "start so many child processes")
	flag.IntVar(&o.daemon, "daemon", 0, "start so many daemons and exit, as Type=forking wants")
	flag.StringVar(&o.pidFile, "pidfile", "", "with -daemon: write the first one's PID here")
	flag.DurationVar(&o.tick, "tick", 0, "log a line so often")
	flag.StringVar(&o.format, "format", "slog", "slog, text (slog's), zap, logrus, klog, json, or plain")
	flag.StringVar(&o.level, "level", "info", "level of the ticks: debug, info, warn, error")
	flag.StringVar(&o.message, "message", "tick", "text of the ticks")
	flag.IntVar(&o.burst, "burst", 1, "lines a tick")
	flag.StringVar(&o.secret, "secret", "", "a secret on the command line, which is also logged once")
	flag.BoolVar(&o.watchdog, "watchdog", false, "answer systemd's watchdog")
	flag.BoolVar(&o.ignoreSIGTERM, "ignore-sigterm", false, "do not end on SIGTERM")
	flag.DurationVar(&o.sleepBefore, "sleep-before", 0, "wait so long before being ready")
	flag.BoolVar(&o.child, "child", false, "be a child: wait for the end")
	flag.Parse()
	return o
}

func main() {
	o := parse()
	if o.daemon > 0 {
		daemonize(o)
		return
	}
	ends := make(chan os.Signal, 1)
	if o.ignoreSIGTERM {
		signal.Ignore(syscall.SIGTERM)
		signal.Notify(ends, syscall.SIGINT)
	} else {
		signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM)
	}
	if o.child {
		<-ends
		return
	}
	log := newLogger(o.format)
	time.Sleep(o.sleepBefore)
	if o.noFile > 0 {
		must(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: o.noFile, Max: hardNoFile()}))
	}
	address := serve(o, log)
	startFaults(o, log)
	if o.secret != "" {
		log.write("info", "connecting to database", field{"dsn", "postgres://app:" + o.secret + "@db.internal/app"})
	}
	log.write("info", "service up", field{"addr", address}, field{"pid", os.Getpid()})
	notify("READY=1\nSTATUS=serving on " + address)
	if o.readyFile != "" {
		must(os.WriteFile(o.readyFile+".part", []byte(address), 0o644))
		must(os.Rename(o.readyFile+".part", o.readyFile))
	}
	if o.watchdog {
		go answerWatchdog()
	}
	got := <-ends
	notify("STOPPING=1")
	log.write("info", "service down", field{"signal", got.String()})
}

// serve listens on what systemd handed over, else on -listen, and returns the address.
func serve(o options, log *logger) string {
	listeners := handedOver()
	if o.listen != "" {
		listener, err := net.Listen("tcp", o.listen)
		must(err)
		listeners = append(listeners, listener)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * time.Second)
		_, _ = w.Write([]byte("at last\n"))
	})
	var addresses []string
	for _, listener := range listeners {
		addresses = append(addresses, listener.Addr().String())
		server := &http.Server{Handler: mux, ErrorLog: log.standard()}
		go func(l net.Listener) { _ = server.Serve(l) }(listener)
	}
	return strings.Join(addresses, ",")
}

func hardNoFile() uint64 {
	var now syscall.Rlimit
	must(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now))
	return now.Max
}

func must(err error) {
	if err != nil {
		_, _ = os.Stderr.WriteString("svc: " + err.Error() + "\n")
		os.Exit(1)
	}
}
