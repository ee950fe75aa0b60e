//go:build linux

package runner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
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
	f       *os.File
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
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open log: %w", err)
	}
	w.f, w.size = f, st.Size()
	return nil
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
		case len(buf) >= logPart:
			w.record(stream, buf[:logPart])
			buf = buf[logPart:]
			continue
		}
		break
	}
	w.pending[stream] = append(w.pending[stream][:0], buf...)
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
	if w.max > 0 && w.size > 0 && w.size+int64(len(data)) > w.max {
		if err := w.rotate(); err != nil {
			w.failed = err
			return
		}
	}
	n, err := w.f.Write(data)
	w.size += int64(n)
	if err != nil && w.failed == nil {
		w.failed = fmt.Errorf("write log: %w", err)
	}
}

// rotate moves log.json to log.json.1 and so on, dropping the oldest.
func (w *logWriter) rotate() error {
	w.f.Close()
	if w.files == 1 {
		if err := os.Truncate(w.path, 0); err != nil {
			return fmt.Errorf("rotate log: %w", err)
		}
		return w.open()
	}
	for i := w.files - 1; i >= 1; i-- {
		from := w.path
		if i > 1 {
			from = fmt.Sprintf("%s.%d", w.path, i-1)
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", w.path, i)); err != nil && !missing(err) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	return w.open()
}

func (w *logWriter) close() error {
	if w == nil {
		return nil
	}
	w.flush()
	if err := w.f.Close(); err != nil && w.failed == nil {
		w.failed = err
	}
	return w.failed
}
