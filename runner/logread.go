//go:build linux

package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// LogOptions choose what of a log is shown.
type LogOptions struct {
	Follow         bool
	Tail           int // lines from the end; negative: all
	Since, Until   time.Time
	Timestamps     bool
	Stdout, Stderr io.Writer
}

// Logs writes what a container's process wrote. With Follow it goes on until
// the container stops, the time is Until, or ctx ends.
func (cs *Containers) Logs(ctx context.Context, ref string, o LogOptions) error {
	c, _, err := cs.Lookup(ctx, ref)
	if err != nil {
		return err
	}
	if c.Options.LogDriver == "none" {
		return fmt.Errorf("logs of container %s: it was started with --log-driver none, so nothing was kept", c.Name)
	}
	files, err := c.openLogs()
	if err != nil {
		return fmt.Errorf("logs of container %s: %w", c.Name, err)
	}
	defer closeAll(files)
	if files, err = o.last(files); err != nil {
		return fmt.Errorf("logs of container %s: %w", c.Name, err)
	}
	t := &logTail{c: c, o: o, fresh: true}
	defer t.close()
	for _, f := range files {
		t.hold(f)
		if err := t.drain(); err != nil {
			return err
		}
	}
	if o.Follow {
		return t.follow(ctx, cs)
	}
	return nil
}

// openLogs opens a log's files, the oldest first. The newest is opened first: when the files are turned over meanwhile, it
// is met again under its next name, and none is missed.
func (c *Container) openLogs() ([]*os.File, error) {
	var files []*os.File
	for i := range max(1, c.Options.LogMaxFile) {
		f, err := os.Open(logName(c.file("log.json"), i))
		if missing(err) {
			continue
		}
		if err != nil {
			closeAll(files)
			return nil, err
		}
		if len(files) > 0 && sameOpen(f, files[len(files)-1]) {
			f.Close()
			continue
		}
		files = append(files, f)
	}
	slices.Reverse(files)
	return files, nil
}

// logName is the name of the newest file of a log (0), or of one that was turned over.
func logName(newest string, i int) string {
	if i == 0 {
		return newest
	}
	return fmt.Sprintf("%s.%d", newest, i)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func sameOpen(a, b *os.File) bool {
	x, err := a.Stat()
	y, yerr := b.Stat()
	return err == nil && yerr == nil && os.SameFile(x, y)
}

// last leaves of a log's files those that hold its last lines, the first of them read up to where those begin; at least
// the newest.
func (o *LogOptions) last(files []*os.File) ([]*os.File, error) {
	if o.Tail < 0 {
		return files, nil
	}
	at, err := len(files), error(nil)
	for need := o.Tail; at > 0 && (need > 0 || at == len(files)); {
		at--
		if need, err = o.seekLast(files[at], need, at == len(files)-1); err != nil {
			return nil, err
		}
	}
	return files[at:], nil
}

// seekLast moves to where the last lines of a file begin, and says how many of them lie in older ones. It reads backwards:
// a log may be long. In the newest file the last line may have no end yet.
func (o *LogOptions) seekLast(f *os.File, need int, newest bool) (older int, err error) {
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil || need == 0 {
		return 0, err
	}
	r := recordsBack{f: f, at: at}
	for lines := 0; ; {
		record, end, err := r.next()
		if errors.Is(err, io.EOF) {
			_, err = f.Seek(0, io.SeekStart)
			return need - lines, err
		}
		if err != nil {
			return 0, err
		}
		var l logLine
		if json.Unmarshal(record, &l) != nil {
			continue
		}
		if l.ended() && lines == need || !o.Since.IsZero() && l.Time.Before(o.Since) {
			_, err = f.Seek(end, io.SeekStart)
			return 0, err
		}
		if !o.wants(l) {
			continue
		}
		if l.ended() || newest && lines == 0 {
			lines++
		}
	}
}

// recordsBack reads the records of a file from the last one to the first.
type recordsBack struct {
	f    *os.File
	at   int64  // where part begins
	part []byte // was read and not given yet
}

// next gives a record and where it ends, or io.EOF before the first.
func (r *recordsBack) next() (record []byte, end int64, err error) {
	for {
		end = r.at + int64(len(r.part))
		if end == 0 {
			return nil, 0, io.EOF
		}
		i := bytes.LastIndexByte(r.part[:max(0, len(r.part)-1)], '\n')
		if i >= 0 || r.at == 0 {
			record, r.part = r.part[i+1:], r.part[:i+1]
			return record, end, nil
		}
		n := min(r.at, 64<<10)
		block := make([]byte, int(n)+len(r.part))
		if _, err := r.f.ReadAt(block[:n], r.at-n); err != nil {
			return nil, 0, err
		}
		copy(block[n:], r.part)
		r.at, r.part = r.at-n, block
	}
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

// ended says whether a record ends its line.
func (l *logLine) ended() bool { return strings.HasSuffix(l.Log, "\n") }
