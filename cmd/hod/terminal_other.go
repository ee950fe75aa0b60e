//go:build !linux

package main

import "golang.org/x/sys/unix"

// The calls that read and change what a terminal does.
const readTermios, writeTermios = unix.TIOCGETA, unix.TIOCSETA
