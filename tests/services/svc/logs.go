package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"time"
)

type field struct {
	key   string
	value any
}

// logger writes lines of one of the formats Go services log in, to standard error.
type logger struct {
	format string
	mutex  sync.Mutex
	slog   func(level, message string, fields []field)
}

func newLogger(format string) *logger {
	l := &logger{format: format}
	if format == "slog" || format == "text" {
		l.slog = slogWriter(format)
	}
	return l
}

// standard is for net/http, whose errors go to package log.
func (l *logger) standard() *log.Logger {
	if l.format == "plain" || l.format == "klog" {
		return log.Default()
	}
	return log.New(lineWriter{l}, "", 0)
}

type lineWriter struct{ to *logger }

func (w lineWriter) Write(line []byte) (int, error) {
	w.to.write("error", strings.TrimSpace(string(line)))
	return len(line), nil
}

func (l *logger) write(level, message string, fields ...field) {
	if l.slog != nil {
		l.slog(level, message, fields)
		return
	}
	line := l.line(time.Now(), level, message, fields)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	_, _ = os.Stderr.WriteString(line + "\n")
}

func (l *logger) line(now time.Time, level, message string, fields []field) string {
	switch l.format {
	case "zap": // zap.NewProduction: epoch seconds, level in small letters, caller
		head := []field{{"level", level}, {"ts", float64(now.UnixMicro()) / 1e6}, {"caller", "svc/logs.go:62"}, {"msg", message}}
		return object(append(head, fields...))
	case "logrus": // logrus.TextFormatter without a terminal
		head := []field{{"time", now.Format(time.RFC3339)}, {"level", strings.Replace(level, "warn", "warning", 1)}, {"msg", message}}
		return pairs(append(head, fields...))
	case "json": // a house format: other names for the same things
		return object(append([]field{{"@timestamp", now.UTC().Format(time.RFC3339Nano)}, {"severity", strings.ToUpper(level)}, {"message", message}}, fields...))
	case "klog":
		return fmt.Sprintf("%c%s %7d logs.go:62] %q %s", strings.ToUpper(level)[0], now.Format("0102 15:04:05.000000"), os.Getpid(), message, pairs(fields))
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", now.Format("2006/01/02 15:04:05"), message, pairs(fields)))
}

func object(fields []field) string {
	var b strings.Builder
	for i, f := range fields {
		key, _ := json.Marshal(f.key)
		value, _ := json.Marshal(f.value)
		fmt.Fprintf(&b, "%c%s:%s", "{,"[min1(i)], key, value)
	}
	return b.String() + "}"
}

func pairs(fields []field) string {
	var parts []string
	for _, f := range fields {
		value := fmt.Sprint(f.value)
		if strings.ContainsAny(value, " \"=\n") {
			value = fmt.Sprintf("%q", value)
		}
		parts = append(parts, f.key+"="+value)
	}
	return strings.Join(parts, " ")
}

func min1(i int) int {
	if i > 1 {
		return 1
	}
	return i
}
