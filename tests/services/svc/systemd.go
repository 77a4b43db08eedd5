package main

import (
	"net"
	"os"
	"strconv"
	"time"
)

// notify sends a state to systemd's notification socket, if there is one (sd_notify(3)).
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	must(err)
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	must(err)
}

// answerWatchdog pings at half the period systemd asks for (sd_watchdog_enabled(3)).
func answerWatchdog() {
	micros, err := strconv.Atoi(os.Getenv("WATCHDOG_USEC"))
	if err != nil || micros <= 0 {
		return
	}
	for {
		time.Sleep(time.Duration(micros) * time.Microsecond / 2)
		notify("WATCHDOG=1")
	}
}

// handedOver returns the sockets of socket activation, from descriptor 3 on (sd_listen_fds(3)).
func handedOver() []net.Listener {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil
	}
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	must(err)
	var found []net.Listener
	for fd := 3; fd < 3+count; fd++ {
		file := os.NewFile(uintptr(fd), "listen")
		listener, err := net.FileListener(file)
		must(err)
		must(file.Close())
		found = append(found, listener)
	}
	return found
}
