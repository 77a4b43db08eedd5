//go:build !go1.21

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

func logInfo(message string, pairs ...any)  { writeLine("INFO", message, pairs) }
func logError(message string, pairs ...any) { writeLine("ERROR", message, pairs) }

// writeLine writes a line of log/slog's shape, for toolchains that do not have it yet.
func writeLine(level, message string, pairs []any) {
	line := map[string]any{"time": time.Now(), "level": level, "msg": message}
	for i := 0; i+1 < len(pairs); i += 2 {
		line[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	text, _ := json.Marshal(line)
	_, _ = os.Stderr.Write(append(text, '\n'))
}
