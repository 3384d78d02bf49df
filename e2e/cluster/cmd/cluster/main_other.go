//go:build !linux

package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, "cluster: a cluster needs Linux, this is %s: run it in a Linux machine, virtual or real\n", runtime.GOOS)
	os.Exit(1)
}
