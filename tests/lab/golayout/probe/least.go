// The least program: what its runtime has, that of every program has.
package main

func main() {}
