package progress

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// plain writes a line per event, as Docker does where there is no terminal.
type plain struct {
	w     io.Writer
	ended bool // the last line ended a step
	// moved says of each transfer what was written last.
	moved map[*row]moved
}

type moved struct {
	phase string
	at    time.Time
}

func newPlain(w io.Writer) *plain { return &plain{w: w, moved: map[*row]moved{}} }

// quietly is how long a row may move bytes before that is worth another line.
const quietly = 5 * time.Second

func (p *plain) tell(e Event, r *row) {
	switch e.Kind {
	case Warning:
		fmt.Fprintf(p.w, "WARN: %s\n", warning(e))
	case Start:
		p.line(r, Printable(r.Name))
	case Cached:
		p.cached(e, r)
	case Output:
		p.line(r, fmt.Sprintf("%.3f %s", e.time.Sub(r.start).Seconds(), clean(e.Text)))
	case Note:
		p.line(r, "because "+Printable(e.Text))
	case Bytes:
		p.bytes(e, r)
	case Done:
		p.line(r, strings.TrimSpace("DONE "+Seconds(r.took())+" "+made(r)))
	case Canceled:
		p.line(r, "CANCELED")
	case Failed:
		p.line(r, "ERROR: "+Printable(e.Text))
		p.repeat(r)
	}
}

// cached says that a row had nothing to do.
func (p *plain) cached(e Event, r *row) {
	if r.Blob {
		fmt.Fprintf(p.w, "%s %s\n", label(r), e.Text)
		return
	}
	p.line(r, Printable(r.Name)+"\n"+label(r)+" CACHED")
}

// line writes about a row; one that ended is set apart by an empty line.
func (p *plain) line(r *row, text string) {
	if p.ended && !r.Blob {
		fmt.Fprintln(p.w)
	}
	p.ended = r.state.ended() && !r.Blob
	fmt.Fprintf(p.w, "%s %s\n", label(r), text)
}

// label is #3 for a step and the layer's own ID for a transfer.
func label(r *row) string {
	if r.Blob {
		return r.Name + ":"
	}
	return "#" + r.ID
}

// bytes says when a phase begins, and now and then how far it is.
func (p *plain) bytes(e Event, r *row) {
	last, known := p.moved[r]
	size := ""
	if e.Total > 0 {
		size = " " + Size(e.Total)
	}
	switch {
	case e.Text == Waiting:
		return
	case known && last.phase == e.Text && e.time.Sub(last.at) < quietly:
		return
	case known && last.phase == e.Text:
		fmt.Fprintf(p.w, "%s %s %s\n", label(r), e.Text, far(r))
	default:
		fmt.Fprintf(p.w, "%s %s%s\n", label(r), e.Text, size)
	}
	p.moved[r] = moved{e.Text, e.time}
}

// repeat shows what a failed row printed last, as one piece.
func (p *plain) repeat(r *row) {
	if len(r.tail) == 0 {
		return
	}
	fmt.Fprintf(p.w, "------\n > %s:\n", Printable(r.Name))
	for _, line := range r.tail {
		fmt.Fprintln(p.w, line)
	}
	fmt.Fprint(p.w, "------\n")
	p.ended = false
}

func (p *plain) close(s Summary) {
	fmt.Fprint(p.w, s.text(style{}, 0))
}

// made says what a row made, where it made something.
func made(r *row) string {
	if r.size == 0 {
		return ""
	}
	return Size(r.size)
}

// far says how far a row's bytes are.
func far(r *row) string {
	text := Size(r.current) + " of " + Size(r.total)
	if r.rate.per > 0 {
		text += fmt.Sprintf(", %s/s", Size(int64(r.rate.per)))
	}
	if d := r.rate.left(r.total - r.current); d > 0 {
		text += ", " + Seconds(d) + " left"
	}
	return text
}

func warning(e Event) string {
	text := Printable(e.Text)
	if e.Rule != "" {
		text = e.Rule + ": " + text
	}
	if e.Line > 0 {
		text += fmt.Sprintf(" (line %d)", e.Line)
	}
	return text
}
