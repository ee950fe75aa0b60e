//go:build linux

package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"time"
)

// logTail reads a log to its end, again and again, and goes along when its files
// are turned over.
type logTail struct {
	c     *Container
	o     LogOptions
	f     *os.File // the newest file when it was opened; nil: there was none
	r     *bufio.Reader
	part  []byte // the beginning of a record that is not whole yet
	fresh bool   // the next record begins a line
}

// hold goes on with another file, from where that is read up to.
func (t *logTail) hold(f *os.File) {
	t.close()
	t.f, t.r, t.part = f, bufio.NewReader(f), t.part[:0]
}

func (t *logTail) close() {
	if t.f != nil {
		t.f.Close()
	}
}

// drain prints what there is in the file that is held.
func (t *logTail) drain() error {
	for t.f != nil {
		part, err := t.r.ReadSlice('\n')
		t.part = append(t.part, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		var l logLine
		err = json.Unmarshal(t.part, &l)
		t.part = t.part[:0]
		if err != nil || !t.o.wants(l) { // a machine that lost power cut it
			continue
		}
		if err := t.o.print(l, t.fresh); err != nil {
			return err
		}
		t.fresh = l.ended()
	}
	return nil
}

// turn goes on to the newest file, by way of all that were the newest since the
// one that is held; each of them is complete.
func (t *logTail) turn() error {
	now, err := os.Stat(t.c.file("log.json"))
	if err != nil {
		return nil // it is being turned over, or removed with the container
	}
	if t.f != nil {
		if held, err := t.f.Stat(); err != nil || os.SameFile(held, now) {
			return err
		}
	}
	files, err := t.c.openLogs()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(files, func(f *os.File) bool { return t.f != nil && sameOpen(f, t.f) })
	closeAll(files[:at+1])
	for i, f := range files[at+1:] {
		if err := t.drain(); err != nil {
			closeAll(files[at+1+i:])
			return err
		}
		t.hold(f)
	}
	return nil
}

// follow prints what is added to the log until the container has no monitor.
func (t *logTail) follow(ctx context.Context, cs *Containers) error {
	if !t.o.Until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, t.o.Until)
		defer cancel()
	}
	for done := false; ; {
		err := t.turn()
		if err == nil {
			err = t.drain()
		}
		if err != nil || done {
			return err
		}
		// One more look after the end: the last lines were written before it.
		s, err := cs.truth(context.WithoutCancel(ctx), t.c)
		if done = err != nil || !s.alive(); done {
			continue
		}
		select {
		case <-ctx.Done():
			done = true
		case <-time.After(50 * time.Millisecond):
		}
	}
}
