//go:build go1.21

package main

import (
	"context"
	"log/slog"
	"os"
)

// slogWriter writes by log/slog itself.
func slogWriter(format string) func(string, string, []field) {
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	var handler slog.Handler = slog.NewJSONHandler(os.Stderr, options)
	if format == "text" {
		handler = slog.NewTextHandler(os.Stderr, options)
	}
	log := slog.New(handler)
	return func(level, message string, fields []field) {
		var l slog.Level
		must(l.UnmarshalText([]byte(level)))
		var attributes []slog.Attr
		for _, f := range fields {
			attributes = append(attributes, slog.Any(f.key, f.value))
		}
		log.LogAttrs(context.Background(), l, message, attributes...)
	}
}
