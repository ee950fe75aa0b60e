//go:build linux

package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ErrDetached ends a session whose user typed the detach keys.
var ErrDetached = errors.New("detached")

// ErrHungUp ends a session whose terminal is gone. The container was told, if
// signals are passed on, and lives as long as it wants to.
var ErrHungUp = errors.New("the terminal is gone")

// Dial connects to the monitor of a running container, for Session.
func (cs *Containers) Dial(c *Container) (net.Conn, error) {
	dir, err := os.Open(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("attach to container %s: %w", c.Name, err)
	}
	defer dir.Close()
	conn, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/attach.sock", dir.Fd()))
	if err != nil {
		return nil, fmt.Errorf("attach to container %s: %w", c.Name, err)
	}
	return conn, nil
}

// SessionOptions say what an attached session carries. Nil streams are left out.
type SessionOptions struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// DetachKeys is the sequence of bytes that ends the session and leaves the
	// container running; empty: there is none.
	DetachKeys []byte
	// Raw says that Stdin is a terminal that hands on every key: it ends only
	// when it hangs up.
	Raw bool
	// Signals are for the process, and Signal gives them to it, by a way of its own: a program that does not read its
	// input stops what is on the connection. Sizes (rows, columns) are for its terminal.
	Signals <-chan os.Signal
	Signal  func(unix.Signal)
	Sizes   <-chan [2]uint16
}

// Session carries streams between a monitor and this process until the
// container's process ends, whose exit code it returns, or ErrDetached or ErrHungUp.
func Session(ctx context.Context, conn net.Conn, o SessionOptions) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	left := make(chan error, 1)
	if o.Stdin != nil {
		go sendInput(conn, o, left)
	}
	go sendEvents(ctx, conn, o)
	result := make(chan error, 1)
	code := 0
	go func() {
		var err error
		code, err = receive(conn, o)
		result <- err
	}()
	select {
	case err := <-left:
		return 0, err
	case err := <-result:
		return code, err
	}
}

func sendInput(conn net.Conn, o SessionOptions, left chan<- error) {
	keys := keyWatch{keys: o.DetachKeys}
	buf := make([]byte, 16<<10)
	for {
		n, err := o.Stdin.Read(buf)
		if n > 0 {
			p, found := keys.pass(buf[:n])
			if found {
				left <- ErrDetached
				return
			}
			if len(p) > 0 && writeFrame(conn, frameStdin, p) != nil {
				return
			}
		}
		if err != nil && o.Raw {
			if o.Signals != nil {
				o.Signal(unix.SIGHUP)
			}
			left <- ErrHungUp
			return
		}
		if err != nil {
			writeFrame(conn, frameEOF, nil)
			return
		}
	}
}

// keyWatch holds back what may be the beginning of the detach keys.
type keyWatch struct {
	keys []byte
	held int
}

// pass returns what goes on to the process; found when the keys are complete.
func (k *keyWatch) pass(p []byte) (out []byte, found bool) {
	if len(k.keys) == 0 {
		return p, false
	}
	for _, b := range p {
		if b == k.keys[k.held] {
			if k.held++; k.held == len(k.keys) {
				return nil, true
			}
			continue
		}
		out = append(out, k.keys[:k.held]...)
		k.held = 0
		if b == k.keys[0] {
			k.held = 1
			continue
		}
		out = append(out, b)
	}
	return out, false
}

func sendEvents(ctx context.Context, conn net.Conn, o SessionOptions) {
	for {
		select {
		case <-ctx.Done():
			return
		case size := <-o.Sizes:
			writeFrame(conn, frameResize, twoNumbers(size[0], size[1]))
		case sig := <-o.Signals:
			if n, ok := sig.(unix.Signal); ok && Passed(n) {
				o.Signal(n)
			}
		}
	}
}

func receive(conn net.Conn, o SessionOptions) (int, error) {
	buf := make([]byte, frameMax)
	for {
		kind, p, err := readFrame(conn, buf)
		if err != nil {
			return exitLost, fmt.Errorf("attach: the container's monitor went away: %w", err)
		}
		w := io.Writer(nil)
		switch kind {
		case frameStdout:
			w = o.Stdout
		case frameStderr:
			w = o.Stderr
		case frameExit:
			if len(p) == 1 {
				return int(p[0]), nil
			}
			return exitLost, nil
		}
		if w != nil {
			if _, err := w.Write(p); err != nil {
				return exitLost, fmt.Errorf("attach: %w", err)
			}
		}
	}
}

// ParseDetachKeys reads docker's notation: letters, and ctrl- with a letter or
// one of @ [ \ ] ^ _, with commas between.
func ParseDetachKeys(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	var keys []byte
	for _, part := range bytes.Split([]byte(s), []byte(",")) {
		switch {
		case len(part) == 1:
			keys = append(keys, part[0])
		case len(part) == 6 && string(part[:5]) == "ctrl-" && ctrl(part[5]) >= 0:
			keys = append(keys, byte(ctrl(part[5])))
		default:
			return nil, fmt.Errorf("invalid detach keys %q: give letters or ctrl-LETTER with commas between", s)
		}
	}
	return keys, nil
}

func ctrl(b byte) int {
	switch {
	case b >= 'a' && b <= 'z':
		return int(b-'a') + 1
	case b == '@':
		return 0
	case b >= '[' && b <= '_':
		return int(b-'[') + 27
	}
	return -1
}
