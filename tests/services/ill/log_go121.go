//go:build go1.21

package main

import (
	"log/slog"
	"os"
)

var logger = slog.New(slog.NewJSONHandler(os.Stderr, nil))

func logInfo(message string, pairs ...any)  { logger.Info(message, pairs...) }
func logError(message string, pairs ...any) { logger.Error(message, pairs...) }
