package progress

import (
	"cmp"
	"slices"
	"time"
)

// board is what the events told so far amount to.
type board struct {
	begun time.Time
	rows  map[string]*row
	order []*row  // as they were first told
	made  []Event // the results
}

// row is a Row and how far it is.
type row struct {
	Row
	state          Kind // Start, or how it ended
	start, end     time.Time
	tail           []string // its last lines
	phase          string
	current, total int64
	rate           rate
	size           int64
}

const maxTail = 16

func newBoard(now time.Time) *board { return &board{begun: now, rows: map[string]*row{}} }

// take counts an event in and gives the row that it is about, nil for none.
func (b *board) take(e Event) *row {
	if e.Kind == Result {
		b.made = append(b.made, e)
	}
	if e.Row.ID == "" {
		return nil
	}
	r := b.rows[e.Row.ID]
	if r == nil {
		r = &row{Row: e.Row, start: e.time}
		b.rows[e.Row.ID] = r
		b.order = append(b.order, r)
	}
	switch e.Kind {
	case Output:
		r.tail = append(r.tail, clean(e.Text))
		r.tail = r.tail[max(0, len(r.tail)-maxTail):]
	case Bytes:
		if r.phase != e.Text {
			r.phase, r.rate = e.Text, rate{}
		}
		r.state, r.current, r.total = Start, e.Current, e.Total
		r.rate.add(e.time, e.Current)
	case Start:
		r.state, r.start = Start, e.time
	}
	if e.Kind.ended() {
		r.state, r.end, r.size = e.Kind, e.time, e.Size
	}
	return r
}

// working are the rows that are not done.
func (b *board) working() []*row {
	return slices.DeleteFunc(slices.Clone(b.order), func(r *row) bool { return r.state != Start })
}

// took is how long a row worked.
func (r *row) took() time.Duration { return r.end.Sub(r.start) }

// Summary is what a view saw in all.
type Summary struct {
	At                                   time.Time
	Took                                 time.Duration
	Steps, Cached, Ran, Failed, Canceled int   // steps, and how they ended
	Size                                 int64 // bytes of the layers that were made
	Moved                                int64 // bytes of transfers
	Critical                             time.Duration
	path                                 []*row // the rows that nothing could have made shorter, in order
	made                                 []Event
}

func (b *board) summary(now time.Time) Summary {
	steps, blobs := b.split()
	s := Summary{At: now, Took: now.Sub(b.begun), Steps: len(steps), Cached: count(steps, Cached), Ran: count(steps, Done) - sources(steps),
		Failed: count(steps, Failed), Canceled: count(steps, Canceled) + count(steps, Start), path: critical(b, steps), made: b.made}
	for _, r := range steps {
		s.Size += r.size
	}
	for _, r := range blobs {
		s.Moved += r.current
	}
	for _, r := range s.path {
		s.Critical += r.took()
	}
	return s
}

// sources counts the rows that only brought what others read.
func sources(rows []*row) (n int) {
	for _, r := range rows {
		if r.Source && r.state == Done {
			n++
		}
	}
	return n
}

// critical walks back from the row that ended last, each time to the one that
// had to be waited for last.
func critical(b *board, steps []*row) []*row {
	var path []*row
	ran := slices.DeleteFunc(slices.Clone(steps), func(r *row) bool { return r.state != Done && r.state != Failed })
	for next := latest(ran); next != nil; next = latest(b.before(next, map[*row]bool{})) {
		path = append(path, next)
	}
	slices.Reverse(path)
	return path
}

// before gives the rows that r waited for and that worked, through those that did not.
func (b *board) before(r *row, seen map[*row]bool) (all []*row) {
	for _, id := range r.After {
		p := b.rows[id]
		switch {
		case p == nil || seen[p]:
		case p.state == Done:
			all = append(all, p)
		default:
			seen[p] = true
			all = append(all, b.before(p, seen)...)
		}
	}
	return all
}

func latest(rows []*row) *row {
	if len(rows) == 0 {
		return nil
	}
	return slices.MaxFunc(rows, func(a, b *row) int { return cmp.Or(a.end.Compare(b.end), cmp.Compare(b.ID, a.ID)) })
}

// rate is how fast bytes came lately.
type rate struct {
	at   time.Time // of the sample that it was last made of
	have int64
	per  float64 // bytes a second, 0 until known
}

// sample is how long bytes are counted before the rate is made new.
const sample = 250 * time.Millisecond

func (r *rate) add(now time.Time, have int64) {
	if r.at.IsZero() || have < r.have {
		r.at, r.have = now, have
		return
	}
	d := now.Sub(r.at)
	if d < sample {
		return
	}
	per := float64(have-r.have) / d.Seconds()
	if r.per > 0 {
		weight := min(1, d.Seconds()/3) // three seconds forget what was before
		per = r.per*(1-weight) + per*weight
	}
	r.at, r.have, r.per = now, have, per
}

// left is the time that the rest will take, 0 when nobody knows.
func (r *rate) left(rest int64) time.Duration {
	if r.per <= 0 || rest <= 0 {
		return 0
	}
	return time.Duration(float64(rest) / r.per * float64(time.Second))
}
