//go:build !go1.21

package main

import (
	"os"
	"strings"
	"time"
)

// slogWriter writes lines of log/slog's shape, for toolchains that do not have it yet.
func slogWriter(format string) func(string, string, []field) {
	return func(level, message string, fields []field) {
		head := []field{{"time", time.Now().Format(time.RFC3339Nano)}, {"level", strings.ToUpper(level)}, {"msg", message}}
		line := object(append(head, fields...))
		if format == "text" {
			line = pairs(append(head, fields...))
		}
		_, _ = os.Stderr.WriteString(line + "\n")
	}
}
