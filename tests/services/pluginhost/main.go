// Command pluginhost loads a plugin, starts its function Park as a goroutine, prints "ready" and waits for the end of
// its standard input.
package main

import (
	"fmt"
	"io"
	"os"
	"plugin"
)

func main() {
	loaded, err := plugin.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	park, err := loaded.Lookup("Park")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go park.(func())()
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}
