// Command symbols says what Go's own runtime makes of addresses: the oracle for reading its tables from outside.
//
// It prints "ready", then reads a hexadecimal return address a line and answers each with a line of JSON: the frames
// that runtime.CallersFrames has for it, all inlined calls among them, the innermost first.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	_ "unsafe"
)

//go:linkname expand runtime/pprof.runtime_expandFinalInlineFrame
func expand(stack []uintptr) []uintptr

type frame struct {
	Function string `json:"function"`
	File     string `json:"file"`
	Line     int    `json:"line"`
}

// Code with type parameters, methods on such types, closures in them, method wrappers: shapes that names can have.

type shape interface{ area(scale int) int }

type square struct{ side int }

func (s square) area(scale int) int { return s.side * s.side * scale }

type pile[T any] struct{ items []T }

//go:noinline
func (p *pile[T]) each(do func(T)) {
	for _, item := range p.items {
		func() { do(item) }()
	}
}

func fold[T, R any](items []T, start R, join func(R, T) R) R {
	(&pile[T]{items}).each(func(item T) { start = join(start, item) })
	return start
}

//go:noinline
func total(shapes []shape) int {
	return fold(shapes, 0, func(sum int, s shape) int { return sum + s.area(2) })
}

func exercise() {
	words := fold([]string{"a", "b"}, map[string]int{}, func(m map[string]int, s string) map[string]int { m[s]++; return m })
	keys := make([]string, 0, len(words))
	for key := range words {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	area := shape.area
	do := (&pile[shape]{[]shape{square{2}, &square{3}}}).each
	do(func(s shape) { fmt.Fprint(os.Stderr, area(s, 1), total([]shape{s}), strings.Join(keys, " "), "\n") })
}

func main() {
	exercise()
	out := bufio.NewWriter(os.Stdout)
	fmt.Fprintln(out, "ready")
	out.Flush()
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		pc, err := strconv.ParseUint(in.Text(), 16, 64)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		answer := []frame{}
		pcs := expand([]uintptr{uintptr(pc)})
		frames := runtime.CallersFrames(pcs)
		for more := len(pcs) > 0; more; {
			var f runtime.Frame
			f, more = frames.Next()
			answer = append(answer, frame{f.Function, f.File, f.Line})
		}
		line, _ := json.Marshal(answer)
		out.Write(append(line, '\n'))
		out.Flush()
	}
}
