//go:build linux

package runner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
	"unicode/utf8"
)

// logLine is one line of a log: docker's json-file form. A line without its end
// of line is a part, joined with what follows by whoever reads.
type logLine struct {
	Log    string    `json:"log"`
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
}

// logPart is the longest piece of a line that one record holds.
const logPart = 16 << 10

// logWriter appends to a container's log, and turns the files over when the
// newest grows past its bound. A log that cannot be written (the disk is full)
// never stops the container; the first error is kept for the monitor to tell.
type logWriter struct {
	path    string
	max     int64
	files   int
	mu      sync.Mutex // guards what follows
	f       *os.File   // nil where it could not be opened
	size    int64
	failed  error
	pending map[string][]byte
}

// openLog opens the log of a container for appending; nil when it keeps none.
func openLog(c *Container) (*logWriter, error) {
	if c.Options.LogDriver == "none" {
		return nil, nil
	}
	w := &logWriter{
		path: c.file("log.json"), max: c.Options.LogMaxSize, files: max(1, c.Options.LogMaxFile),
		pending: map[string][]byte{},
	}
	return w, w.open()
}

func (w *logWriter) open() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	if w.size, err = endLine(f); err != nil {
		f.Close()
		return fmt.Errorf("open log: %w", err)
	}
	w.f = f
	return nil
}

// endLine ends the last record of a log, where a machine that lost power cut it, and says how long the log is.
func endLine(f *os.File) (size int64, err error) {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return 0, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, st.Size()-1); err != nil || last[0] == '\n' {
		return st.Size(), err
	}
	n, _ := f.Write([]byte{'\n'}) // on a full disk the next record is spoilt too
	return st.Size() + int64(n), nil
}

// Write takes what one stream wrote. Whole lines go out at once, the beginning
// of a line waits for the rest, for at most logPart bytes.
func (w *logWriter) write(stream string, p []byte) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	buf := append(w.pending[stream], p...)
	for {
		i := bytes.IndexByte(buf, '\n')
		switch {
		case i >= 0 && i < logPart:
			w.record(stream, buf[:i+1])
			buf = buf[i+1:]
			continue
		case len(buf) > logPart:
			n := wholeRunes(buf, logPart)
			w.record(stream, buf[:n])
			buf = buf[n:]
			continue
		}
		break
	}
	w.pending[stream] = append(w.pending[stream][:0], buf...)
}

// wholeRunes is n, or a little less where a character would be cut there; what is no text is cut at n.
func wholeRunes(b []byte, n int) int {
	for i := n; i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			return i
		}
	}
	return n
}

// Flush writes the beginnings of lines that never ended.
func (w *logWriter) flush() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, stream := range []string{"stdout", "stderr"} {
		if len(w.pending[stream]) > 0 {
			w.record(stream, w.pending[stream])
			w.pending[stream] = nil
		}
	}
}

func (w *logWriter) record(stream string, line []byte) {
	now := time.Now().UTC()
	data, err := json.Marshal(logLine{Log: string(line), Stream: stream, Time: now})
	if err != nil {
		return
	}
	data = append(data, '\n')
	if err := w.ready(int64(len(data))); err != nil {
		w.fail(err)
		return
	}
	n, err := w.f.Write(data)
	if err != nil {
		w.fail(fmt.Errorf("write log: %w", err))
		w.f.Truncate(w.size) // no half record, which would spoil the next one too
		return
	}
	w.size += int64(n)
}

// fail keeps the first error.
func (w *logWriter) fail(err error) {
	if w.failed == nil {
		w.failed = err
	}
}

// ready makes room for a record of n bytes: in the next file where this one is full, in one that is opened anew where
// that failed before.
func (w *logWriter) ready(n int64) error {
	if w.f != nil && w.max > 0 && w.size > 0 && w.size+n > w.max {
		w.f.Close()
		w.f = nil
		if err := w.turnOver(); err != nil {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	if w.f != nil {
		return nil
	}
	return w.open()
}

// turnOver moves log.json to log.json.1 and so on, dropping the oldest. The next one is always a new file: who follows
// has the last one open and reads it to its end.
func (w *logWriter) turnOver() error {
	if w.files == 1 {
		return os.Remove(w.path)
	}
	for i := w.files - 1; i >= 1; i-- {
		if err := os.Rename(logName(w.path, i-1), logName(w.path, i)); err != nil && !missing(err) {
			return err
		}
	}
	return nil
}

func (w *logWriter) close() error {
	if w == nil {
		return nil
	}
	w.flush()
	if w.f == nil {
		return w.failed
	}
	if err := w.f.Close(); err != nil {
		w.fail(err)
	}
	return w.failed
}
