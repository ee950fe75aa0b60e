package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// hasTermios tells a terminal from other devices.
func hasTermios(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), readTermios)
	return err == nil
}
