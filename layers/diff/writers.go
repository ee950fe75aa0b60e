package diff

import (
	"fmt"
)

// batch is some small files, handed to a writer at once: waking one costs as much as writing a file.
type batch struct {
	jobs []job
	data []byte // their contents
}

type job struct {
	dir  int
	name string
	e    *Entry
	data []byte
}

const (
	batchFiles = 64
	batchBytes = 128 << 10
)

func (t *tree) writer() {
	for b := range t.jobs {
		for _, j := range b.jobs {
			if err := t.writeSmall(j); err != nil {
				t.fail(fmt.Errorf("write %q: %w", j.e.Path, err))
				break
			}
		}
		b.jobs, b.data = b.jobs[:0], b.data[:0]
		select {
		case t.free <- b:
		default:
		}
		t.busy.Done()
	}
}

func (t *tree) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

func (t *tree) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// room is a batch that takes size bytes more.
func (t *tree) room(size int) *batch {
	if t.next != nil && (len(t.next.jobs) == batchFiles || len(t.next.data)+size > batchBytes) {
		t.send()
	}
	if t.next == nil {
		select {
		case t.next = <-t.free:
		default:
			t.next = &batch{data: make([]byte, 0, batchBytes)}
		}
	}
	return t.next
}

// send hands the batch to the writers.
func (t *tree) send() {
	if t.next == nil || len(t.next.jobs) == 0 {
		return
	}
	t.busy.Add(1)
	t.jobs <- t.next
	t.next = nil
}

// settle waits until all files that were handed out are there, and makes the links that waited for them.
func (t *tree) settle() error {
	t.send()
	t.busy.Wait()
	if err := t.failed(); err != nil {
		return err
	}
	links := t.links
	t.links = nil
	for _, l := range links {
		if err := t.makeLink(l[0], l[1]); err != nil {
			return fmt.Errorf("link %q to %q: %w", l[1], l[0], err)
		}
	}
	return nil
}
