package main

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// rawTerminal hands every key to the container: no echo, no lines, no signals.
// restore gives the terminal back as it was.
func rawTerminal(stdin bool) (restore func(), err error) {
	fd := int(os.Stdin.Fd())
	old, err := unix.IoctlGetTermios(fd, readTermios)
	if !stdin || err != nil {
		return func() {}, nil
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, writeTermios, &raw); err != nil {
		return nil, fmt.Errorf("set terminal to raw: %w", err)
	}
	return func() { unix.IoctlSetTermios(fd, writeTermios, old) }, nil
}

// windowSizes gives the terminal's rows and columns, now and at each change.
func windowSizes() (sizes <-chan [2]uint16, stop func()) {
	ch := make(chan [2]uint16, 8)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	send := func() {
		for _, f := range []*os.File{os.Stdout, os.Stdin} {
			if w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
				select {
				case ch <- [2]uint16{w.Row, w.Col}:
				default:
				}
				return
			}
		}
	}
	send()
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-changed:
				send()
			case <-done:
				return
			}
		}
	}()
	return ch, func() { signal.Stop(changed); close(done) }
}

// windowSize is the rows and columns of the terminal, zero without one.
func windowSize() [2]uint16 {
	size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return [2]uint16{}
	}
	return [2]uint16{size.Row, size.Col}
}
