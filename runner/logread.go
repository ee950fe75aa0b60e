//go:build linux

package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// LogOptions choose what of a log is shown.
type LogOptions struct {
	Follow       bool
	Tail         int // lines from the end; negative: all
	Since, Until time.Time
	Timestamps   bool
	// Details puts the values of the log options' labels before each line.
	Stdout, Stderr io.Writer
}

// Logs writes what a container's process wrote. With Follow it goes on until
// the container stops or ctx ends.
func (cs *Containers) Logs(ctx context.Context, ref string, o LogOptions) error {
	c, _, err := cs.Lookup(ctx, ref)
	if err != nil {
		return err
	}
	if c.Options.LogDriver == "none" {
		return fmt.Errorf("logs of container %s: it was started with --log-driver none, so nothing was kept", c.Name)
	}
	skip := 0
	if o.Tail >= 0 {
		total, err := countLines(c, o)
		if err != nil {
			return err
		}
		skip = max(0, total-o.Tail)
	}
	var last *os.File
	for i, path := range logFiles(c) {
		f, err := os.Open(path)
		if missing(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("logs of container %s: %w", c.Name, err)
		}
		if skip, err = copyLog(f, skip, o); err != nil {
			f.Close()
			return err
		}
		if i == len(logFiles(c))-1 && o.Follow {
			last = f
			break
		}
		f.Close()
	}
	if o.Follow {
		return cs.follow(ctx, c, last, o)
	}
	return nil
}

// logFiles lists a log's files, the oldest first.
func logFiles(c *Container) []string {
	var files []string
	for i := max(1, c.Options.LogMaxFile) - 1; i >= 1; i-- {
		files = append(files, fmt.Sprintf("%s.%d", c.file("log.json"), i))
	}
	return append(files, c.file("log.json"))
}

func countLines(c *Container, o LogOptions) (int, error) {
	total := 0
	o.Stdout, o.Stderr = nil, nil
	for _, path := range logFiles(c) {
		f, err := os.Open(path)
		if missing(err) {
			continue
		}
		if err != nil {
			return 0, err
		}
		r := logReader{r: bufio.NewReader(f)}
		for {
			l, ok := r.next()
			if !ok {
				break
			}
			if o.wants(l) && r.ended(l) {
				total++
			}
		}
		f.Close()
	}
	return total, nil
}

// logReader reads records; an unfinished last record is left for later.
type logReader struct {
	r       *bufio.Reader
	partial []byte
}

func (l *logReader) next() (logLine, bool) {
	for {
		part, err := l.r.ReadSlice('\n')
		l.partial = append(l.partial, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return logLine{}, false
		}
		var line logLine
		err = json.Unmarshal(l.partial, &line)
		l.partial = l.partial[:0]
		if err == nil {
			return line, true
		}
		// A record cut by a crash: the next one starts on its own line.
	}
}

func (l *logReader) ended(line logLine) bool {
	return len(line.Log) > 0 && line.Log[len(line.Log)-1] == '\n'
}

func (o *LogOptions) wants(l logLine) bool {
	return (o.Since.IsZero() || !l.Time.Before(o.Since)) && (o.Until.IsZero() || !l.Time.After(o.Until))
}

func (o *LogOptions) print(l logLine, fresh bool) error {
	w := o.Stdout
	if l.Stream == "stderr" {
		w = o.Stderr
	}
	if w == nil {
		return nil
	}
	text := l.Log
	if o.Timestamps && fresh {
		text = l.Time.Format("2006-01-02T15:04:05.000000000Z07:00") + " " + text
	}
	_, err := io.WriteString(w, text)
	return err
}

func copyLog(f *os.File, skip int, o LogOptions) (int, error) {
	r := logReader{r: bufio.NewReader(f)}
	fresh := true
	for {
		l, ok := r.next()
		if !ok {
			break
		}
		if !o.wants(l) {
			continue
		}
		if skip > 0 {
			if r.ended(l) {
				skip--
			}
			continue
		}
		if err := o.print(l, fresh); err != nil {
			return skip, err
		}
		fresh = r.ended(l)
	}
	_, err := f.Seek(-int64(len(r.partial)), io.SeekCurrent)
	return skip, err
}

// follow prints what is added to the log until the container has no monitor.
func (cs *Containers) follow(ctx context.Context, c *Container, f *os.File, o LogOptions) error {
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	r := logReader{}
	if f != nil {
		r.r = bufio.NewReader(f)
	}
	fresh := true
	for done := false; ; {
		if f == nil || turned(f, c) {
			next, err := os.Open(c.file("log.json"))
			if err == nil {
				drainLog(&r, &fresh, o)
				if f != nil {
					f.Close()
				}
				f, r = next, logReader{r: bufio.NewReader(next)}
			}
		}
		if err := drainLog(&r, &fresh, o); err != nil {
			return err
		}
		if done {
			return nil
		}
		s, err := cs.truth(ctx, c)
		// One more look after the end: the last lines were written before it.
		done = err != nil || !s.alive()
		if done {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func drainLog(r *logReader, fresh *bool, o LogOptions) error {
	if r.r == nil {
		return nil
	}
	for {
		l, ok := r.next()
		if !ok {
			return nil
		}
		if !o.wants(l) {
			continue
		}
		if err := o.print(l, *fresh); err != nil {
			return err
		}
		*fresh = r.ended(l)
	}
}

// turned reports whether the log was rotated under the open file.
func turned(f *os.File, c *Container) bool {
	now, err := os.Stat(c.file("log.json"))
	if err != nil {
		return false
	}
	held, err := f.Stat()
	return err == nil && !os.SameFile(now, held)
}
