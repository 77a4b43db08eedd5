// Command plugin is one for pluginhost, built with -buildmode=plugin: it parks a goroutine in code of its own.
package main

import "strings"

var never = make(chan string)

//go:noinline
func wait(word string) { never <- strings.ToUpper(word) }

// Park blocks for ever.
func Park() { wait("plugged") }

func main() {}
