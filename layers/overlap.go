package layers

import (
	"hash"
	"io"
	"sync"
)

// Reading and unpacking a layer, or packing and hashing it, are two halves that
// wait for each other only where they must: a few blocks lie between them.
const (
	overlapBlock  = 256 << 10
	overlapBlocks = 4
)

// readAhead reads r in a goroutine of its own. Close ends it and waits for it; r
// is not read any more then. Where it has a hash, this is of what its own reader
// has had, whose goroutine does that work.
type readAhead struct {
	h    hash.Hash
	n    int64 // bytes that its reader has had, counted as they were hashed: by blocks
	full chan block
	free chan []byte
	stop chan struct{}
	done sync.WaitGroup
	cur  block
	at   int
}

type block struct {
	data []byte
	err  error
}

func newReadAhead(r io.Reader, h hash.Hash) *readAhead {
	a := &readAhead{h: h, full: make(chan block, overlapBlocks), free: make(chan []byte, overlapBlocks), stop: make(chan struct{})}
	for range overlapBlocks {
		a.free <- nil
	}
	a.done.Go(func() { a.run(r) })
	return a
}

func (a *readAhead) run(r io.Reader) {
	for {
		select {
		case <-a.stop:
			return
		case buf := <-a.free:
			b := readBlock(r, buf)
			a.full <- b
			if b.err != nil {
				return
			}
		}
	}
}

// readBlock fills a block as far as r goes, and keeps the error that r ends with.
func readBlock(r io.Reader, buf []byte) block {
	if buf == nil {
		buf = make([]byte, overlapBlock)
	}
	n := 0
	for n < len(buf) {
		k, err := r.Read(buf[n:])
		n += k
		if err != nil {
			return block{buf[:n], err}
		}
	}
	return block{buf, nil}
}

// Read gives what was read, and then the error of r.
func (a *readAhead) Read(p []byte) (int, error) {
	if err := a.more(); err != nil {
		return 0, err
	}
	n := copy(p, a.cur.data[a.at:])
	a.at += n
	return n, nil
}

// NextBlock is Read that copies nothing: what it gives holds until the next call.
func (a *readAhead) NextBlock() ([]byte, error) {
	if err := a.more(); err != nil {
		return nil, err
	}
	p := a.cur.data[a.at:]
	a.at = len(a.cur.data)
	return p, nil
}

// more waits until there is something to give.
func (a *readAhead) more() error {
	for a.at == len(a.cur.data) {
		if a.cur.err != nil {
			return a.cur.err
		}
		if a.cur.data != nil {
			a.free <- a.cur.data[:cap(a.cur.data)]
		}
		a.take(<-a.full)
	}
	return nil
}

// take goes on to the next block.
func (a *readAhead) take(b block) {
	a.cur, a.at = b, 0
	a.n += int64(len(b.data))
	if a.h != nil {
		a.h.Write(b.data)
	}
}

// Close ends the reading.
func (a *readAhead) Close() error {
	close(a.stop)
	a.done.Wait()
	return nil
}

// writeBehind writes to w in a goroutine of its own.
type writeBehind struct {
	full chan []byte
	free chan []byte
	done sync.WaitGroup
	cur  []byte
	next int        // bytes of the next block: the first is small, for what is small
	mu   sync.Mutex // guards err
	err  error
}

func newWriteBehind(w io.Writer) *writeBehind {
	b := &writeBehind{full: make(chan []byte, overlapBlocks), free: make(chan []byte, overlapBlocks), next: 16 << 10}
	for range overlapBlocks {
		b.free <- nil
	}
	b.done.Go(func() {
		for data := range b.full {
			if b.failed() == nil {
				if _, err := w.Write(data); err != nil {
					b.mu.Lock()
					b.err = err
					b.mu.Unlock()
				}
			}
			b.free <- data[:0]
		}
	})
	return b
}

func (b *writeBehind) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Write takes bytes; an error may be that of an earlier one.
func (b *writeBehind) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if b.cur == nil {
			if b.cur = <-b.free; b.cur == nil {
				b.cur = make([]byte, 0, b.next)
				b.next = overlapBlock
			}
		}
		n := min(len(p), cap(b.cur)-len(b.cur))
		b.cur = append(b.cur, p[:n]...)
		p = p[n:]
		if len(b.cur) == cap(b.cur) {
			if err := b.failed(); err != nil {
				return 0, err
			}
			b.full <- b.cur
			b.cur = nil
		}
	}
	return total, nil
}

// Close writes what is left and waits until all is written. It is called once.
func (b *writeBehind) Close() error {
	if len(b.cur) > 0 {
		b.full <- b.cur
	}
	b.cur = nil
	close(b.full)
	b.done.Wait()
	return b.err
}
