package transfer

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"
)

// span is the bytes [From, To).
type span struct {
	From, To int64
}

// The journal is written again after so many bytes, or so much time: no more is
// lost when the process dies.
const (
	journalBytes = 1 << 20
	journalTime  = 100 * time.Millisecond
)

// Ledger knows which bytes of a file are there. It is safe for concurrent use.
type Ledger struct {
	f    io.ReaderAt
	size int64
	note func([]byte) error // writes the journal; may be nil

	mu    sync.Mutex // guards what follows; note is called under it
	have  []span     // sorted, apart from each other
	fresh int64      // bytes that the journal does not know yet
	noted time.Time  // when it was written
	more  chan struct{}
	err   error
}

// NewLedger begins the ledger of a file of which journal is what note was given
// last, perhaps by another process; an empty one, or one that makes no sense,
// says that nothing is there.
func NewLedger(f io.ReaderAt, size int64, journal []byte, note func([]byte) error) *Ledger {
	l := &Ledger{f: f, size: size, note: note, more: make(chan struct{})}
	var have []span
	if json.Unmarshal(journal, &have) != nil {
		return l
	}
	for _, s := range have {
		if s.From >= 0 && s.From < s.To && s.To <= size {
			l.insert(s)
		}
	}
	return l
}

// insert joins a span with its neighbours.
func (l *Ledger) insert(s span) {
	i := 0
	for i < len(l.have) && l.have[i].To < s.From {
		i++
	}
	j := i
	for j < len(l.have) && l.have[j].From <= s.To {
		s.From, s.To = min(s.From, l.have[j].From), max(s.To, l.have[j].To)
		j++
	}
	l.have = slices.Replace(l.have, i, j, s)
}

// Add tells that bytes were written.
func (l *Ledger) Add(from, to int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.insert(span{from, to})
	close(l.more)
	l.more = make(chan struct{})
	if l.fresh += to - from; l.fresh < journalBytes && time.Since(l.noted) < journalTime {
		return nil
	}
	return l.write()
}

// Note writes the journal as it is now.
func (l *Ledger) Note() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write()
}

func (l *Ledger) write() error {
	l.fresh, l.noted = 0, time.Now()
	if l.note == nil {
		return nil
	}
	raw, err := json.Marshal(l.have)
	if err != nil {
		return err
	}
	return l.note(raw)
}

// Clear forgets everything.
func (l *Ledger) Clear() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.have, l.err = nil, nil
	return l.write()
}

// Have is how many bytes are there.
func (l *Ledger) Have() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := int64(0)
	for _, s := range l.have {
		n += s.To - s.From
	}
	return n
}

// gap is the first bytes at or behind 'from' that are missing, at most n of
// them; empty when there are none.
func (l *Ledger) gap(from, n int64) span {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.size
	for _, s := range l.have {
		if s.To <= from {
			continue
		}
		if s.From > from {
			end = s.From
			break
		}
		from = s.To
	}
	return span{from, min(from+n, end)}
}

// Fail ends the followers with an error.
func (l *Ledger) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	close(l.more)
	l.more = make(chan struct{})
}

// Follow reads the file from its start as its prefix grows, to its whole size.
func (l *Ledger) Follow(ctx context.Context) io.Reader { return &follower{ctx: ctx, l: l} }

type follower struct {
	ctx context.Context
	l   *Ledger
	off int64
}

func (r *follower) Read(p []byte) (int, error) {
	if r.off == r.l.size {
		return 0, io.EOF
	}
	n, err := r.wait()
	if err != nil {
		return 0, err
	}
	k, err := r.l.f.ReadAt(p[:min(int64(len(p)), n)], r.off)
	r.off += int64(k)
	return k, err
}

// wait tells how many bytes can be read at once.
func (r *follower) wait() (int64, error) {
	for {
		r.l.mu.Lock()
		n := int64(0)
		if len(r.l.have) > 0 && r.l.have[0].From == 0 {
			n = r.l.have[0].To - r.off
		}
		err, more := r.l.err, r.l.more
		r.l.mu.Unlock()
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		case <-more:
		}
	}
}
