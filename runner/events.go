//go:build linux

package runner

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Event is something that happened to a container, in docker's words.
type Event struct {
	Action string            // create, start, die, …
	ID     string            // of the container
	More   map[string]string // what docker calls attributes: name, image, labels, exitCode …
	Time   time.Time
}

// eventsMost is how long the list of events grows before it begins anew; the
// last full one is kept beside it.
const eventsMost = 1 << 20

// eventsFile lies beside the containers' folder, in the store's.
func (cs *Containers) eventsFile() string { return filepath.Join(filepath.Dir(cs.dir), "events") }

// tell adds an event to the list: a line written at once, so that those of many
// processes do not mix. What happens does so whether or not it can be told.
func (cs *Containers) tell(c *Container, action string, more ...string) {
	e := Event{Action: action, ID: c.ID, Time: time.Now().UTC(), More: map[string]string{}}
	for k, v := range c.Labels() {
		e.More[k] = v
	}
	e.More["name"], e.More["image"] = c.Name, c.Image
	for i := 0; i+1 < len(more); i += 2 {
		e.More[more[i]] = more[i+1]
	}
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	fd, err := unix.Open(cs.eventsFile(), unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	unix.Write(fd, append(line, '\n'))
	if at, err := unix.Seek(fd, 0, io.SeekCurrent); err == nil && at > eventsMost {
		turnEvents(fd, cs.eventsFile())
	}
}

// turnEvents begins the list anew, unless another process does it or has done it.
func turnEvents(fd int, path string) {
	var ours, now unix.Stat_t
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil || unix.Fstat(fd, &ours) != nil || unix.Stat(path, &now) != nil {
		return
	}
	if ours.Ino == now.Ino {
		os.Rename(path, path+".1")
	}
}

// Events calls show with what happened since one moment (zero: with nothing of the
// past) until another (zero: until ctx ends), in the order in which it was told.
func (cs *Containers) Events(ctx context.Context, since, until time.Time, show func(Event) error) error {
	if since.IsZero() {
		since = time.Now()
	}
	pass := func(e Event) error {
		if e.Time.Before(since) || !until.IsZero() && e.Time.After(until) {
			return nil
		}
		return show(e)
	}
	if old, err := os.Open(cs.eventsFile() + ".1"); err == nil {
		err = readEvents(bufio.NewReader(old), pass)
		old.Close()
		if err != nil {
			return err
		}
	}
	list := &eventList{path: cs.eventsFile()}
	defer list.close()
	for {
		last := !until.IsZero() && time.Now().After(until)
		if err := list.read(pass); err != nil || last {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// eventList is a reader of the list that notices when it begins anew.
type eventList struct {
	path string
	f    *os.File
	part []byte // a line that is not whole yet
}

func (l *eventList) close() {
	if l.f != nil {
		l.f.Close()
	}
}

func (l *eventList) read(show func(Event) error) error {
	for {
		if l.f == nil {
			f, err := os.Open(l.path)
			if missing(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read events: %w", err)
			}
			l.f = f
		}
		turned := l.turned() // before it is read to its end
		rest, err := io.ReadAll(l.f)
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		l.part = append(l.part, rest...)
		whole := bytes.LastIndexByte(l.part, '\n') + 1
		if err := readEvents(bufio.NewReader(bytes.NewReader(l.part[:whole])), show); err != nil {
			return err
		}
		l.part = l.part[whole:]
		if !turned {
			return nil
		}
		l.f.Close()
		l.f = nil
	}
}

func (l *eventList) turned() bool {
	ours, err := l.f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(l.path)
	return err == nil && !os.SameFile(ours, now)
}

// readEvents calls show with each whole line that is an event.
func readEvents(r *bufio.Reader, show func(Event) error) error {
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		var e Event
		if json.Unmarshal(line, &e) != nil {
			continue // a machine that lost power cut it
		}
		if err := show(e); err != nil {
			return err
		}
	}
}
